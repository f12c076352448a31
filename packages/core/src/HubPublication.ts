/**
 * From the hub to a publication, within the call that brought the entry: a row is with the subscribers before the next read of
 * the socket. For publications that never wait, such as the ring.
 */
import { Effect, Exit, type Scope } from "effect"
import type { RowsMissing } from "./FeedEntry.ts"
import type { Hub, HubMessage } from "./Hub.ts"
import type { InstrumentDirectory } from "./Instrument.ts"
import { type MarketBatch, rowKind } from "./MarketBatch.ts"
import * as MarketSchema from "./MarketSchema.ts"
import { PassedMarks } from "./PassedMarks.ts"
import type { Gap } from "./Provider.ts"
import type { Publication } from "./Publication.ts"

/** How publishing is going. */
export interface HubPublicationStatus {
  readonly rows: bigint
  /** Rows of kinds that the publication does not take. */
  readonly notTaken: bigint
  readonly failures: bigint
  readonly lastError: string | undefined
}

/** What connects a hub with a publication. */
export interface HubPublication {
  readonly status: () => HubPublicationStatus
  /** Tells subscribers that everything up to this number of the hub is in the store. */
  readonly markDurable: (number: bigint) => Effect.Effect<void>
  /** Batches that are held back; undefined where nothing is, or no longer. */
  readonly held: () => ReadonlyArray<MarketBatch> | undefined
  /** Publishes what is held back; from here on nothing is. */
  readonly release: Effect.Effect<void>
}

/** How publishing begins. */
export interface HubPublicationOptions {
  /**
   * Hold back what comes until `release`, or until it is more than so many rows: for whoever has something to publish
   * before. Nothing of it is lost.
   */
  readonly holdRows?: number | undefined
}

/** Publishes what comes through the hub until the scope ends. `instruments` names those of gaps. */
export const attach = (
  hub: Hub,
  publication: Publication["Service"],
  instruments: InstrumentDirectory,
  { holdRows }: HubPublicationOptions = {}
): Effect.Effect<HubPublication, never, Scope.Scope> => {
  const sink = new Sink(publication, instruments, holdRows)
  return Effect.as(hub.attach({ name: `publication ${publication.name}`, deliver: sink.deliver }), {
    status: sink.status,
    markDurable: sink.markDurable,
    held: sink.held,
    release: sink.release
  })
}

class Sink {
  readonly #publication: Publication["Service"]
  readonly #instruments: InstrumentDirectory
  /** Positions after entries of the hub that are not in the store, by kind. */
  readonly #passed = new Map<MarketSchema.RowKind, PassedMarks>()
  /** Dataset and schema of sessions, for their gaps. */
  readonly #sessions = new Map<string, Pick<Gap, "dataset" | "schema">>()
  #rows = 0n
  #notTaken = 0n
  #failures = 0n
  #lastError: string | undefined
  /** Up to where the store has everything. */
  #durable = 0n
  /** What is held back; undefined where nothing is. */
  #held: Array<HubMessage> | undefined
  #heldRows = 0
  readonly #holdRows: number

  constructor(
    publication: Publication["Service"],
    instruments: InstrumentDirectory,
    holdRows: number | undefined
  ) {
    this.#publication = publication
    this.#instruments = instruments
    this.#held = holdRows === undefined ? undefined : []
    this.#holdRows = holdRows ?? 0
  }

  readonly held = (): ReadonlyArray<MarketBatch> | undefined =>
    this.#held?.flatMap(({ entry }) => (entry._tag === "FeedRows" ? [entry.batch] : []))

  readonly release: Effect.Effect<void> = Effect.suspend(() => {
    this.#release()
    // The store may have had them before they were published.
    return this.markDurable(this.#durable)
  })

  #release(): void {
    const held = this.#held ?? []
    this.#held = undefined
    for (const message of held) this.deliver(message)
  }

  #hold(held: Array<HubMessage>, message: HubMessage): void {
    held.push(message)
    if (message.entry._tag === "FeedRows") this.#heldRows += message.entry.batch.length
    if (this.#heldRows > this.#holdRows) this.#release()
  }

  readonly status = (): HubPublicationStatus => ({
    rows: this.#rows,
    notTaken: this.#notTaken,
    failures: this.#failures,
    lastError: this.#lastError
  })

  readonly deliver = (message: HubMessage): void => {
    if (this.#held !== undefined) {
      this.#hold(this.#held, message)
      return
    }
    const { entry, number } = message
    if (entry._tag === "FeedRows") this.#publish(entry.batch, number)
    else if (entry._tag === "RowsMissing") this.#tell(entry)
    else if (entry._tag === "SessionStarted")
      this.#sessions.set(entry.session, { dataset: entry.dataset, schema: entry.schema })
    else if (entry._tag === "SessionEnded") this.#sessions.delete(entry.session)
  }

  #publish(batch: Parameters<Publication["Service"]["publish"]>[0], number: bigint): void {
    const kind = rowKind(batch)
    if (!this.#publication.kinds.includes(kind)) {
      this.#notTaken += BigInt(batch.length)
      return
    }
    const result = this.#run(this.#publication.publish(batch))
    if (result === undefined) return
    this.#rows += BigInt(batch.length)
    const passed = this.#passed.get(kind) ?? new PassedMarks()
    this.#passed.set(kind, passed)
    passed.add(number, result.position)
  }

  #tell({ cause, instruments, range, session }: RowsMissing): void {
    const of = this.#sessions.get(session)
    if (of === undefined || !this.#publication.kinds.includes(MarketSchema.kind(of.schema))) return
    const symbols = instruments?.flatMap((id) => this.#instruments.get(id)?.rawSymbol ?? [])
    this.#run(this.#publication.publishGap({ _tag: "Gap", ...of, range, cause, symbols }))
  }

  #run<A>(effect: Effect.Effect<A, { readonly message: string }>): A | undefined {
    const exit = Effect.runSyncExit(effect)
    if (Exit.isSuccess(exit)) return exit.value
    this.#failures += 1n
    this.#lastError = String(exit.cause)
    return undefined
  }

  readonly markDurable = (number: bigint): Effect.Effect<void> =>
    Effect.suspend(() => {
      if (number > this.#durable) this.#durable = number
      return this.#markPassed(number)
    })

  #markPassed(number: bigint): Effect.Effect<void> {
    return Effect.forEach(
      this.#passed,
      ([kind, passed]) => {
        const position = passed.take(number)
        return position === undefined
          ? Effect.void
          : Effect.ignore(this.#publication.markDurable(kind, position))
      },
      { discard: true }
    )
  }
}
