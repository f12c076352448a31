/** Cards S-810 to S-890: instruments, listings, and the symbol registry as stored. */
import {
  Decimal,
  type Instrument,
  type InstrumentTables,
  type ListingClaim,
  type SymbolEntry,
  SymbolText,
  type TimeRange
} from "@data-manager/core"
import { Effect } from "effect"
import { assert } from "vitest"
import { at, card, during, listing, type StoreCard, StoreFixture, theStore } from "./StoreCard.ts"

const resolve = (tables: InstrumentTables, text: string, range?: TimeRange.TimeRange) =>
  SymbolText.resolve(text, tables.listings, tables.instruments, range)

const ids = (instruments: ReadonlyArray<Instrument>): ReadonlyArray<number> =>
  instruments.map((instrument) => instrument.id)

/** No two listings of one text overlap, and none is empty. */
const assertDisjoint = (tables: InstrumentTables): void => {
  const sorted = [...tables.listings].sort(
    (a, b) => a.rawSymbol.localeCompare(b.rawSymbol) || (a.valid.start < b.valid.start ? -1 : 1)
  )
  for (const [i, one] of sorted.entries()) {
    assert.isTrue(one.valid.start < one.valid.end, `${one.rawSymbol} is listed for no time`)
    const next = sorted[i + 1]
    if (next !== undefined && next.rawSymbol === one.rawSymbol && next.dataset === one.dataset)
      assert.isTrue(one.valid.end <= next.valid.start, `two listings of ${one.rawSymbol} overlap`)
  }
}

/**
 * Prerequisite: none.
 * Action: register three listings, twice, the second time in another order; then all at once from two programs.
 * Pass: the same instruments, in the order of the claims; dataset, symbol and raw symbol are those of the claim.
 */
const idempotent = card("S-810", "registering listings again finds the same instruments", function* () {
  const { first, second } = yield* StoreFixture
  const claims = ["AAA", "BBB C", "D:E"].map((name) => listing("S.REGISTER", name))
  const once = yield* first.registerListings(claims)
  assert.deepStrictEqual(
    once.map((i) => [i.provider, i.dataset, i.rawSymbol, i.symbol]),
    ["AAA", "BBB C", "D:E"].map((name) => ["conformance", "S.REGISTER", name, `S.REGISTER:${name}`])
  )
  assert.strictEqual(new Set(ids(once)).size, 3)
  const again = yield* second.registerListings([...claims].reverse())
  assert.deepStrictEqual(ids(again), [...ids(once)].reverse())
  const many = Array.from({ length: 40 }, (_, i) => listing("S.REGISTER", `N${i}`))
  const both = yield* Effect.all(
    [first, second, first, second].map((store, i) =>
      Effect.retry(store.registerListings(i % 2 === 0 ? many : [...many].reverse()), {
        times: 20,
        while: (error) => error.isRetryable
      })
    ),
    { concurrency: "unbounded" }
  )
  for (const [i, found] of both.entries())
    assert.deepStrictEqual(ids(i % 2 === 0 ? found : [...found].reverse()), ids(both[0]!))
  const tables = yield* second.loadInstruments(["S.REGISTER"])
  assert.strictEqual(tables.instruments.size, 43)
  assertDisjoint(tables)
  for (const instrument of once) {
    assert.deepStrictEqual(tables.instruments.get(instrument.id), instrument)
    assert.deepStrictEqual(tables.directory.get(instrument.id), instrument)
    assert.deepStrictEqual(resolve(tables, instrument.symbol), { instrument: instrument.id })
  }
})

/**
 * Prerequisite: none.
 * Action: register listings with ticks of 0.25, 0.03125 and 5 and lots of 1 and 0.001, and one without; then tell the
 * last one a tick.
 * Pass: scales are the decimal places of tick and lot, else the provider's default; once fixed they stay.
 */
