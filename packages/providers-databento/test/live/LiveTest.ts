/** What tests of live streams share: a registry, a faster clock, a reader. */
import { type ListingClaim, LocalInstruments, type ProviderEvent, type TradeBatch } from "@data-manager/core"
import { type Clock, Duration, Effect, Redacted } from "effect"
import type { LiveOptions } from "../../src/live/LiveOptions.ts"
import { DATASET, KEY, TAPE_START } from "./Tape.ts"

/** A registry in memory that remembers what it was told. */
export const registry = () => {
  const claims: Array<ListingClaim> = []
  const { register } = LocalInstruments.make()
  return {
    claims,
    register: (batch: ReadonlyArray<ListingClaim>) => {
      claims.push(...batch)
      return register(batch)
    }
  }
}

/** Options of a stream of ES and NQ trades from a gateway on this machine. */
export const options = (port: number, more: Partial<LiveOptions> = {}): LiveOptions => ({
  apiKey: Redacted.make(KEY),
  dataset: DATASET,
  subscriptions: [{ schema: "trades", stypeIn: "parent", symbols: ["ES.FUT", "NQ.FUT"] }],
  address: { host: "127.0.0.1", port },
  register: registry().register,
  ...more
})

/** How many times faster than real time `fastClock` runs. */
const SPEED = 50

/** A clock that begins a minute after the tape does and runs fast, so that backoff takes no time worth waiting for. */
export const fastClock = (): Clock.Clock => {
  const began = performance.now()
  const nanos = (): bigint =>
    TAPE_START + 60_000_000_000n + BigInt(Math.round((performance.now() - began) * SPEED * 1e6))
  const millis = (): number => Number(nanos() / 1_000_000n)
  return {
    currentTimeMillisUnsafe: millis,
    currentTimeMillis: Effect.sync(millis),
    currentTimeNanosUnsafe: nanos,
    currentTimeNanos: Effect.sync(nanos),
    monotonicTimeNanosUnsafe: nanos,
    monotonicTimeNanos: Effect.sync(nanos),
    sleep: (duration) =>
      Effect.callback<void>((resume) => {
        const timer = setTimeout(() => resume(Effect.void), Duration.toMillis(duration) / SPEED)
        return Effect.sync(() => clearTimeout(timer))
      })
  }
}

/** Real milliseconds, whatever the clock of the test. */
export const realSleep = (millis: number): Effect.Effect<void> =>
  Effect.promise(() => new Promise<void>((resolve) => setTimeout(resolve, millis)))

/** Waits, in real time, until something holds. */
export const until = (holds: () => boolean, what: string): Effect.Effect<void> =>
  Effect.gen(function* () {
    const began = performance.now()
    while (!holds()) {
      if (performance.now() - began > 12_000) return yield* Effect.die(new Error(`still not: ${what}`))
      yield* realSleep(2)
    }
  })

export const tradeBatches = (events: ReadonlyArray<ProviderEvent>): ReadonlyArray<TradeBatch> =>
  events.flatMap((event) =>
    event._tag === "Batch" && event.batch._tag === "TradeBatch" ? [event.batch] : []
  )

/** Rows as text, one line each: what must be equal for rows to be equal. */
export const rowsOf = (batches: ReadonlyArray<TradeBatch>): ReadonlyArray<string> =>
  batches.flatMap((batch) =>
    [...batch.rows()].map((row) =>
      [
        row.symbol,
        row.publisher,
        row.tsEvent,
        row.tradeKey,
        batch.context.dataset,
        row.price?.mantissa,
        row.size?.mantissa,
        row.side,
        row.tsRecv
      ].join(" ")
    )
  )
