/** Live data of one dataset: opening a stream, what it gives, and what can be done with it. */
import type { ProviderError, ProviderEvent, StoreError } from "@data-manager/core"
import { Clock, Effect, type Scope, Stream } from "effect"
import { LiveClient, type LiveHealth } from "./LiveClient.ts"
import { keyProblem, type LiveOptions, optionProblem } from "./LiveOptions.ts"
import type { LiveSubscription } from "./LiveRequest.ts"
import { badKey, badLiveRequest } from "./SessionEnd.ts"

/** A running stream. */
export interface LiveFeed {
  /** Batches, mappings and gaps, for one reader. Fails where repeating cannot help, after everything that was received. */
  readonly events: Stream.Stream<ProviderEvent, ProviderError | StoreError>
  /** Adds symbols, to the running session where there is one: from now on, without replay. */
  readonly subscribe: (subscription: LiveSubscription) => Effect.Effect<void, ProviderError>
  /**
   * Removes symbols: their rows end at once. The protocol knows no such request, so until the next session they are still
   * sent, and dropped here.
   */
  readonly unsubscribe: (subscription: LiveSubscription) => Effect.Effect<void, ProviderError>
  readonly health: Effect.Effect<LiveHealth>
}

/** Live events as a stream that lives as long as its reader. Requests that cannot be sent fail it at once. */
export const liveEvents = (options: LiveOptions): Stream.Stream<ProviderEvent, ProviderError | StoreError> =>
  Stream.unwrap(Effect.map(openLive(options), (feed) => feed.events))

/**
 * Opens a stream: it connects in the background and collects from then on, as far as the queue reaches. Fails at once
 * where the options cannot be sent: wrong form of key, dataset or symbols.
 */
export const openLive = (options: LiveOptions): Effect.Effect<LiveFeed, ProviderError, Scope.Scope> =>
  Effect.gen(function* () {
    const { dataset } = options
    const clock = yield* Clock.Clock
    const badKeyForm = keyProblem(options)
    if (badKeyForm !== undefined) return yield* badKey(dataset, badKeyForm)
    const problem = optionProblem(options, clock.currentTimeNanosUnsafe())
    if (problem !== undefined) return yield* badLiveRequest(dataset, problem)
    const client = new LiveClient(options, clock)
    for (const subscription of options.subscriptions) yield* client.subscribe(subscription)
    yield* Effect.forkScoped(client.run)
    return {
      events: Stream.fromPull(Effect.succeed(client.queue.pull)),
      subscribe: client.subscribe,
      unsubscribe: client.unsubscribe,
      health: client.health
    }
  })
