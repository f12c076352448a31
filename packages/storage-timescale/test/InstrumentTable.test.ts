import { randomUUID } from "node:crypto"
import {
  Decimal,
  type InstrumentDetails,
  type ListingClaim,
  SymbolText,
  type TimeRange,
  UnixNanos
} from "@data-manager/core"
import { BatchArbitrary, SeededRandom } from "@data-manager/testing"
import { Effect, Stream } from "effect"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import * as InstrumentTable from "../src/InstrumentTable.ts"
import * as Reader from "../src/Reader.ts"
import { appendAll, openStore, type StoreFixture } from "./StoreFixture.ts"

let store: StoreFixture
let table: InstrumentTable.InstrumentPart

beforeAll(async () => {
  store = await openStore()
  table = InstrumentTable.make(store.writer.pool)
}, 30_000)
afterAll(() => store.close())

const at = (iso: string): bigint => UnixNanos.parse(iso)!
const during = (start: string, end: string): TimeRange.TimeRange => ({ start: at(start), end: at(end) })

const claim = (
  dataset: string,
  rawSymbol: string | undefined,
  more: Partial<ListingClaim> = {}
): ListingClaim => ({
  provider: "databento",
  dataset,
  rawSymbol,
  valid: during("2026-01-05", "2026-01-06"),
  defaultPriceScale: 9,
  defaultSizeScale: 0,
  ...more
})

const newDataset = (): string => `TEST.${randomUUID().slice(0, 8)}`
const register = (claims: ReadonlyArray<ListingClaim>) => store.run(table.registerListings(claims))
const refused = async (bad: ListingClaim): Promise<string> => {
  const before = await store.sql("SELECT count(*) FROM instruments")
  const error = await store.run(Effect.flip(table.registerListings([claim(bad.dataset, "GOOD"), bad])))
  assert.include(["StoreInvalidData", "StoreBadRequest"], error.reason._tag)
  assert.deepStrictEqual(await store.sql("SELECT count(*) FROM instruments"), before)
  return error.message
}

describe("scales", () => {
  const decimal = (text: string): Decimal.Decimal => Decimal.parse(text)!
  const cases: ReadonlyArray<
    readonly [string, InstrumentDetails | undefined, number, number, number, number]
  > = [
    ["defaults of the provider where no definition is known", undefined, 9, 0, 9, 0],
    ["a tick of 0.25", { tickSize: decimal("0.250000000"), assetClass: "future" }, 9, 0, 2, 0],
    ["a tick of 1/64", { tickSize: decimal("0.015625") }, 9, 0, 6, 0],
    ["a tick of 5", { tickSize: decimal("5.0") }, 9, 0, 0, 0],
    ["an equity's cent: prints go below it", { tickSize: decimal("0.01"), assetClass: "equity" }, 9, 0, 4, 0],
    ["an equity's finer tick", { tickSize: decimal("0.000001"), assetClass: "equity" }, 9, 0, 6, 0],
    ["tick and lot of a coin", { tickSize: decimal("0.01"), lotSize: decimal("0.00001000") }, 8, 8, 2, 5],
    ["a lot of a hundred", { lotSize: decimal("100") }, 9, 3, 9, 0],
    ["a tick that says nothing", { tickSize: decimal("0"), lotSize: decimal("-1") }, 9, 2, 9, 2],
    ["a tick finer than any int8", { tickSize: decimal("1e-30") }, 9, 0, 18, 0]
  ]
  it("follow tick and lot, else the provider's finest", async () => {
    const dataset = newDataset()
    const made = await register(
      cases.map(([, details, defaultPriceScale, defaultSizeScale], i) =>
        claim(dataset, `S${i}`, { details, defaultPriceScale, defaultSizeScale })
      )
    )
    made.forEach((instrument, i) => {
      const [what, , , , price, size] = cases[i]!
      assert.deepStrictEqual([instrument.priceScale, instrument.sizeScale], [price, size], what)
    })
    const units = await store.sql<{ readonly ok: boolean }>(
      `SELECT price_unit = 10::numeric ^ -price_scale AND size_unit = 10::numeric ^ -size_scale
         AND scale(price_unit) = price_scale AS ok FROM instruments WHERE symbol LIKE $1`,
      [`${dataset}:%`]
    )
    assert.isTrue(units.length === cases.length && units.every((row) => row.ok))
  })

  it("are fixed once made", async () => {
    const dataset = newDataset()
    const [first] = await register([claim(dataset, "X")])
    const [later] = await register([
      claim(dataset, "X", { details: { tickSize: decimal("0.5") }, defaultPriceScale: 3 })
    ])
    assert.deepStrictEqual({ ...later }, { ...first })
    assert.deepStrictEqual((await store.run(table.instrumentDetails(first!.id)))?.tickSize, decimal("0.5"))
  })
})

