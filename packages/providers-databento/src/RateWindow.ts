/** Keeps requests below the rates that a service allows, so that refusals stay the exception. */
import { Clock, Effect } from "effect"

/** Grants turns, so that any window of `millis` milliseconds (default: a second) holds `limit` of them at most. */
export class RateWindow {
  readonly #limit: number
  readonly #millis: number
  /** When the last `limit` turns are, milliseconds; the oldest first. */
  #turns: Array<number> = []
  #now = Number.NEGATIVE_INFINITY

  constructor(limit: number, millis = 1000) {
    this.#limit = limit
    this.#millis = millis
  }

  /** Takes the next turn and gives the milliseconds to wait for it. */
  reserve(nowMillis: number): number {
    // A wall clock that was set back takes the turns with it: they would be far in the future.
    const back = this.#now - nowMillis
    if (back > 0) this.#turns = this.#turns.map((turn) => turn - back)
    this.#now = nowMillis
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
