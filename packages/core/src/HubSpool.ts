/**
 * From the hub into the spool, within the call that brought the entry. What finds no room is recorded as missing, with its
 * cause, as soon as rows find room again: nothing is lost silently. Until then the session stands still: a note of every
 * moment without room would cost the store more than the rows.
 */
import { Effect, Schedule, type Scope } from "effect"
import type { FeedEntry, FeedSessionKey, Watermark } from "./FeedEntry.ts"
import type { Hub, HubMessage } from "./Hub.ts"
import { PassedMarks } from "./PassedMarks.ts"
import type { Spool, SpoolDropCause } from "./Spool.ts"
import * as UnixNanos from "./UnixNanos.ts"

/** What connects a hub with a spool. */
export interface HubSpool {
  /** Number of the last entry that is in the spool; 0 where there is none. */
  readonly appended: () => bigint
  /** Number in the hub of the last entry whose frame is not above this one: up to there everything is through, or was dropped. */
  readonly passed: (frame: bigint) => bigint
  /** Rows dropped since the start, by cause. */
  readonly dropped: () => { readonly [C in SpoolDropCause]: bigint }
}

/** Spools what comes through the hub until the scope ends. Attach it before publications: rows are on their way first. */
export const attach = (hub: Hub, spool: Spool["Service"]): Effect.Effect<HubSpool, never, Scope.Scope> => {
  const sink = new Sink(spool)
  return hub
    .attach({ name: "spool", deliver: sink.deliver, room: spool.room })
    .pipe(
      Effect.andThen(Effect.forkScoped(Effect.repeat(Effect.sync(sink.settle), Schedule.spaced(TellEvery)))),
      Effect.as(sink)
    )
}

/** What was spooled of a session. */
interface SessionState {
  /** Up to where it is complete. */
  watermark: bigint
  /** Why rows behind the watermark found no room; undefined where all did. */
  dropped: SpoolDropCause | undefined
  /** Rows have found room since others did not. */
  hasRoom: boolean
  /** Up to where the session is, though that was not noted: some of it is missing. */
  reached: Watermark | undefined
  /** Why rows behind that found no room. */
  late: SpoolDropCause | undefined
}

/** Times without room that lie closer together are told as one. */
const TellEvery = "1 second"

class Sink implements HubSpool {
  readonly #spool: Spool["Service"]
  readonly #sessions = new Map<FeedSessionKey, SessionState>()
  /** Hub numbers of frames that are not in the store. */
  readonly #frames = new PassedMarks()
  #appended = 0n
  /** Number of the last entry of the hub. */
  #number = 0n
  #passed = 0n
  readonly #dropped = { overflow: 0n, "disk-full": 0n }

  constructor(spool: Spool["Service"]) {
    this.#spool = spool
  }

  readonly appended = (): bigint => this.#appended
  readonly dropped = () => ({ ...this.#dropped })

  readonly passed = (frame: bigint): bigint => {
    this.#passed = this.#frames.take(frame) ?? this.#passed
    return this.#passed
  }

  readonly deliver = ({ entry, number }: HubMessage): void => {
    this.#number = number
    if (entry._tag === "SessionStarted")
      this.#sessions.set(entry.session, {
        watermark: entry.at,
        dropped: undefined,
        hasRoom: true,
        reached: undefined,
        late: undefined
      })
    if (entry._tag === "Watermark") this.#mark(entry, number)
    else if (entry._tag === "SessionEnded") this.#end(entry, number)
    else this.#add(entry, number)
  }

  #add(entry: FeedEntry, number: bigint): void {
    const cause = this.#append(entry, number)
    const session = this.#sessions.get(entry.session)
    if (session === undefined) return
    if (cause !== undefined) {
      session.dropped ??= cause
      session.late ??= cause
      session.hasRoom = false
    } else if (entry._tag === "FeedRows") session.hasRoom = true
  }

  /** A session goes on; one that has lost something waits until that is told. */
  #mark(entry: Watermark, number: bigint): void {
    const session = this.#sessions.get(entry.session)
    if (session?.dropped === undefined) {
      if (this.#append(entry, number) === undefined && session !== undefined) session.watermark = entry.at
      return
    }
    session.reached = entry
    session.late = undefined
  }

  /** Tells what was lost, where rows find room again. */
  readonly settle = (): void => {
    for (const session of this.#sessions.values()) if (session.hasRoom) this.#tell(session, this.#number)
  }

  /** What a session has lost since its last watermark, and then how far it is. */
  #tell(session: SessionState, number: bigint): void {
    const { dropped, reached, watermark } = session
    if (dropped === undefined || reached === undefined) return
    // Rows of the watermark's own microsecond may be among the lost ones.
    const range = { start: watermark, end: reached.at + UnixNanos.PerMicro }
    const missing = { _tag: "RowsMissing", session: reached.session, range, cause: dropped } as const
    if (this.#append(missing, number) !== undefined) return
    session.dropped = session.late
    session.late = undefined
    session.reached = undefined
    if (this.#append(reached, number) === undefined) session.watermark = reached.at
  }

  #end(entry: FeedEntry, number: bigint): void {
    const session = this.#sessions.get(entry.session)
    if (session !== undefined) this.#tell(session, number)
    this.#append(entry, number)
    this.#sessions.delete(entry.session)
  }

  /** Why there was no room; undefined where there was. */
  #append(entry: FeedEntry, number: bigint): SpoolDropCause | undefined {
    const appended = Effect.runSync(this.#spool.append(entry))
    if (appended._tag === "Appended") {
      this.#appended = appended.frame
      this.#frames.add(appended.frame, number)
      return undefined
    }
    if (entry._tag === "FeedRows") this.#dropped[appended.cause] += BigInt(entry.batch.length)
    return appended.cause
  }
}
