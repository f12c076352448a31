/** A store in a database of its own, for as long as a benchmark takes. */
import { type ListingClaim, MarketStore, UnixNanos } from "@data-manager/core"
import { Effect, Layer, References, type Scope } from "effect"
import pg from "pg"
import { TimescaleStore } from "../src/index.ts"
import { clientConfig, type ServerAddress } from "../src/PgServer.ts"
import * as BenchDatabase from "./BenchDatabase.ts"

/** What a benchmark works with. */
export interface BenchStore {
  readonly store: MarketStore["Service"]
  readonly sql: pg.Client
  readonly address: ServerAddress
}

/** A connection of its own, for as long as the scope lives. */
export const connect = (address: ServerAddress) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const made = new pg.Client(clientConfig(address))
      await made.connect()
      return made
    }),
    (made) => Effect.promise(() => made.end())
  )

/**
 * Runs a benchmark as a whole. Ended by a signal, it removes what it made.
 */
export const main = <A, E>(work: Effect.Effect<A, E, Scope.Scope>): Promise<A> => {
  const stopping = new AbortController()
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, () => stopping.abort())
  const scoped = Effect.provideService(Effect.scoped(work), References.MinimumLogLevel, "Error")
  return Effect.runPromise(scoped, { signal: stopping.signal })
}

/** Work with an empty store on the server of `BenchDatabase`, or another one; which one is told first. */
export const withBenchStore = (
  work: (bench: BenchStore) => Promise<void>,
  url: string = BenchDatabase.named
): Promise<void> =>
  main(
    Effect.gen(function* () {
      const address = yield* BenchDatabase.database(url)
      const options = { server: address, embedded: url === "", migrate: "auto" } as const
      const context = yield* Layer.build(TimescaleStore.layer(options))
      const store = yield* Effect.provide(MarketStore, context)
      const sql = yield* connect(address)
      console.log(yield* Effect.promise(() => BenchDatabase.describe(sql, url === "")))
      yield* Effect.promise(() => work({ store, sql, address }))
    })
  )

/** Runs an effect without its log. */
export const quiet = <A, E>(effect: Effect.Effect<A, E>): Promise<A> =>
  Effect.runPromise(Effect.provideService(effect, References.MinimumLogLevel, "Error"))

/** Runs an effect with the store of a benchmark, without its log. */
export const runWith = <A, E>(
  store: MarketStore["Service"],
  effect: Effect.Effect<A, E, MarketStore>
): Promise<A> => quiet(Effect.provideService(effect, MarketStore, store))

/** A symbol that is listed from a day of 2021 on for six years. */
export const claimOf = (dataset: string, index: number): ListingClaim => ({
  provider: "bench",
  dataset,
  rawSymbol: `SYM${index}`,
  nativeId: 1 + index,
  valid: { start: UnixNanos.parse("2021-01-01")!, end: UnixNanos.parse("2027-01-01")! },
  defaultPriceScale: 9,
  defaultSizeScale: 0,
  details: { assetClass: "equity", exchange: "XNAS", currency: "USD" }
})

export const median = (values: ReadonlyArray<number>): number =>
  values.toSorted((a, b) => a - b)[values.length >> 1]!

/** A number on the command line, `--name=10`. */
export const option = (name: string, fallback: number): number => {
  const found = process.argv.find((argument) => argument.startsWith(`--${name}=`))
  return found === undefined ? fallback : Number(found.slice(name.length + 3))
}

const judge = (what: string, value: number, unit: string, bound: string, isMet: boolean): void => {
  console.log(
    `${what.padEnd(62)} ${value.toFixed(2).padStart(8)} ${unit} (${bound}) ${isMet ? "ok" : "MISSED"}`
  )
  if (!isMet) process.exitCode = 1
}

/** Prints a figure beside its target; a missed one makes the exit code 1. */
export const check = (what: string, value: number, unit: string, most: number): void =>
  judge(what, value, unit, `at most ${most}`, value <= most)

/** The same where more is better. */
export const checkLeast = (what: string, value: number, unit: string, least: number): void =>
  judge(what, value, unit, `at least ${least}`, value >= least)
