/** The live streams of one provider: opened, counted while they run, and looked at together. */
import type { ProviderError, ProviderEvent, ProviderHealth, StoreError } from "@data-manager/core"
import { Effect, Stream } from "effect"
import { type LiveFeed, openLive } from "./LiveFeed.ts"
import type { LiveOptions } from "./LiveOptions.ts"

const worstFirst: ReadonlyArray<ProviderHealth["state"]> = ["down", "degraded", "healthy", "idle"]

/** Streams under way. */
export class LiveStreams {
  readonly #running = new Set<LiveFeed>()

  /** A stream that lives as long as its reader. */
  events(options: LiveOptions): Stream.Stream<ProviderEvent, ProviderError | StoreError> {
    return Stream.unwrap(
      Effect.gen({ self: this }, function* (this: LiveStreams) {
        const feed = yield* openLive(options)
        yield* Effect.acquireRelease(
          Effect.sync(() => this.#running.add(feed)),
          () => Effect.sync(() => this.#running.delete(feed))
        )
        return feed.events
      })
    )
  }

  /** The worst state of them all, the newest data, the longest lag; idle where none runs. */
  readonly health: Effect.Effect<ProviderHealth> = Effect.suspend(() =>
    Effect.map(
      Effect.forEach([...this.#running], (feed) => feed.health),
      together
    )
  )
}

const together = (all: ReadonlyArray<ProviderHealth>): ProviderHealth => {
  const largest = (pick: (one: ProviderHealth) => bigint | undefined): bigint | undefined =>
    all.reduce<bigint | undefined>((most, one) => {
      const value = pick(one)
      return value !== undefined && (most === undefined || value > most) ? value : most
    }, undefined)
  return {
    state: worstFirst.find((state) => all.some((one) => one.state === state)) ?? "idle",
    lastDataAt: largest((one) => one.lastDataAt),
    lag: largest((one) => one.lag),
    reconnects: all.reduce((sum, one) => sum + one.reconnects, 0),
    detail: all.length === 0 ? "no live stream runs" : all.map((one) => one.detail).join("; ")
  }
}
