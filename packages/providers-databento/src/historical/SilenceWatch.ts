/**
 * Ends work that waits for bytes which do not come. One timer for a whole reply: a deadline for every read would cost more
 * than decoding what was read.
 */
import type { ProviderError } from "@data-manager/core"
import { Duration, Effect } from "effect"

/** Looks per timeout: a silence is noticed after the timeout, and a quarter of it later at most. */
const Looks = 4

/** Notes when a reader waits. */
export class SilenceWatch {
  readonly #timeout: Duration.Duration
  #reads = 0
  #isWaiting = false

  constructor(timeout: Duration.Input) {
    this.#timeout = Duration.fromInputUnsafe(timeout)
  }

  /** The reader begins to wait for bytes. */
  waits(): void {
    this.#reads += 1
    this.#isWaiting = true
  }

  /** Something came, or the end. */
  goesOn(): void {
    this.#isWaiting = false
  }

  /** Work that fails with `error` once one wait of it is longer than the timeout. */
  guard<A, E, R>(work: Effect.Effect<A, E, R>, error: ProviderError): Effect.Effect<A, E | ProviderError, R> {
    return Effect.raceFirst(work, this.#silence(error))
  }

  readonly #silence = Effect.fnUntraced({ self: this }, function* (this: SilenceWatch, error: ProviderError) {
    const pause = Duration.millis(Duration.toMillis(this.#timeout) / Looks)
    for (let read = 0, looks = 0; ; ) {
      yield* Effect.sleep(pause)
      if (!this.#isWaiting || this.#reads !== read) {
        read = this.#reads
        looks = 0
      } else if (++looks >= Looks) return yield* error
    }
  })
}
