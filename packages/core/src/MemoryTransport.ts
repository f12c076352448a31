/**
 * Publication and subscriptions within one process: the same contract that the shared-memory ring serves between processes.
 *
 *     publish -> log of the newest rows -> cursor of A
 *                                       -> cursor of B
 *
 * Publishing costs the same for one subscriber and for many, never waits, and copies nothing: all of them get the same batches,
 * which they only read. Who is too slow is overtaken, and told what it lost.
 */
import { Clock, Effect, type Scope } from "effect"
import { rowKind } from "./MarketBatch.ts"
import * as MarketSchema from "./MarketSchema.ts"
import { type MemoryChannelState, MemoryCursor } from "./MemoryCursor.ts"
import { MemoryLog } from "./MemoryLog.ts"
import type { Publication } from "./Publication.ts"
import type {
  StartPosition,
  Subscription,
  SubscriptionHandle,
  SubscriptionId,
  SubscriptionInfo,
  SubscriptionKind
} from "./Subscription.ts"
import { receive } from "./SubscriptionReceive.ts"
import { requestProblem } from "./SubscriptionRequest.ts"
import { TransportBadRequest, TransportError } from "./TransportError.ts"

/** A transport in memory. */
export interface MemoryTransportOptions {
  readonly name: string
  /** Row kinds that it takes; default trades alone. */
  readonly kinds?: ReadonlyArray<MarketSchema.RowKind> | undefined
  /** Newest rows of each kind that are kept for those who come later or are slow, in a quarter as many batches at most. Default 65,536. */
  readonly capacity?: number | undefined
}

/** How a client connects. */
export interface MemoryConnectOptions {
  /** What it subscribes to; default trades. */
  readonly kind?: MarketSchema.RowKind | undefined
  /** Who subscribes, for lists; default the process id. */
  readonly clientId?: string | undefined
  /** Rows per pull of a stream, at most; default 8,192. */
  readonly limit?: number | undefined
}

/** Both ends. */
export interface MemoryTransport {
  readonly publication: Publication["Service"]
  /** A client; its subscriptions end with the scope. */
  readonly connect: (
    options?: MemoryConnectOptions
  ) => Effect.Effect<Subscription["Service"], TransportError, Scope.Scope>
  /** Subscriptions of all clients, by what they subscribe to. */
  readonly subscriptions: () => ReadonlyArray<SubscriptionInfo & { readonly rows: MarketSchema.RowKind }>
  /** Ends a subscription of any client. */
  readonly unsubscribe: (id: SubscriptionId) => Effect.Effect<void, TransportError>
}

const refused = (operation: string, detail: string): TransportError =>
  new TransportError({ transport: "memory", operation, reason: new TransportBadRequest({ detail }) })

/** What is published of one kind, and who reads it. */
interface MemoryChannel extends MemoryChannelState {
  durable: number
  isClosed: boolean
  readonly cursors: Map<SubscriptionId, MemoryCursor>
}

/** A transport of this process; its publication ends with the scope, and the subscribers are told. */
export const make = Effect.fnUntraced(function* (options: MemoryTransportOptions) {
  const { capacity = 65_536, kinds = ["trades"], name } = options
  const clock = yield* Clock.Clock
  const channels = new Map<MarketSchema.RowKind, MemoryChannel>()
  for (const kind of kinds)
    channels.set(kind, {
      kind,
      log: new MemoryLog(capacity),
      durable: 0,
      isClosed: false,
      cursors: new Map()
    })
  const channelOf = (operation: string, kind: MarketSchema.RowKind) => {
    const channel = channels.get(kind)
    return channel === undefined
      ? Effect.fail(refused(operation, `"${name}" publishes ${kinds.join(" and ")}, not ${kind}`))
      : Effect.succeed(channel)
  }
  const publication: Publication["Service"] = {
    name,
    kinds,
    publish: (batch) =>
      Effect.map(channelOf("publish", rowKind(batch)), (channel) => {
        if (batch.length > 0) channel.log.append(batch, clock.currentTimeMillisUnsafe())
        wake(channel)
        return { position: BigInt(channel.log.written), demoted: 0 }
      }),
    publishGap: (gap) =>
      Effect.map(channelOf("publishGap", MarketSchema.kind(gap.schema)), (channel) => {
        channel.log.tell({ _tag: "Gap", gap }, clock.currentTimeMillisUnsafe())
        wake(channel)
      }),
    publishRepaired: (repaired) =>
      Effect.map(channelOf("publishRepaired", MarketSchema.kind(repaired.schema)), (channel) => {
        channel.log.tell({ _tag: "Repaired", repaired }, clock.currentTimeMillisUnsafe())
        wake(channel)
      }),
    markDurable: (kind, position) =>
      Effect.map(channelOf("markDurable", kind), (channel) => {
        channel.durable = Math.max(channel.durable, Math.min(Number(position), channel.log.written))
      }),
    connectionCount: Effect.sync(() => all().length)
  }
  const all = (): ReadonlyArray<MemoryCursor> =>
    [...channels.values()].flatMap(({ cursors }) => [...cursors.values()])
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      for (const channel of channels.values()) {
        channel.isClosed = true
        wake(channel)
      }
    })
  )
  const transport: MemoryTransport = {
    publication,
    connect: (how = {}) =>
      Effect.flatMap(channelOf("connect", how.kind ?? "trades"), (channel) => connect(name, channel, how)),
    subscriptions: () =>
      [...channels.values()].flatMap(({ cursors, kind }) =>
        [...cursors.values()].map((cursor) => ({ ...cursor.info, rows: kind }))
      ),
    unsubscribe: (id) => {
      const channel = [...channels.values()].find(({ cursors }) => cursors.has(id))
      return channel === undefined ? Effect.fail(unknown(id)) : Effect.sync(() => end(channel, id))
    }
  }
  return transport
})