describe("details", () => {
  const full: InstrumentDetails = {
    assetClass: "option",
    exchange: "XCME",
    currency: "USD",
    base: "ES",
    underlying: "ESH6",
    tickSize: { mantissa: 50000000n, exponent: -9 },
    lotSize: { mantissa: 1n, exponent: 2 },
    multiplier: { mantissa: 50n, exponent: 0 },
    strike: { mantissa: 9223372036854775807n, exponent: -9 },
    activation: at("2025-06-20T13:30:00.123456789Z"),
    expiration: at("2026-03-20T13:30:00.000000001Z"),
    metadata: { leg: [1, 2.5, null, "é"], nested: { a: { b: true } }, "": "" }
  }

  it("come back exactly, to the nanosecond and the last digit", async () => {
    const [instrument] = await register([claim(newDataset(), "E5 C5000", { details: full })])
    const details = (await store.run(table.instrumentDetails(instrument!.id)))!
    const { lotSize, ...rest } = details
    const { lotSize: expectedLot, ...expected } = full
    assert.deepStrictEqual(rest, expected)
    assert.isTrue(Decimal.equals(lotSize!, expectedLot!))
    assert.deepStrictEqual([instrument!.assetClass, instrument!.exchange], ["option", "XCME"])
    const [row] = await store.sql(
      "SELECT activation::text, expiration::text, asset_class, exchange FROM instruments WHERE id = $1",
      [instrument!.id]
    )
    assert.deepStrictEqual(row as unknown, {
      activation: "2025-06-20 13:30:00.123456+00",
      expiration: "2026-03-20 13:30:00+00",
      asset_class: "option",
      exchange: "XCME"
    })
  })

  it("are unknown for an unknown instrument and empty without a definition", async () => {
    assert.isUndefined(await store.run(table.instrumentDetails(2_000_000_000)))
    const [plain] = await register([claim(newDataset(), "X")])
    assert.deepStrictEqual(await store.run(table.instrumentDetails(plain!.id)), {})
    assert.deepStrictEqual([plain!.assetClass, plain!.exchange], ["unknown", undefined])
    const error = await store.run(Effect.flip(table.instrumentDetails(-1)))
    assert.strictEqual(error.reason._tag, "StoreBadRequest")
  })

  it("follow the definition of the latest time; an earlier one only fills in", async () => {
    const dataset = newDataset()
    const on = (start: string, end: string, details: InstrumentDetails) =>
      register([claim(dataset, "X", { valid: during(start, end), details })])
    const [instrument] = await on("2026-01-05", "2026-01-06", { currency: "USD", metadata: { a: 1, b: 1 } })
    await on("2026-01-07", "2026-01-08", { currency: "EUR", metadata: { b: 2 } })
    await on("2026-01-06", "2026-01-07", { currency: "GBP", base: "B", metadata: { b: 3, c: 3 } })
    assert.deepStrictEqual(await store.run(table.instrumentDetails(instrument!.id)), {
      currency: "EUR",
      base: "B",
      metadata: { a: 1, b: 2, c: 3 }
    })
  })
})

