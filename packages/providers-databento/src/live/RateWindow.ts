/** At most so many events in any second: the gateway refuses connections, and delays requests, beyond its rates. */
import { Clock, Effect } from "effect"

/** New connections per second, address and gateway; the sixth is closed without a greeting. */
const CONNECTIONS_PER_SECOND = 5
/** Subscription requests per second and session; further ones are delayed by the gateway. */
export const SUBSCRIPTIONS_PER_SECOND = 10

const WINDOW_MILLIS = 1000

/** Grants turns, so that any window of a second holds `limit` of them at most. */
export class RateWindow {
  readonly #limit: number
  /** When the last `limit` turns are, milliseconds; the oldest first. */
  readonly #turns: Array<number> = []

  constructor(limit: number) {
    this.#limit = limit
  }

  /** Takes the next turn and gives the milliseconds to wait for it. */
  reserve(nowMillis: number): number {
    const oldest = this.#turns.length < this.#limit ? undefined : this.#turns.shift()
    const turn = oldest === undefined ? nowMillis : Math.max(nowMillis, oldest + WINDOW_MILLIS)
    this.#turns.push(turn)
    return turn - nowMillis
  }

  /** Waits for the next turn. */
  readonly turn: Effect.Effect<void> = Effect.flatMap(Clock.currentTimeMillis, (now) => {
    const wait = this.reserve(now)
    return wait > 0 ? Effect.sleep(wait) : Effect.void
  })
}

const connections = new Map<string, RateWindow>()

/** Waits until one more connection to this gateway is welcome. All clients of the process share its turns. */
export const connectionTurn = (host: string, port: number): Effect.Effect<void> =>
  Effect.suspend(() => {
    const key = `${host}:${port}`
    const window = connections.get(key) ?? new RateWindow(CONNECTIONS_PER_SECOND)
    connections.set(key, window)
    return window.turn
  })
