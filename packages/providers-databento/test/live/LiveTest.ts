/** What tests of live streams share: a registry, a faster clock, a reader. */
import { type ListingClaim, LocalInstruments, type ProviderEvent, type TradeBatch } from "@data-manager/core"
import { FastClock } from "@data-manager/testing"
import { type Clock, Effect, Redacted } from "effect"
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

/** A clock that begins a minute after the tape does and runs fast, so that backoff takes no time worth waiting for. */
export const fastClock = (): Clock.Clock => FastClock.make(TAPE_START + 60_000_000_000n)

export const { realSleep } = FastClock

/** Waits, in real time, until something holds. */
export const until = (holds: () => boolean, what: string): Effect.Effect<void> =>
  FastClock.until(Effect.sync(holds), what)

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