describe("registering", () => {
  it("gives ids in the order of the claims, over several datasets and with repeats", async () => {
    const [one, two] = [newDataset(), newDataset()]
    const claims = [
      claim(one, "A"),
      claim(two, "A"),
      claim(one, "B"),
      claim(one, "A"),
      claim(one, "A", { provider: "another" })
    ]
    const made = await register(claims)
    assert.deepStrictEqual(
      made.map((each) => `${each.provider} ${each.symbol}`),
      [
        `databento ${one}:A`,
        `databento ${two}:A`,
        `databento ${one}:B`,
        `databento ${one}:A`,
        `another ${one}:A`
      ]
    )
    assert.strictEqual(made[0]!.id, made[3]!.id)
    assert.strictEqual(new Set(made.map((each) => each.id)).size, 4)
    assert.deepStrictEqual(await register(claims), made)
    assert.deepStrictEqual(await register([]), [])
  })

  it("writes nothing when nothing is new", async () => {
    const dataset = newDataset()
    const claims = Array.from({ length: 50 }, (_, i) =>
      claim(dataset, `S${i}`, { nativeId: i, details: { currency: "USD", metadata: { z: 1, a: 2 } } })
    )
    await register(claims)
    const state = () =>
      store.sql(
        `SELECT (SELECT jsonb_agg(i.xmin::text || ctid::text ORDER BY i.id) FROM instruments i) AS a,
                (SELECT jsonb_agg(l.xmin::text || ctid::text ORDER BY l.id) FROM listings l) AS b`
      )
    const before = await state()
    await register(claims)
    assert.deepStrictEqual(await state(), before)
  })

  it("keeps valid times in whole microseconds around what was said, up to the ends of time", async () => {
    const dataset = newDataset()
    const cases = [
      { start: UnixNanos.Min, end: UnixNanos.Max },
      { start: 1_500n, end: 2_500n },
      { start: -1n, end: 1n }
    ]
    await register(cases.map((valid, i) => claim(dataset, `S${i}`, { valid })))
    const { listings } = await store.run(table.loadInstruments([dataset]))
    assert.deepStrictEqual(
      listings.map((listing) => listing.valid),
      [
        { start: UnixNanos.Min, end: UnixNanos.Max },
        { start: 1_000n, end: 3_000n },
        { start: -1_000n, end: 1_000n }
      ]
    )
    await register(cases.map((valid, i) => claim(dataset, `S${i}`, { valid })))
    assert.strictEqual((await store.run(table.loadInstruments([dataset]))).listings.length, 3)
  })

  it("refuses what it cannot keep and registers nothing of the call", async () => {
    const dataset = newDataset()
    assert.match(await refused(claim(dataset, undefined)), /raw symbol or a native id/)
    assert.match(await refused(claim(dataset, "")), /plain text/)
    assert.match(await refused(claim(dataset, "a\0b")), /plain text/)
    assert.match(await refused(claim(dataset, "a\ud800")), /plain text/)
    assert.match(await refused(claim(dataset, "X", { nativeId: 1.5 })), /1.5/)
    assert.match(await refused(claim(dataset, "X", { valid: during("2026-01-06", "2026-01-06") })), /empty/)
    assert.match(await refused(claim(dataset, "X", { valid: { start: 0n, end: 2n ** 70n } })), /64 bits/)
    assert.match(await refused(claim(dataset, "X", { defaultPriceScale: 19 })), /scale of 19/)
    assert.match(await refused(claim(dataset, "X", { defaultSizeScale: 0.5 })), /scale of 0.5/)
    assert.match(await refused(claim("A:B", "X")), /colon/)
    assert.match(await refused(claim(dataset, "X", { details: { metadata: { n: 1n } } })), /JSON/)
    assert.match(await refused(claim(dataset, "X", { details: { currency: "\0" } })), /zero byte/)
    assert.match(await refused(claim(dataset, "X", { details: { metadata: { "k\0": 1 } } })), /zero byte/)
    assert.match(
      await refused(claim(dataset, "X", { details: { strike: { mantissa: 1n, exponent: 5000 } } })),
      /1000 places/
    )
  })

  it("many programs at once end with one instrument per symbol and listings without overlaps", async () => {
    const dataset = newDataset()
    const others = await Promise.all(Array.from({ length: 3 }, () => store.connect()))
    const tables = [table, ...others.map((other) => InstrumentTable.make(other.pool))]
    const random = new SeededRandom(11)
    const calls = Array.from({ length: 24 }, (_, call) => {
      const claims = Array.from({ length: 40 }, () => {
        const day = random.below(20)
        const start = at("2026-01-05") + BigInt(day) * UnixNanos.PerDay
        const raw = random.below(10)
        return claim(dataset, `S${raw}`, {
          nativeId: raw,
          valid: { start, end: start + BigInt(1 + random.below(3)) * UnixNanos.PerDay }
        })
      })
      return tables[call % tables.length]!.registerListings(claims)
    })
    const results = await store.run(Effect.all(calls, { concurrency: "unbounded" }))
    const ids = new Map(results.flat().map((each) => [each.symbol, new Set<number>()]))
    for (const each of results.flat()) ids.get(each.symbol)!.add(each.id)
    assert.strictEqual(ids.size, 10)
    for (const [symbol, found] of ids) assert.strictEqual(found.size, 1, symbol)
    const { listings } = await store.run(table.loadInstruments([dataset]))
    const overlaps = await store.sql(
      `SELECT 1 FROM listings a JOIN listings b ON a.dataset_id = b.dataset_id AND a.raw_symbol = b.raw_symbol
       AND a.id < b.id AND a.valid_from <= b.valid_to AND b.valid_from <= a.valid_to
       JOIN datasets d ON d.id = a.dataset_id WHERE d.name = $1`,
      [dataset]
    )
    assert.deepStrictEqual(overlaps, [])
    assert.isAtLeast(listings.length, 10)
  }, 60_000)
})

