/**
 * From the hub into the spool, within the call that brought the entry. What finds no room is recorded as missing, with its
 * cause, as soon as the session goes on: nothing is lost silently.
 */
import { Effect, type Scope } from "effect"
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
  return Effect.as(hub.attach({ name: "spool", deliver: sink.deliver }), sink)
}

/** What was spooled of a session. */
interface SessionState {
  /** Up to where it is complete. */
  watermark: bigint
  /** Why rows behind the watermark found no room; undefined where all did. */
  dropped: SpoolDropCause | undefined
}

class Sink implements HubSpool {
  readonly #spool: Spool["Service"]
  readonly #sessions = new Map<FeedSessionKey, SessionState>()
  /** Hub numbers of frames that are not in the store. */
  readonly #frames = new PassedMarks()
  #appended = 0n
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
    if (entry._tag === "SessionStarted")
      this.#sessions.set(entry.session, { watermark: entry.at, dropped: undefined })
    if (entry._tag === "Watermark") this.#mark(entry, number)
    else this.#add(entry, number)
    if (entry._tag === "SessionEnded") this.#sessions.delete(entry.session)
  }

  #add(entry: FeedEntry, number: bigint): void {
    const cause = this.#append(entry, number)
    const session = this.#sessions.get(entry.session)
    if (cause !== undefined && session !== undefined) session.dropped ??= cause
  }

  /** A session goes on: what it lost since the last watermark is told before. */
  #mark(entry: Watermark, number: bigint): void {
    const session = this.#sessions.get(entry.session)
    if (session?.dropped !== undefined) {
      // Rows of the watermark's own microsecond may be among the lost ones.
      const range = { start: session.watermark, end: entry.at + UnixNanos.PerMicro }
      const missing = { _tag: "RowsMissing", session: entry.session, range, cause: session.dropped } as const
      if (this.#append(missing, number) !== undefined) return
      session.dropped = undefined
    }
    if (this.#append(entry, number) === undefined && session !== undefined) session.watermark = entry.at
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
