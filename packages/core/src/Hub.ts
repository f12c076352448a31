/**
 * Where live data meets those who want it: every entry goes to every subscriber, each with a bounded queue of its own and a
 * policy for when that is full. Nobody stalls the others, and nothing is lost silently.
 *
 *     publish -> inline: spool, ring
 *             -> [queue of A: drop oldest] -> A
 *             -> [queue of B: fail]        -> B
 *             -> [queue of C: block]       -> C        (replay: the publisher waits)
 *
 * Entries are numbered from 1 in the order in which they were published. Batches are shared by all: they are only read.
 */
import { Effect, Latch, type Scope } from "effect"
import type { FeedEntry } from "./FeedEntry.ts"

/** An entry with its number in the hub. */
export interface HubMessage {
  readonly number: bigint
  readonly entry: FeedEntry
}

/**
 * What happens when a queue is full. "drop-oldest": the oldest entries go, and the subscriber is told before the next one.
 * "fail": the subscription ends with the loss. "block": the publisher waits; for hubs that replay, never for live data.
 */
export type HubPolicy = "drop-oldest" | "fail" | "block"

/** Entries of a subscriber that were dropped because it was too slow. */
export interface HubLoss {
  readonly _tag: "HubLoss"
  /** Numbers of the first and the last of them. */
  readonly first: bigint
  readonly last: bigint
  readonly rows: number
}

/** What a subscriber gets. */
export type HubEvent = ({ readonly _tag: "HubEntry" } & HubMessage) | HubLoss

/** A subscription that could not keep up ended. */
export interface HubOverflow {
  readonly _tag: "HubOverflow"
  readonly subscriber: string
  readonly rows: number
}

/** How a subscriber takes part. */
export interface HubSubscribeOptions {
  /** For people: metrics and `dm status`. */
  readonly name: string
  readonly policy: HubPolicy
  /** Rows that may wait; an entry without rows counts as one. Default 1,000,000. */
  readonly capacity?: number | undefined
}

/** How a subscriber is doing. */
export interface HubSubscriberStatus {
  readonly name: string
  readonly policy: HubPolicy
  readonly capacity: number
  /** Rows that wait. */
  readonly waiting: number
  readonly delivered: bigint
  readonly dropped: bigint
}

/** A subscription; its scope ends it. */
export interface HubSubscription {
  /** The next events, at least one; waits for them. Fails only with the policy "fail". For one reader. */
  readonly take: Effect.Effect<ReadonlyArray<HubEvent>, HubOverflow>
  /** What has come by now, at once; empty where nothing has. */
  readonly takeNow: () => ReadonlyArray<HubEvent>
  readonly status: () => HubSubscriberStatus
}

/** Takes each entry within the publisher's call, so it must be quick and never wait: what writes to memory or a queue of its own. */
export interface HubSink {
  readonly name: string
  readonly deliver: (message: HubMessage) => void
  /** Completes when many more entries find room in it; never later than after a short while. Absent: they always do. */
  readonly room?: Effect.Effect<void> | undefined
}

/** A sink that threw, and what. */
export type BrokenSink = readonly [sink: HubSink, error: unknown]

/** The hub. */
export interface Hub {
  /**
   * Hands a live entry to everybody, sinks first, at once and without an Effect. A subscriber that blocks gets it, too, beyond its
   * capacity: such subscribers are for hubs that replay. Gives sinks that failed and were removed, to be logged.
   */
  readonly publishNow: (entry: FeedEntry) => ReadonlyArray<BrokenSink>
  /** The same, and waits for subscribers that block. */
  readonly publish: (entry: FeedEntry) => Effect.Effect<void>
  /**
   * Completes when sinks have room for many more entries, at once where they have. Whoever has many at hand waits for it between
   * them.
   */
  readonly room: Effect.Effect<void>
  readonly subscribe: (options: HubSubscribeOptions) => Effect.Effect<HubSubscription, never, Scope.Scope>
  /**
   * Adds a sink until the scope ends; sinks are served in the order in which they were added. One that throws is removed, and
   * the error logged: the others go on.
   */
  readonly attach: (sink: HubSink) => Effect.Effect<void, never, Scope.Scope>
  readonly subscribers: () => ReadonlyArray<HubSubscriberStatus>
  /** Entries published so far. */
  readonly published: () => bigint
}

const DefaultCapacity = 1_000_000

/** Rows that an entry counts for. */
const weightOf = (entry: FeedEntry): number =>
  entry._tag === "FeedRows" ? Math.max(1, entry.batch.length) : 1

/** Loss while it grows. */
interface Dropping {
  first: bigint
  last: bigint
  rows: number
}

/** The queue of one subscriber. */
class HubQueue {
  readonly #options: HubSubscribeOptions
  readonly #capacity: number
  #messages: Array<HubMessage> = []
  #first = 0
  #waiting = 0
  #delivered = 0n
  #dropped = 0n
  #loss: Dropping | undefined
  #overflow: HubOverflow | undefined
  /** Open while there is something to take. */
  readonly #something = Latch.makeUnsafe(false)
  /** Open while there is room. */
  readonly #room = Latch.makeUnsafe(true)

  constructor(options: HubSubscribeOptions) {
    this.#options = options
    this.#capacity = options.capacity ?? DefaultCapacity
  }