describe("numbers without names", () => {
  it("show their number, then the name that a definition gives, and their rows are found under it", async () => {
    const dataset = newDataset()
    const [nameless] = await register([claim(dataset, undefined, { nativeId: 5602 })])
    assert.deepStrictEqual([nameless!.symbol, nameless!.rawSymbol], [`${dataset}:#5602`, "#5602"])
    const loaded = await store.run(table.loadInstruments([dataset]))
    assert.deepStrictEqual(SymbolText.resolve(`${dataset}:#5602`, loaded.listings, loaded.instruments), {
      instrument: nameless!.id
    })
    const context = { provider: "databento", dataset, instruments: loaded.directory }
    const batch = BatchArbitrary.trades(new SeededRandom(1), {
      context: { ...context, keyKind: "sequenced", venueOf: () => undefined },
      instruments: [nameless!.id],
      rows: 100,
      start: at("2026-01-05T10:00:00Z")
    })
    await store.run(appendAll(store.writer, [batch]))
    const [named] = await register([claim(dataset, "ESH6", { nativeId: 5602 })])
    assert.deepStrictEqual([named!.id, named!.symbol], [nameless!.id, `${dataset}:ESH6`])
    const after = await store.run(table.loadInstruments([dataset]))
    assert.deepStrictEqual(SymbolText.resolve("ESH6", after.listings, after.instruments), {
      instrument: nameless!.id
    })
    assert.strictEqual(after.directory.get(nameless!.id)?.rawSymbol, "ESH6")
    const read = await store.run(
      Stream.runCollect(
        Reader.make(store.writer.pool).readTrades({
          instruments: [named!.id],
          range: during("2026-01-05", "2026-01-06")
        })
      )
    )
    assert.strictEqual(
      read.reduce((sum, each) => sum + each.length, 0),
      100
    )
    assert.strictEqual(read[0]!.symbolAt(0), `${dataset}:ESH6`)
  })
})

describe("loading", () => {
  it("20,000 instruments with their listings and details, registered in one call", async () => {
    const dataset = newDataset()
    const claims = Array.from({ length: 20_000 }, (_, i) =>
      claim(dataset, `SYM${i}`, {
        nativeId: i,
        details: {
          tickSize: { mantissa: 25n, exponent: -2 },
          currency: "USD",
          metadata: { group: `G${i % 7}` }
        }
      })
    )
    const made = await register(claims)
    const loaded = await store.run(table.loadInstruments([dataset]))
    assert.strictEqual(made.length, 20_000)
    assert.strictEqual(loaded.instruments.size, 20_000)
    assert.strictEqual(loaded.listings.length, 20_000)
    assert.deepStrictEqual(loaded.directory.get(made[12_345]!.id), made[12_345])
    await register(claims.map((each) => ({ ...each, valid: during("2026-01-06", "2026-01-07") })))
    assert.strictEqual((await store.run(table.loadInstruments([dataset]))).listings.length, 20_000)
  }, 90_000)

  it("leaves other datasets out", async () => {
    const [one, two] = [newDataset(), newDataset()]
    await register([claim(one, "A"), claim(two, "B")])
    const { instruments, listings } = await store.run(table.loadInstruments([one]))
    assert.deepStrictEqual(
      [...instruments.values()].map((each) => each.symbol),
      [`${one}:A`]
    )
    assert.strictEqual(listings.length, 1)
    assert.deepStrictEqual((await store.run(table.loadInstruments([]))).listings, [])
  })
})