const scales = card("S-820", "scales come from tick and lot and stay", function* () {
  const store = yield* theStore
  const claim = (name: string, tick?: string, lot?: string): ListingClaim =>
    listing("S.SCALES", name, {
      defaultPriceScale: 9,
      defaultSizeScale: 3,
      details: {
        tickSize: tick === undefined ? undefined : Decimal.parse(tick),
        lotSize: lot === undefined ? undefined : Decimal.parse(lot)
      }
    })
  const claims = [
    claim("A", "0.250000000", "1"),
    claim("B", "0.03125", "0.001"),
    claim("C", "5", "1e2"),
    claim("D")
  ]
  const shown = (instruments: ReadonlyArray<Instrument>) =>
    instruments.map((i) => `${i.rawSymbol} ${i.priceScale}/${i.sizeScale}`)
  const expected = ["A 2/0", "B 5/3", "C 0/0", "D 9/3"]
  assert.deepStrictEqual(shown(yield* store.registerListings(claims)), expected)
  const later = [claim("A", "0.5", "10"), claim("B"), claim("C", "0.01", "1"), claim("D", "0.25", "1")]
  assert.deepStrictEqual(shown(yield* store.registerListings(later)), expected)
})

/**
 * Prerequisite: none.
 * Action: register a text for a month, then for the month after and for a month half a year later; then for a month two
 * years later. Register another text with an expiration and, two months later, with another expiration.
 * Pass: within a year it is one instrument whose listing grows; after more than a year, and with another expiration, it
 * is another instrument. A time tells which is meant; a range over both names both.
 */
const reuse = card("S-830", "a text that comes back names another instrument", function* () {
  const store = yield* theStore
  const register = (name: string, valid: TimeRange.TimeRange, expiration?: bigint) =>
    Effect.map(
      store.registerListings([listing("S.REUSE", name, { valid, details: { expiration } })]),
      ([instrument]) => instrument!.id
    )
  const may = during("2016-05-01", "2016-06-01")
  const june = during("2016-06-01", "2016-07-01")
  const first = yield* register("ESM6", may)
  assert.strictEqual(yield* register("ESM6", june), first, "the month after")
  assert.strictEqual(yield* register("ESM6", during("2016-12-01", "2017-01-01")), first, "half a year later")
  const decade = during("2019-05-01", "2019-06-01")
  const second = yield* register("ESM6", decade)
  assert.notStrictEqual(second, first, "more than a year later")
  assert.strictEqual(yield* register("ESM6", may), first, "the old one is found at its time")
  assert.strictEqual(yield* register("ESM6", decade), second, "and the new one at its")

  const march = during("2024-03-01", "2024-03-15")
  const old = yield* register("OPT", march, at("2024-03-15"))
  const next = yield* register("OPT", june, at("2016-06-17"))
  assert.notStrictEqual(next, old, "another expiration")
  const soon = yield* register("OPT", during("2024-05-01", "2024-05-17"), at("2024-05-17"))
  assert.isFalse([old, next].includes(soon), "another expiration two months later")
  assert.strictEqual(yield* register("OPT", march, at("2024-03-15")), old)

  const tables = yield* store.loadInstruments(["S.REUSE"])
  assertDisjoint(tables)
  assert.deepStrictEqual(resolve(tables, "S.REUSE:ESM6", may), { instrument: first })
  assert.deepStrictEqual(resolve(tables, "S.REUSE:ESM6", june), { instrument: first })
  assert.deepStrictEqual(resolve(tables, "S.REUSE:ESM6", decade), { instrument: second })
  const both = resolve(tables, "S.REUSE:ESM6", during("2016-05-01", "2019-06-01"))
  assert.strictEqual((both as SymbolText.SymbolProblem)._tag, "SeveralListings")
})

/**
 * Prerequisite: none.
 * Action: register the number 4711 without a text for a day; then a definition that names it during that day; then the
 * number alone and the text alone again.
 * Pass: it is one instrument all the time, and has its name from the definition on.
 */
