/**
 * Snapshots deeper than what a transport remembers: what it lacks comes from the store.
 *
 * Once the store has everything that was published before the subscription began, its newest rows of a symbol are the snapshot;
 * those among them that were published later are left out, because the subscription delivers them. Where the store does not come
 * that far in time, the snapshot stays as the transport had it, `complete: false`.
 */
import { type Duration, Effect, Layer, Schedule, Stream } from "effect"
import { concat } from "./BatchConcat.ts"
import { InstrumentTranslation } from "./BatchRenumber.ts"
import { selectTrades } from "./BatchSelection.ts"
import type { Instrument } from "./Instrument.ts"
import { InstrumentRegistry } from "./InstrumentRegistry.ts"
import { MarketStore } from "./MarketStore.ts"
import { RowIndex } from "./RowIndex.ts"
import type { StoreError } from "./StoreError.ts"
import { Subscription, type SubscriptionEvent, type SubscriptionHandle } from "./Subscription.ts"
import type { TradeBatch } from "./TradeBatch.ts"
import { TransportClosed, TransportError } from "./TransportError.ts"

/** Where the rest of a snapshot comes from. */
export interface StoredSnapshotsOptions {
  /** How long to wait for the store to have what was published before; default 2 seconds. */
  readonly maxWait?: Duration.Input | undefined
}

type Snapshot = Extract<SubscriptionEvent, { readonly _tag: "Snapshot" }>

/** Rows asked of the subscription at once. */
const PollRows = 8_192

/** The same subscription, its snapshots of trades filled from the store. */
export const layer = (
  options: StoredSnapshotsOptions = {}
): Layer.Layer<Subscription, never, Subscription | MarketStore | InstrumentRegistry> =>
  Layer.effect(
    Subscription,
    Effect.gen(function* () {
      const inner = yield* Subscription
      const filler = new Filler(yield* MarketStore, yield* InstrumentRegistry, options)
      return Subscription.of({
        ...inner,
        subscribe: (kind, start) =>
          Effect.flatMap(inner.subscribe(kind, start), (handle) =>
            kind._tag === "SnapshotDelta" ? filler.fill(handle, kind.snapshotDepth) : Effect.succeed(handle)
          )
      })
    })
  )

class Filler {
  readonly #store: MarketStore["Service"]
  readonly #registry: InstrumentRegistry["Service"]
  readonly #maxWait: Duration.Input

  constructor(
    store: MarketStore["Service"],
    registry: InstrumentRegistry["Service"],
    { maxWait = "2 seconds" }: StoredSnapshotsOptions
  ) {
    this.#store = store
    this.#registry = registry
    this.#maxWait = maxWait
  }