  /** Whether the publisher has to wait for `room` first. */
  get isBlocking(): boolean {
    return this.#options.policy === "block" && this.#waiting >= this.#capacity
  }

  get room(): Effect.Effect<void> {
    return this.#room.await
  }

  offer(message: HubMessage): void {
    if (this.#overflow !== undefined) return
    const weight = weightOf(message.entry)
    if (this.#options.policy !== "block") {
      if (this.#options.policy === "fail" && this.#waiting + weight > this.#capacity) {
        this.#fail(weight)
        return
      }
      while (this.#waiting > 0 && this.#waiting + weight > this.#capacity) this.#dropOldest()
    }
    this.#messages.push(message)
    this.#waiting += weight
    if (this.#waiting >= this.#capacity) this.#room.closeUnsafe()
    this.#something.openUnsafe()
  }

  #fail(weight: number): void {
    this.#overflow = {
      _tag: "HubOverflow",
      subscriber: this.#options.name,
      rows: this.#waiting + weight
    }
    this.#dropped += BigInt(this.#waiting + weight)
    this.#clear()
    this.#something.openUnsafe()
  }

  #dropOldest(): void {
    const { number, entry } = this.#messages[this.#first]!
    this.#first += 1
    const weight = weightOf(entry)
    this.#waiting -= weight
    this.#loss ??= { first: number, last: number, rows: 0 }
    this.#loss.last = number
    if (entry._tag === "FeedRows") {
      this.#loss.rows += entry.batch.length
      this.#dropped += BigInt(entry.batch.length)
    }
    if (this.#first > 1024) this.#compact()
  }

  #compact(): void {
    this.#messages = this.#messages.slice(this.#first)
    this.#first = 0
  }

  #clear(): void {
    this.#messages = []
    this.#first = 0
    this.#waiting = 0
  }

  readonly takeNow = (): ReadonlyArray<HubEvent> => {
    const events: Array<HubEvent> = []
    if (this.#loss !== undefined) events.push({ _tag: "HubLoss", ...this.#loss })
    for (let i = this.#first; i < this.#messages.length; i++) {
      const { number, entry } = this.#messages[i]!
      events.push({ _tag: "HubEntry", number, entry })
    }
    this.#delivered += BigInt(this.#waiting)
    this.#loss = undefined
    this.#clear()
    if (this.#overflow === undefined) this.#something.closeUnsafe()
    this.#room.openUnsafe()
    return events
  }

  readonly take: Effect.Effect<ReadonlyArray<HubEvent>, HubOverflow> = Effect.suspend(() =>
    Effect.flatMap(this.#something.await, () =>
      this.#overflow === undefined ? Effect.sync(this.takeNow) : Effect.fail(this.#overflow)
    )
  )

  readonly status = (): HubSubscriberStatus => ({
    name: this.#options.name,
    policy: this.#options.policy,
    capacity: this.#capacity,
    waiting: this.#waiting,
    delivered: this.#delivered,
    dropped: this.#dropped
  })
}

const none: ReadonlyArray<never> = []

/** Logs sinks that failed. */
export const logBroken = (broken: ReadonlyArray<BrokenSink>): Effect.Effect<void> =>
  broken.length === 0
    ? Effect.void
    : Effect.forEach(
        broken,
        ([sink, error]) => Effect.logError(`hub: ${sink.name} failed and was removed`, error),
        { discard: true }
      )

/** A hub without subscribers. */
export const make = (): Hub => {
  const queues = new Set<HubQueue>()
  const sinks = new Set<HubSink>()
  let number = 0n
  const publishNow = (entry: FeedEntry): ReadonlyArray<BrokenSink> => {
    number += 1n
    const message = { number, entry }
    let broken: ReadonlyArray<BrokenSink> = none
    for (const sink of sinks)
      try {
        sink.deliver(message)
      } catch (error) {
        sinks.delete(sink)
        broken = [...broken, [sink, error]]
      }
    for (const queue of queues) queue.offer(message)
    return broken
  }
  const blocking = (): HubQueue | undefined => {
    for (const queue of queues) if (queue.isBlocking) return queue
    return undefined
  }
  const publish = (entry: FeedEntry): Effect.Effect<void> =>
    Effect.suspend(() => {
      const queue = blocking()
      if (queue !== undefined) return Effect.flatMap(queue.room, () => publish(entry))
      return logBroken(publishNow(entry))
    })
  const room = Effect.suspend(() => {
    let all: Effect.Effect<void> = Effect.void
    for (const sink of sinks) if (sink.room !== undefined) all = Effect.andThen(all, sink.room)
    return all
  })
  return {
    publishNow,
    room,
    publish,
    subscribe: (options) =>
      Effect.acquireRelease(
        Effect.sync((): HubQueue => {
          const queue = new HubQueue(options)
          queues.add(queue)
          return queue
        }),
        (queue) =>
          Effect.sync(() => {
            queues.delete(queue)
            // A publisher that waits for it goes on.
            queue.takeNow()
          })
      ),
    attach: (sink) =>
      Effect.acquireRelease(
        Effect.sync(() => void sinks.add(sink)),
        () => Effect.sync(() => void sinks.delete(sink))
      ),
    subscribers: () => [...queues].map((queue) => queue.status()),
    published: () => number
  }
}