const nameless = card("S-840", "a number without a text is named by a later definition", function* () {
  const store = yield* theStore
  const day = during("2024-09-10", "2024-09-11")
  const register = (rawSymbol: string | undefined, nativeId: number | undefined) =>
    Effect.map(
      store.registerListings([listing("S.NAMELESS", rawSymbol, { valid: day, nativeId })]),
      ([instrument]) => instrument!
    )
  const unnamed = yield* register(undefined, 4711)
  const named = yield* register("ESZ4", 4711)
  assert.deepStrictEqual([named.id, named.rawSymbol, named.symbol], [unnamed.id, "ESZ4", "S.NAMELESS:ESZ4"])
  assert.strictEqual((yield* register(undefined, 4711)).id, unnamed.id)
  assert.strictEqual((yield* register("ESZ4", undefined)).id, unnamed.id)
  assert.notStrictEqual((yield* register(undefined, 4712)).id, unnamed.id)
  const tables = yield* store.loadInstruments(["S.NAMELESS"])
  assert.deepStrictEqual(resolve(tables, "ESZ4", day), { instrument: unnamed.id })
  assert.strictEqual(tables.instruments.get(unnamed.id)?.rawSymbol, "ESZ4")
})

/**
 * Prerequisite: none.
 * Action: register one text in two datasets.
 * Pass: two instruments; the short form is ambiguous and names both, each full form is not; loading one dataset gives
 * its instruments alone.
 */
const ambiguous = card("S-850", "one text in two datasets is two instruments", function* () {
  const store = yield* theStore
  const [one, other] = yield* store.registerListings([
    listing("S.DATASET1", "TWIN"),
    listing("S.DATASET2", "TWIN")
  ])
  assert.notStrictEqual(one!.id, other!.id)
  const tables = yield* store.loadInstruments()
  assert.deepStrictEqual(resolve(tables, "TWIN"), {
    _tag: "Ambiguous",
    text: "TWIN",
    candidates: ["S.DATASET1:TWIN", "S.DATASET2:TWIN"]
  })
  assert.deepStrictEqual(resolve(tables, "S.DATASET2:TWIN"), { instrument: other!.id })
  const alone = yield* store.loadInstruments(["S.DATASET1"])
  assert.deepStrictEqual([...alone.instruments.keys()], [one!.id])
  assert.deepStrictEqual(
    alone.listings.map((each) => each.dataset),
    ["S.DATASET1"]
  )
})

/**
 * Prerequisite: none.
 * Action: register a text whose number changes from day to day, and a number that passes from one text to another.
 * Pass: a text stays one instrument under its numbers; a number means another instrument after it was passed on. Each
 * listing tells the number of its time.
 */
const numbers = card("S-860", "numbers change hands from day to day", function* () {
  const store = yield* theStore
  const days = [10, 11, 12].map((day) => during(`2024-09-${day}`, `2024-09-${day + 1}`))
  const claim = (name: string, nativeId: number, day: number) =>
    listing("S.NUMBERS", name, { valid: days[day]!, nativeId })
  const found = yield* store.registerListings([
    claim("AAA", 1, 0),
    claim("BBB", 2, 0),
    claim("AAA", 2, 1),
    claim("BBB", 3, 1),
    claim("AAA", 2, 2)
  ])
  assert.deepStrictEqual(
    ids(found),
    [0, 1, 0, 1, 0].map((i) => found[i]!.id)
  )
  assert.notStrictEqual(found[0]!.id, found[1]!.id)
  const tables = yield* store.loadInstruments(["S.NUMBERS"])
  assertDisjoint(tables)
  const numberOf = (name: string, day: number) =>
    tables.listings
      .filter(
        (each) =>
          each.rawSymbol === name && each.valid.start <= days[day]!.start && each.valid.end >= days[day]!.end
      )
      .map((each) => each.nativeId)
  assert.deepStrictEqual(
    [0, 1, 2].map((day) => numberOf("AAA", day)),
    [[1], [2], [2]]
  )
  assert.deepStrictEqual(
    [0, 1].map((day) => numberOf("BBB", day)),
    [[2], [3]]
  )
})

/**
 * Prerequisite: none.
 * Action: register a listing without details, then with them, then with other details of one field.
 * Pass: details come back exactly - decimals, times, metadata -; what a later claim does not tell stays.
 */
