/** At most so many connections and requests in any second: the gateway refuses, or delays, what is beyond its rates. */
import { Effect } from "effect"
import { RateWindow } from "../RateWindow.ts"

/** New connections per second, address and gateway; the sixth is closed without a greeting. */
const CONNECTIONS_PER_SECOND = 5
/** Subscription requests per second and session; further ones are delayed by the gateway. */
export const SUBSCRIPTIONS_PER_SECOND = 10

const connections = new Map<string, RateWindow>()

/** Waits until one more connection to this gateway is welcome. All clients of the process share its turns. */
export const connectionTurn = (host: string, port: number): Effect.Effect<void> =>
  Effect.suspend(() => {
    const key = `${host}:${port}`
    const window = connections.get(key) ?? new RateWindow(CONNECTIONS_PER_SECOND)
    connections.set(key, window)
    return window.turn
  })
