/**
 * What the registry of a service that collects 20,000 symbols costs: the time until it knows its entries, instruments and
 * listings and has resolved every symbol, the memory that it keeps, and one look for changes made by others. The yardstick
 * is the driver's own time to read the same rows.
 *
 *     npm run bench -- storage-timescale/registry [-- --symbols=20000 --rounds=5]
 */
import { InstrumentRegistry, MarketStore, type SymbolEntry, SymbolText } from "@data-manager/core"
import { Effect, Layer } from "effect"
import { type BenchStore, check, claimOf, median, runWith, withBenchStore } from "./BenchStore.ts"

const flag = (name: string, fallback: number): number => {
  const found = process.argv.find((argument) => argument.startsWith(`--${name}=`))
  return found === undefined ? fallback : Number(found.slice(name.length + 3))
}
const symbols = flag("symbols", 20_000)
const rounds = flag("rounds", 5)
const dataset = "BENCH.REGISTRY"
const names = Array.from({ length: symbols }, (_, i) => SymbolText.make(dataset, `SYM${i}`))

const entryOf = (symbol: string): SymbolEntry => ({
  symbol,
  provider: "bench",
  dataset,
  stypeIn: "raw_symbol",
  schemas: ["trades"],
  enabled: true,
  source: "discovery",
  discoveredAt: 1_700_000_000_000_000_000n,
  assetClass: "equity",
  exchange: "XNAS"
})

type Registry = InstrumentRegistry["Service"]

/** What a service does at its start; everything that it then holds is given back. */
const load = (store: MarketStore["Service"]) =>
  runWith(
    store,
    Effect.gen(function* () {
      const registry: Registry = yield* InstrumentRegistry
      const entries = yield* registry.entries({ enabled: true })
      const directory = yield* registry.directory
      const instruments = yield* Effect.forEach(entries, (entry) => registry.resolve(entry.symbol))
      return { registry, entries, directory, instruments }
    }).pipe(Effect.provide(InstrumentRegistry.layer.pipe(Layer.provide(Layer.succeed(MarketStore, store)))))
  )

const heapMegabytes = (): number => {
  globalThis.gc?.()
  globalThis.gc?.()
  const { heapUsed, external } = process.memoryUsage()
  return (heapUsed + external) / 2 ** 20
}

const seconds = async (work: () => Promise<unknown>): Promise<number> => {
  const from = performance.now()
  await work()
  return (performance.now() - from) / 1000
}

const measure = async ({ store, sql }: BenchStore): Promise<void> => {
  await runWith(store, store.registerListings(names.map((_, i) => claimOf(dataset, i))))
  await runWith(store, store.putSymbolEntries(names.map(entryOf)))
  await sql.query("VACUUM ANALYZE")
  const before = heapMegabytes()
  const first = await seconds(() => load(store))
  const times: Array<number> = []
  const plain: Array<number> = []
  const looks: Array<number> = []
  for (let round = 0; round < rounds; round++) {
    times.push(await seconds(() => load(store)))
    plain.push(
      await seconds(async () => {
        for (const table of ["symbol_entries", "instruments", "listings"])
          await sql.query(`SELECT * FROM ${table}`)
      })
    )
    looks.push(await seconds(() => runWith(store, store.symbolEntries)))
    globalThis.gc?.()
  }
  const kept = await load(store)
  if (kept.instruments.length !== symbols) throw new Error("instruments are missing")
  const memory = heapMegabytes() - before
  console.log(
    `${symbols.toLocaleString("en")} symbols, medians of ${rounds} rounds: ${median(times).toFixed(2)} s, ` +
      `${(median(times) / median(plain)).toFixed(2)}x the driver's ${median(plain).toFixed(2)} s for the same rows; ` +
      `a look for changes ${(1000 * median(looks)).toFixed(0)} ms`
  )
  check("load and resolve everything, the first time in a process", first, "s", 2)
  check("memory kept, with entries, instruments and listings", memory, "MB", 50)
  if (kept.directory.get(kept.instruments[0]!.id) === undefined) throw new Error("nothing was kept")
}

await withBenchStore(measure)