  /** The handle, with what was taken from it for the snapshots put before what follows. */
  readonly fill = Effect.fnUntraced(
    { self: this },
    function* (this: Filler, handle: SubscriptionHandle, depth: number) {
      const first = handle.poll(PollRows)
      const lacking = first.filter(
        (event): event is Snapshot =>
          event._tag === "Snapshot" && !event.complete && event.batch._tag === "TradeBatch"
      )
      if (lacking.length === 0) return withEvents(handle, first)
      const delta = new Delta(handle)
      if (!(yield* this.#isStored(delta))) return withEvents(handle, [...first, ...delta.events])
      const wanted = yield* Effect.mapError(this.#instrumentsOf(lacking), transportError)
      const filled = yield* Effect.mapError(this.#read(delta, wanted, depth), transportError)
      const events = first.map((event) => (event._tag === "Snapshot" ? (filled.get(event) ?? event) : event))
      return withEvents(handle, [...events, ...delta.events])
    }
  )

  /** Whether everything before the subscription is in the store; waits for it. */
  #isStored(delta: Delta): Effect.Effect<boolean> {
    return Effect.sync(() => delta.poll()).pipe(
      Effect.andThen(delta.handle.info),
      Effect.repeat({
        until: ({ durable, start }) => durable >= start,
        schedule: Schedule.spaced("5 millis")
      }),
      Effect.timeoutOption(this.#maxWait),
      Effect.map(({ _tag }) => _tag === "Some")
    )
  }

  /** The instruments of snapshots, as far as the store knows them. */
  #instrumentsOf(snapshots: ReadonlyArray<Snapshot>): Effect.Effect<ReadonlyArray<Wanted>, StoreError> {
    return Effect.map(
      Effect.forEach(snapshots, (snapshot) =>
        Effect.map(
          this.#registry.lookup(snapshot.symbol),
          (found): ReadonlyArray<Wanted> => ("_tag" in found ? [] : [[snapshot, found]])
        )
      ),
      (found) => found.flat()
    )
  }

  /** Snapshots out of the store; none where the boundary was lost meanwhile. */
  readonly #read = Effect.fnUntraced(
    { self: this },
    function* (this: Filler, delta: Delta, wanted: ReadonlyArray<Wanted>, depth: number) {
      const filled = new Map<Snapshot, Snapshot>()
      delta.begin(wanted.map(([, instrument]) => instrument))
      for (const [snapshot, instrument] of wanted) {
        let asked = depth
        for (;;) {
          const batches = yield* this.#store.lastTrades([instrument.id], asked)
          // Whatever of this was published after the beginning has been delivered by now.
          delta.poll()
          if (delta.hasLost) return new Map<Snapshot, Snapshot>()
          const rows = batches.length === 0 ? undefined : delta.without(batches)
          const found = batches.reduce((sum, { length }) => sum + length, 0)
          if (found === asked && rows !== undefined && rows.length < depth) {
            asked *= 2
            continue
          }
          if (rows !== undefined && rows.length > snapshot.batch.length)
            filled.set(snapshot, newest(snapshot, rows, depth))
          break
        }
      }
      return filled
    }
  )
}

type Wanted = readonly [snapshot: Snapshot, instrument: Instrument]

/** What a subscription delivers while its snapshots are made. */
class Delta {
  readonly handle: SubscriptionHandle
  readonly events: Array<SubscriptionEvent> = []
  readonly #published = new RowIndex("ts_event")
  #translation: InstrumentTranslation | undefined
  #indexed = 0
  /** Rows were lost: which of the stored ones were published before is known no longer. */
  hasLost = false

  constructor(handle: SubscriptionHandle) {
    this.handle = handle
  }

  /** It is known now which instruments the store has. */
  begin(instruments: ReadonlyArray<Instrument>): void {
    this.#translation = new InstrumentTranslation(instruments)
    this.poll()
  }

  poll(): void {
    for (;;) {
      const events = this.handle.poll(PollRows)
      if (events.length === 0) break
      this.hasLost ||= events.some(({ _tag }) => _tag === "Lost")
      this.events.push(...events)
    }
    if (this.#translation === undefined) return
    for (; this.#indexed < this.events.length; this.#indexed++) {
      const event = this.events[this.#indexed]!
      if (event._tag === "Batch" && event.batch._tag === "TradeBatch")
        this.#published.put(this.#translation.translate(event.batch))
    }
  }

  /** The stored rows that were published before the subscription began. */
  without(batches: ReadonlyArray<TradeBatch>): TradeBatch {
    const batch = concat(batches, { context: batches[0]!.context }) as TradeBatch
    const rows: Array<number> = []
    for (let row = 0; row < batch.length; row++) if (this.#published.find(batch, row) < 0) rows.push(row)
    return selectTrades(batch, rows)
  }
}

const newest = ({ symbol }: Snapshot, rows: TradeBatch, depth: number): Snapshot => ({
  _tag: "Snapshot",
  symbol,
  batch: rows.slice(Math.max(0, rows.length - depth)),
  complete: rows.length >= depth
})

/** The handle, with these events before all others. */
const withEvents = (
  handle: SubscriptionHandle,
  events: ReadonlyArray<SubscriptionEvent>
): SubscriptionHandle => {
  let first = events
  const takeFirst = (): ReadonlyArray<SubscriptionEvent> => {
    const taken = first
    first = []
    return taken
  }
  return {
    ...handle,
    receive: Stream.concat(
      Stream.suspend(() => Stream.fromIterable(takeFirst())),
      handle.receive
    ),
    poll: (limit) => (first.length > 0 ? takeFirst() : handle.poll(limit))
  }
}

const transportError = (cause: StoreError): TransportError =>
  new TransportError({
    transport: "store",
    operation: "fill a snapshot",
    reason: new TransportClosed({ detail: cause.message }),
    cause
  })
