/** Keeps requests below the rates that a service allows, so that refusals stay the exception. */
import { Clock, Effect } from "effect"

/** Grants turns, so that any window of `millis` milliseconds (default: a second) holds `limit` of them at most. */
export class RateWindow {
  readonly #limit: number
  readonly #millis: number
  /** When the last `limit` turns are, milliseconds; the oldest first. */
  readonly #turns: Array<number> = []

  constructor(limit: number, millis = 1000) {
    this.#limit = limit
    this.#millis = millis
  }

  /** Takes the next turn and gives the milliseconds to wait for it. */
  reserve(nowMillis: number): number {
    const oldest = this.#turns.length < this.#limit ? undefined : this.#turns.shift()
    const turn = oldest === undefined ? nowMillis : Math.max(nowMillis, oldest + this.#millis)
    this.#turns.push(turn)
    return turn - nowMillis
  }

  /** Waits for the next turn. */
  readonly turn: Effect.Effect<void> = Effect.flatMap(Clock.currentTimeMillis, (now) => {
    const wait = this.reserve(now)
    return wait > 0 ? Effect.sleep(wait) : Effect.void
  })
}
