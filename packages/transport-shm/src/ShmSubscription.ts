/**
 * Core's `Subscription` over a shared-memory ring: topic, filtered and snapshot + delta on the reader's side. The symbol
 * filter runs in the native poll; the snapshot comes from the ring's own history with an exact boundary.
 */
import { randomUUID } from "node:crypto"
import {
  filterEvents,
  receive,
  requestProblem,
  type StartPosition,
  Subscription,
  type SubscriptionEvent,
  type SubscriptionHandle,
  type SubscriptionId,
  type SubscriptionInfo,
  type SubscriptionKind,
  startPosition,
  TradeFilter,
  type TransportError
} from "@data-manager/core"
import { Clock, Effect, Layer } from "effect"
import type { RingKind } from "./RingLayout.ts"
import type { RingLocation } from "./RingLocation.ts"
import { RingReader, type RingReaderOptions, type WaitMode } from "./RingReader.ts"
import { RingSource } from "./RingSegment.ts"
import * as ShmError from "./ShmError.ts"

/** Which ring, and how to wait for it. */
export interface ShmSubscriptionOptions extends RingLocation {
  readonly kind?: RingKind | undefined
  readonly mode?: WaitMode | undefined
  readonly lingerMicros?: number | undefined
  readonly blocking?: boolean | undefined
  /** Who subscribes, for `dm ring inspect`; default the process id. */
  readonly clientId?: string | undefined
  /** Rows per poll of the stream, 4 to 8,192; default 1,024. */
  readonly limit?: number | undefined
  /**
   * Batches are valid until the next poll, or the next pull of the stream, alone: for strategies that keep none. See
   * `RingReaderOptions`. Filtered subscriptions hold trades back and ignore it.
   */
  readonly reuseMemory?: boolean | undefined
}

const none: ReadonlyArray<SubscriptionEvent> = []
const noneSuppressed = { quantity: 0n, priceChange: 0n, throttle: 0n }

/** A reader with the operator of its kind behind it. */
class ShmReceiver {
  readonly id: SubscriptionId = randomUUID()
  readonly reader: RingReader
  readonly #filter: TradeFilter | undefined
  readonly #kind: SubscriptionKind
  readonly #clientId: string
  readonly #createdAt: bigint

  constructor(reader: RingReader, kind: SubscriptionKind, clientId: string, createdAt: bigint) {
    this.reader = reader
    this.#kind = kind
    this.#clientId = clientId
    this.#createdAt = createdAt
    this.#filter = kind._tag === "Filtered" ? new TradeFilter(kind) : undefined
  }

  poll(limit: number): ReadonlyArray<SubscriptionEvent> {
    if (this.reader.isClosed) return none
    const events = this.reader.poll(limit)
    return this.#filter === undefined ? events : filterEvents(this.#filter, events, performance.now())
  }

  get isSnapshot(): boolean {
    return this.#kind._tag === "SnapshotDelta"
  }

  get isClosed(): boolean {
    return this.reader.isClosed
  }

  wait(callback: () => void): () => void {
    return this.reader.wait(callback)
  }

  /** Milliseconds until a throttled trade is due, or undefined. */
  get dueIn(): number | undefined {
    const due = this.#filter?.nextDue
    return due === undefined ? undefined : Math.max(0, due - performance.now())
  }

  get info(): SubscriptionInfo {
    const stats = this.reader.stats
    return {
      id: this.id,
      clientId: this.#clientId,
      kind: { ...this.#kind, symbols: this.reader.symbols },
      createdAt: this.#createdAt,
      delivered: this.#filter?.delivered ?? BigInt(stats.delivered),
      suppressed: this.#filter?.suppressed ?? noneSuppressed,
      lost: BigInt(stats.lost),
      gaps: BigInt(stats.gaps),
      lag: BigInt(stats.lag),
      durable: BigInt(stats.durable),
      position: BigInt(stats.position),
      start: BigInt(this.reader.start)
    }
  }
}

/** A connection to one ring; its scope ends all its subscriptions. */
export const make = Effect.fnUntraced(function* (options: ShmSubscriptionOptions) {
  const rows = options.kind ?? "trades"
  const clientId = options.clientId ?? `pid ${process.pid}`
  const limit = options.limit ?? 1_024
  const receivers = new Map<SubscriptionId, ShmReceiver>()
  const source = yield* Effect.acquireRelease(
    Effect.try({
      try: () => {
        const opened = new RingSource(options, rows)
        opened.open()
        return opened
      },
      catch: (cause) => ShmError.fromThrown("connect", options.name, cause)
    }),
    (opened) => Effect.sync(() => opened.close())
  )

  const end = (receiver: ShmReceiver) =>
    Effect.sync(() => {
      receiver.reader.close()
      receivers.delete(receiver.id)
    })
  const open = (kind: SubscriptionKind, start: StartPosition | undefined, createdAt: bigint) =>
    Effect.try({
      try: () => {
        const problem = requestProblem(kind, rows, start)
        if (problem !== undefined) throw ShmError.badRequest("subscribe", problem)
        const { mode, lingerMicros, blocking } = options
        const reading: RingReaderOptions = {
          name: options.name,
          kind: rows,
          source,
          client: clientId,
          mode,
          lingerMicros,
          blocking,
          reuseMemory: options.reuseMemory === true && kind._tag !== "Filtered"
        }
        const reader = new RingReader({
          ...reading,
          symbols: kind.symbols,
          start: startPosition(kind, start)
        })
        const receiver = new ShmReceiver(reader, kind, clientId, createdAt)
        receivers.set(receiver.id, receiver)
        return receiver
      },
      catch: (cause) => ShmError.fromThrown("subscribe", source.where, cause)
    })
  const change = (operation: string, receiver: ShmReceiver, work: () => void) =>
    Effect.try({
      try: () => {
        if (receiver.isSnapshot)
          throw ShmError.badRequest(
            operation,
            "a snapshot is taken once: subscribe to the other symbols anew"
          )
        work()
      },
      catch: (cause) => ShmError.fromThrown(operation, source.where, cause)
    })
  const subscribe = Effect.fnUntraced(function* (kind: SubscriptionKind, start?: StartPosition) {
    const createdAt = yield* Clock.currentTimeNanos
    const receiver = yield* Effect.acquireRelease(open(kind, start, createdAt), end)
    const handle: SubscriptionHandle = {
      info: Effect.sync(() => receiver.info),
      receive: receive(receiver, limit, (cause) => ShmError.fromThrown("receive", source.where, cause)),
      poll: (rowLimit) => receiver.poll(rowLimit),
      addSymbols: (symbols) => change("subscribe", receiver, () => receiver.reader.addSymbols(symbols)),
      removeSymbols: (symbols) =>
        change("unsubscribe", receiver, () => receiver.reader.removeSymbols(symbols))
    }
    return handle
  })
  const unsubscribe = (id: SubscriptionId) => {
    const receiver = receivers.get(id)
    return receiver === undefined
      ? Effect.fail(ShmError.badRequest("unsubscribe", `there is no subscription ${id}`))
      : end(receiver)
  }
  const list = Effect.sync(() => [...receivers.values()].map((receiver) => receiver.info))
  yield* Effect.addFinalizer(() => Effect.forEach([...receivers.values()], end, { discard: true }))
  return Subscription.of({ name: options.name, subscribe, unsubscribe, list })
})

/** The subscription as a layer: building it finds and checks the ring. */
export const layer = (options: ShmSubscriptionOptions): Layer.Layer<Subscription, TransportError> =>
  Layer.effect(Subscription, make(options))