const unknown = (id: SubscriptionId): TransportError =>
  refused("unsubscribe", `there is no subscription ${id}`)

const wake = ({ cursors }: MemoryChannel): void => {
  for (const cursor of cursors.values()) cursor.wake()
}

const end = (channel: MemoryChannel, id: SubscriptionId): void => {
  const cursor = channel.cursors.get(id)
  channel.cursors.delete(id)
  cursor?.close()
}

/** A client of one channel. */
const connect = Effect.fnUntraced(function* (
  name: string,
  channel: MemoryChannel,
  options: MemoryConnectOptions
) {
  const { clientId = "this process", limit = 8_192 } = options
  const own = new Set<SubscriptionId>()
  const list = (): ReadonlyArray<MemoryCursor> => [...own].flatMap((id) => channel.cursors.get(id) ?? [])
  const open = Effect.fnUntraced(function* (kind: SubscriptionKind, start: StartPosition | undefined) {
    const problem = requestProblem(kind, channel.kind, start) ?? sequenceProblem(channel, start)
    if (problem !== undefined) return yield* Effect.fail(refused("subscribe", problem))
    const cursor = new MemoryCursor(channel, {
      kind,
      start,
      clientId,
      createdAt: yield* Clock.currentTimeNanos
    })
    channel.cursors.set(cursor.id, cursor)
    own.add(cursor.id)
    return cursor
  })
  const service: Subscription["Service"] = {
    name,
    subscribe: (kind, start) =>
      Effect.map(
        Effect.acquireRelease(open(kind, start), ({ id }) => Effect.sync(() => end(channel, id))),
        (cursor) => handleOf(cursor, limit)
      ),
    unsubscribe: (id) =>
      channel.cursors.has(id) && own.has(id) ? Effect.sync(() => end(channel, id)) : Effect.fail(unknown(id)),
    list: Effect.sync(() => list().map((cursor) => cursor.info))
  }
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      for (const { id } of list()) end(channel, id)
    })
  )
  return service
})

const sequenceProblem = ({ log }: MemoryChannel, start: StartPosition | undefined): string | undefined =>
  start?._tag === "Sequence" && (start.sequence < 0n || start.sequence > BigInt(log.written))
    ? `sequence ${start.sequence} is not published yet; the next is ${log.written}`
    : undefined

/** A log in memory is always readable: what is thrown there is a defect. */
const unreadable = (cause: unknown): never => {
  throw cause
}

const handleOf = (cursor: MemoryCursor, limit: number): SubscriptionHandle => {
  const change = (operation: string, work: () => string | undefined) =>
    Effect.suspend(() => {
      const problem = work()
      return problem === undefined ? Effect.void : Effect.fail(refused(operation, problem))
    })
  return {
    info: Effect.sync(() => cursor.info),
    receive: receive(cursor, limit, unreadable),
    poll: (rows) => cursor.poll(rows),
    addSymbols: (symbols) => change("subscribe", () => cursor.addSymbols(symbols)),
    removeSymbols: (symbols) => change("unsubscribe", () => cursor.removeSymbols(symbols))
  }
}
