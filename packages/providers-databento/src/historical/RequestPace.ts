/** Keeps a kind of request below the rate that the service allows, so that 429 stays the exception. */
import { Clock, Duration, Effect, Semaphore } from "effect"

/** At most so many requests begin within any stretch of `window`. */
export interface RequestRate {
  readonly requests: number
  readonly window: Duration.Input
}

/** Waits until the next request may begin; callers are let through in the order they came. */
export interface RequestPace {
  readonly next: Effect.Effect<void>
}

/** A pace of its own for one client and one kind of request. */
export const make = ({ requests, window }: RequestRate): RequestPace => {
  const windowMillis = Duration.toMillis(Duration.fromInputUnsafe(window))
  /** When the last `requests` requests began, as a ring. */
  const begun = new Float64Array(requests).fill(Number.NEGATIVE_INFINITY)
  let oldest = 0
  const turn = Semaphore.makeUnsafe(1)
  const wait = Effect.flatMap(Clock.currentTimeMillis, (now) => {
    const millis = begun[oldest]! + windowMillis - now
    return millis > 0 ? Effect.sleep(millis) : Effect.void
  })
  const begin = Effect.map(Clock.currentTimeMillis, (now) => {
    begun[oldest] = now
    oldest = (oldest + 1) % requests
  })
  return { next: turn.withPermits(1)(Effect.andThen(wait, begin)) }
}
