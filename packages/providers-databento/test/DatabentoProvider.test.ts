/** The provider against the simulated service: the same rows and keys however a range is cut, names, prices, ranges. */
import {
  Decimal,
  type HistoryRequest,
  isUnknownSymbols,
  LocalInstruments,
  type MarketBatch,
  type Provider,
  type ProviderEvent,
  TradeBatch
} from "@data-manager/core"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import { Effect, Redacted, Stream } from "effect"
import { assert, describe, it } from "vitest"
import * as DatabentoProvider from "../src/DatabentoProvider.ts"
import { HistoricalClient } from "../src/historical/HistoricalClient.ts"
import type { Catalogue } from "../src/simulator/Catalogue.ts"
import { CatalogueBuilder } from "../src/simulator/Catalogue.ts"
import { DatabentoSimulator, type Simulator } from "../src/simulator/DatabentoSimulator.ts"
import { SyntheticMarket } from "../src/simulator/SyntheticMarket.ts"
import { DAY, futuresCatalogue, SECOND } from "./simulator/TestCatalogue.ts"

const market = new SyntheticMarket({ trades: 20_000, symbols: 20 })
const catalogue = new CatalogueBuilder().addSynthetic(market).build()
const Dawn = DAY
const Dusk = DAY + 86_400n * SECOND

const request = (change: Partial<HistoryRequest> = {}): HistoryRequest => ({
  dataset: "DBEQ.BASIC",
  symbols: market.instruments.map((instrument) => instrument.symbol),
  stypeIn: "raw_symbol",
  schema: "trades",
  range: { start: Dawn, end: Dusk },
  ...change
})

/** Work with a provider of a simulator of its own. */
const withProvider = <A, E>(
  data: Catalogue,
  work: (provider: Provider, simulator: Simulator) => Effect.Effect<A, E>
): Promise<A> =>
  Effect.runPromise(
    Effect.scoped(
      Effect.gen(function* () {
        const simulator = yield* DatabentoSimulator.make({ catalogue: data })
        const historical = yield* HistoricalClient.make({
          key: Redacted.make(simulator.key),
          baseUrl: simulator.http.url,
          retries: 0
        })
        const { register } = LocalInstruments.make()
        const live = {
          apiKey: Redacted.make(simulator.key),
          address: { host: "127.0.0.1", port: simulator.live.port }
        }
        return yield* work(DatabentoProvider.make({ historical, register, live }), simulator)
      }).pipe(Effect.provide(NodeHttpClient.layerUndici))
    )
  )

const collect = (provider: Provider, what: HistoryRequest) =>
  Effect.map(Stream.runCollect(provider.history(what)), (events: ReadonlyArray<ProviderEvent>) => ({
    events,
    rows: events.flatMap((event) => (event._tag === "Batch" ? rowsOf(event.batch) : []))
  }))

const rowsOf = (batch: MarketBatch): ReadonlyArray<string> => {
  assert.instanceOf(batch, TradeBatch)
  const { columns: c } = batch
  return Array.from(
    { length: batch.length },
    (_, i) => `${c.tsRecv[i]} ${c.tsEvent[i]} ${batch.symbolAt(i)} ${c.tradeKey[i]} ${batch.priceText(i)}`
  )
}

describe("history", () => {
  it("gives the same rows with the same keys however the range is cut", async () => {
    const { whole, parts, burst } = await withProvider(catalogue, (provider) =>
      Effect.gen(function* () {
        const whole = yield* collect(provider, request())
        // Cuts everywhere, in the middle of the rows that share one sequence and microsecond, too.
        const keyed = whole.rows.map((row) => row.split(" "))
        const burst = keyed.filter(([, , , key]) => (BigInt(key!) & 0xffffn) > 0n)
        const middle = BigInt(burst[Math.floor(burst.length / 2)]![0]!)
        const cuts = [Dawn, ...[3, 7, 9_999, 15_000].map((i) => BigInt(keyed[i]![0]!)), middle, Dusk].sort(
          (a, b) => (a < b ? -1 : a > b ? 1 : 0)
        )
        const parts: Array<string> = []
        for (let i = 1; i < cuts.length; i++) {
          const { rows } = yield* collect(
            provider,
            request({ range: { start: cuts[i - 1]!, end: cuts[i]! } })
          )
          parts.push(...rows)
        }
        return { whole: whole.rows, parts, burst: burst.length }
      })
    )
    assert.isAbove(burst, 2)
    assert.lengthOf(whole, 20_000)
    assert.deepStrictEqual(parts, whole)
  })

  it("tells what parents and continuous symbols mean, day by day", async () => {
    await withProvider(futuresCatalogue, (provider) =>
      Effect.gen(function* () {
        const range = { start: DAY, end: DAY + 2n * 86_400n * SECOND }
        const dataset = "GLBX.MDP3"
        const parent = yield* collect(
          provider,
          request({ dataset, symbols: ["ES.FUT"], stypeIn: "parent", range })
        )
        const mapped = parent.events.flatMap((event) => (event._tag === "Mapping" ? [event] : []))
        assert.deepStrictEqual(
          [...new Set(mapped.map(({ claim, requested }) => `${requested} ${claim.rawSymbol}`))].sort(),
          ["ES.FUT ESH6", "ES.FUT ESM6"]
        )
        assert.isTrue(parent.rows.every((row) => / GLBX\.MDP3:ES[HM]6 /.test(row)))
        const raw = yield* collect(provider, request({ dataset, symbols: ["ESH6", "ESM6"], range }))
        assert.deepStrictEqual(parent.rows, raw.rows)
        const all = yield* collect(provider, request({ dataset, symbols: ["ALL_SYMBOLS"], range }))
        assert.deepStrictEqual(all.rows, raw.rows)
      })
    )
  })

  it("refuses schemas that are not the vendor's", async () => {
    await withProvider(catalogue, (provider) =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(collect(provider, request({ schema: "depth" })))
        assert.include(error.message, "Databento has no schema depth; there are trades, mbp-1")
      })
    )
  })
})