const details = card("S-870", "details are filled in and come back exactly", function* () {
  const store = yield* theStore
  const register = (more: ListingClaim["details"]) =>
    Effect.map(store.registerListings([listing("S.DETAILS", "ESZ4", { details: more })]), ([i]) => i!)
  const { id } = yield* register(undefined)
  const told = {
    assetClass: "future",
    exchange: "XCME",
    currency: "USD",
    base: "ES",
    underlying: "SPX",
    tickSize: { mantissa: 25n, exponent: -2 },
    lotSize: { mantissa: 1n, exponent: 0 },
    multiplier: { mantissa: 50n, exponent: 0 },
    strike: { mantissa: 9223372036854775806n, exponent: -9 },
    activation: at("2019-12-20T14:30:00Z"),
    expiration: at("2024-12-20T14:30:00Z"),
    metadata: { group: "ES", nested: { list: [1, "two", null], flag: true }, text: "ü 'quote' \\ \"" }
  } as const
  const found = yield* register(told)
  assert.deepStrictEqual([found.id, found.assetClass, found.exchange], [id, "future", "XCME"])
  yield* register({ currency: "EUR" })
  const read = (yield* store.instrumentDetails(id)) ?? {}
  const numeric = (value: Decimal.Decimal | undefined) =>
    value === undefined ? "-" : Decimal.format(Decimal.normalize(value))
  for (const name of ["tickSize", "lotSize", "multiplier", "strike"] as const)
    assert.strictEqual(numeric(read[name]), numeric(told[name]), name)
  for (const name of ["assetClass", "exchange", "base", "underlying", "activation", "expiration"] as const)
    assert.strictEqual(read[name], told[name], name)
  assert.strictEqual(read.currency, "EUR")
  assert.deepStrictEqual(read.metadata, told.metadata)
  assert.isUndefined(yield* store.instrumentDetails(2_000_000_000))
})

/** Entries without fields that are undefined, in the order of their symbols. */
const shown = (entries: ReadonlyArray<SymbolEntry>): ReadonlyArray<unknown> =>
  entries
    .filter((entry) => entry.dataset === "S.ENTRIES")
    .map((entry) => Object.fromEntries(Object.entries(entry).filter(([, value]) => value !== undefined)))
    .sort((a, b) => String(a.symbol).localeCompare(String(b.symbol)))

/**
 * Prerequisite: none.
 * Action: put symbol entries with and without every optional field; put one again, disabled; put a tombstone.
 * Pass: all come back as they are, tombstones included; what was put last counts; the others are untouched.
 */
const entries = card("S-880", "symbol entries and tombstones come back", function* () {
  const store = yield* theStore
  const plain: SymbolEntry = {
    symbol: "S.ENTRIES:AAA",
    provider: "conformance",
    dataset: "S.ENTRIES",
    stypeIn: "raw_symbol",
    schemas: [],
    enabled: true,
    source: "discovery",
    discoveredAt: at("2024-09-01T00:00:00.000001Z")
  }
  const full: SymbolEntry = {
    ...plain,
    symbol: "S.ENTRIES:ES.FUT",
    stypeIn: "parent",
    schemas: ["trades", "mbp-1", "ohlcv-1m"],
    source: "config",
    assetClass: "future",
    exchange: "XCME",
    metadata: { note: "front months", levels: [1, 2] }
  }
  yield* store.putSymbolEntries([plain, full])
  const entries = yield* store.symbolEntries
  assert.deepStrictEqual(shown(entries), shown([plain, full]))
  assert.strictEqual(yield* store.symbolEntries, entries, "nothing was written: the same array")
  const disabled: SymbolEntry = { ...plain, enabled: false, source: "database", schemas: ["trades"] }
  const removed: SymbolEntry = { ...full, enabled: false, removedAt: at("2024-09-02T10:00:00Z") }
  yield* store.putSymbolEntries([disabled])
  assert.deepStrictEqual(shown(yield* store.symbolEntries), shown([disabled, full]))
  yield* store.putSymbolEntries([removed])
  assert.deepStrictEqual(shown(yield* store.symbolEntries), shown([disabled, removed]))
  yield* store.putSymbolEntries([full])
  assert.deepStrictEqual(
    shown(yield* store.symbolEntries),
    shown([disabled, full]),
    "a symbol that is added again"
  )
  yield* store.putSymbolEntries([])
})

/** Cards S-810 to S-890. */
export const cards: ReadonlyArray<StoreCard> = [
  idempotent,
  scales,
  reuse,
  nameless,
  ambiguous,
  numbers,
  details,
  entries
]
