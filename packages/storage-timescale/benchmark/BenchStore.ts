/** An embedded server and a store on it, for as long as a benchmark takes. */
import { chmodSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { type ListingClaim, MarketStore, UnixNanos } from "@data-manager/core"
import { Effect, Exit, Layer, References, Scope } from "effect"
import pg from "pg"
import { EmbeddedServer } from "../src/embedded/index.ts"
import { TimescaleStore } from "../src/index.ts"
import { clientConfig } from "../src/PgServer.ts"

/** What a benchmark works with. */
export interface BenchStore {
  readonly store: MarketStore["Service"]
  readonly sql: pg.Client
}

/** Work with an empty store on a server with its ordinary settings. */
export const withBenchStore = async (work: (bench: BenchStore) => Promise<void>): Promise<void> => {
  const root = mkdtempSync(join(tmpdir(), "dm-bench-"))
  // Started as root, the server runs as another user, who must get through.
  chmodSync(root, 0o755)
  const dataDir = join(root, "data")
  const scope = Effect.runSync(Scope.make())
  try {
    const server = await Effect.runPromise(
      Scope.provide(EmbeddedServer.acquire({ dataDir, linger: "1 minute" }), scope)
    )
    const context = await Effect.runPromise(
      Scope.provide(Layer.build(TimescaleStore.layer({ server, embedded: true, migrate: "auto" })), scope)
    )
    const sql = new pg.Client(clientConfig(server))
    await sql.connect()
    try {
      await work({ store: Effect.runSync(Effect.provide(MarketStore, context)), sql })
    } finally {
      await sql.end()
    }
  } finally {
    await Effect.runPromise(Scope.close(scope, Exit.void))
    await Effect.runPromise(EmbeddedServer.stop(dataDir, { force: true }))
    rmSync(root, { recursive: true, force: true })
  }
}

/** Runs an effect with the store of a benchmark, without its log. */
export const runWith = <A, E>(
  store: MarketStore["Service"],
  effect: Effect.Effect<A, E, MarketStore>
): Promise<A> =>
  Effect.runPromise(
    effect.pipe(
      Effect.provideService(MarketStore, store),
      Effect.provideService(References.MinimumLogLevel, "Error")
    )
  )

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

/** Prints a figure beside its target; a missed one makes the exit code 1. */
export const check = (what: string, value: number, unit: string, most: number): void => {
  const isMet = value <= most
  console.log(
    `${what.padEnd(62)} ${value.toFixed(2).padStart(8)} ${unit} (at most ${most}) ${isMet ? "ok" : "MISSED"}`
  )
  if (!isMet) process.exitCode = 1
}