describe("what a request takes", () => {
  it("is counted and priced, and what exists is told by schema", async () => {
    await withProvider(catalogue, (provider) =>
      Effect.gen(function* () {
        const estimate = yield* provider.estimate(request())
        assert.deepStrictEqual([estimate.requests, estimate.records, estimate.bytes], [1, 20_000n, 960_000n])
        assert.isAbove(Decimal.toNumber(estimate.costUsd!), 0)
        const range = yield* provider.availableRange(request())
        assert.isTrue(range.start <= Dawn && range.end >= Dusk)
      })
    )
  })
})

describe("revisions", () => {
  it("are the days of the vendor's last changes, for days that have data", async () => {
    const range = { start: DAY - 86_400n * SECOND, end: DAY + 1n }
    const revisions = await withProvider(catalogue, ({ revisions }) => revisions!(request({ range })))
    assert.deepStrictEqual(revisions, [
      { range: { start: DAY, end: DAY + 86_400n * SECOND }, revision: "2026-01-05" }
    ])
  })
})

describe("symbols that mean nothing", () => {
  it("are named where nothing else is wrong, and left out beside others of a long list", async () => {
    await withProvider(catalogue, (provider) =>
      Effect.gen(function* () {
        const alone = request({ symbols: ["NOPE", "NEITHER"] })
        for (const error of [
          yield* Effect.flip(collect(provider, alone)),
          yield* Effect.flip(provider.estimate(alone))
        ]) {
          assert.isTrue(isUnknownSymbols(error))
          assert.include(
            error.message,
            "2 symbols: no raw_symbol of DBEQ.BASIC in this time; check the spelling"
          )
        }
        const nothing = Array.from({ length: 2_000 }, (_, i) => `NOPE${i}`)
        const long = request({ symbols: [...nothing, "AA"] })
        const [whole, few] = [
          yield* collect(provider, long),
          yield* collect(provider, request({ symbols: ["AA"] }))
        ]
        assert.deepStrictEqual(whole.rows, few.rows)
        assert.strictEqual((yield* provider.estimate(long)).records, BigInt(few.rows.length))
        const wrong = yield* Effect.flip(provider.estimate(request({ dataset: "NO.SUCH" })))
        assert.isFalse(isUnknownSymbols(wrong))
      })
    )
  })
})

describe("discovery", () => {
  it("lists every symbol of the newest day with its number", async () => {
    const claims = await withProvider(catalogue, (provider) =>
      Stream.runCollect(provider.discover("DBEQ.BASIC"))
    )
    assert.deepStrictEqual(
      claims.map((claim) => [claim.rawSymbol, claim.nativeId]).sort(),
      market.instruments.map(({ symbol, id }) => [symbol, id]).sort()
    )
  })
})

describe("live", () => {
  it("gives the rows that history gives for the same time, key by key, and tells how it is doing", async () => {
    await withProvider(catalogue, (provider) =>
      Effect.gen(function* () {
        const { rows } = yield* collect(provider, request())
        const live = yield* provider.live(request()).pipe(
          Stream.flatMap((event) => Stream.fromIterable(event._tag === "Batch" ? rowsOf(event.batch) : [])),
          Stream.take(rows.length),
          Stream.runCollect
        )
        assert.deepStrictEqual(new Set(live), new Set(rows))
        assert.lengthOf(live, rows.length)
        assert.strictEqual((yield* provider.health).state, "idle")
        const during = yield* provider.live(request()).pipe(
          Stream.filter((event) => event._tag === "Batch"),
          Stream.mapEffect(() => provider.health),
          Stream.take(1),
          Stream.runCollect
        )
        assert.strictEqual(during[0]?.state, "healthy")
      })
    )
  })

  it("says that there is none where none was given", async () => {
    await withProvider(catalogue, ({ id }, simulator) =>
      Effect.gen(function* () {
        const historical = yield* HistoricalClient.make({ key: Redacted.make(simulator.key) })
        const { register } = LocalInstruments.make()
        const provider = DatabentoProvider.make({ historical, register })
        assert.deepStrictEqual([provider.id, provider.capabilities.live], [id, []])
        const error = yield* Effect.flip(Stream.runDrain(provider.live(request())))
        assert.include(error.message, "made without live collection")
      }).pipe(Effect.provide(NodeHttpClient.layerUndici))
    )
  })
})
