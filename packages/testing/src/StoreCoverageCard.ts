/** Cards S-510 to S-545: what is held is data, too. */
import { Coverage, type MarketStore, type TimeRange } from "@data-manager/core"
import { Effect } from "effect"
import { assert } from "vitest"
import { at, card, during, market, type StoreCard, theStore } from "./StoreCard.ts"

const day = (from: number, to: number): TimeRange.TimeRange => ({
  start: at("2024-07-01") + BigInt(from) * 86_400_000_000_000n,
  end: at("2024-07-01") + BigInt(to) * 86_400_000_000_000n
})
const month = during("2024-07-01", "2024-08-01")

/** The ranges of each state of one instrument's trades within July, as they are on the first of August. */
const states = (store: MarketStore["Service"], instrument: number, now = month.end) =>
  Effect.map(store.coverage({ instruments: [instrument], schema: "trades", range: month }), (spans) =>
    Coverage.resolve(spans, month, now)
  )

const span = (
  instrument: number,
  state: Coverage.CoverageState,
  range: TimeRange.TimeRange,
  more: Partial<Coverage.CoverageSpan> = {}
): Coverage.CoverageSpan => ({ instrument, schema: "trades", state, range, ...more })

/**
 * Prerequisite: one instrument.
 * Action: claim days 1-3, 5-6, 3-5 and 2-4 without rows, in this order; then a range whose ends lie inside microseconds.
 * Pass: one held range 1-6; the other range is held in whole microseconds, rounded inward; a claim of less than a
 * microsecond holds nothing.
 */
const claims = card("S-510", "claims merge, in whole microseconds rounded inward", function* () {
  const store = yield* theStore
  const { ids } = yield* market(store, "S.CLAIMS")
  const claim = (range: TimeRange.TimeRange) =>
    store.claimCoverage([{ instrument: ids[0]!, schema: "trades", range }])
  for (const range of [day(1, 3), day(5, 6), day(3, 5), day(2, 4)]) yield* claim(range)
  assert.deepStrictEqual((yield* states(store, ids[0]!)).held, [day(1, 6)])
  const start = at("2024-07-20T00:00:00Z")
  yield* claim({ start: start + 1n, end: start + 5_999n })
  yield* claim({ start: start + 10_001n, end: start + 10_999n })
  assert.deepStrictEqual((yield* states(store, ids[0]!)).held, [
    day(1, 6),
    { start: start + 1_000n, end: start + 5_000n }
  ])
})

/**
 * Prerequisite: one instrument.
 * Action: mark days as missing with a cause and as none with the times of asking; then claim some of them as held.
 * Pass: spans come back with cause, checkedAt and expiresAt; where held and another state meet, held wins. From
 * expiresAt on, what was none is missing.
 */
const marks = card("S-520", "states come back with their cause; held wins", function* () {
  const store = yield* theStore
  const { ids } = yield* market(store, "S.MARKS")
  const instrument = ids[0]!
  const checkedAt = at("2024-07-31T10:00:00.000001Z")
  const expiresAt = at("2024-08-31T10:00:00Z")
  yield* store.markCoverage([
    span(instrument, "missing", day(0, 4), { cause: "disconnect" }),
    span(instrument, "none", day(6, 8), { checkedAt, expiresAt })
  ])
  const spans = yield* store.coverage({ instruments: ids, range: month })
  const shown = spans.map((each) => [each.state, each.range, each.cause, each.checkedAt, each.expiresAt])
  assert.deepStrictEqual(
    shown.sort((a, b) => String(a[0]).localeCompare(String(b[0]))),
    [
      ["missing", day(0, 4), "disconnect", undefined, undefined],
      ["none", day(6, 8), undefined, checkedAt, expiresAt]
    ]
  )
  yield* store.claimCoverage([{ instrument, schema: "trades", range: day(2, 7) }])
  const resolved = yield* states(store, instrument)
  assert.deepStrictEqual(
    [resolved.held, resolved.missing, resolved.none, resolved.expired],
    [[day(2, 7)], [day(0, 2)], [day(7, 8)], []]
  )
  assert.deepStrictEqual(resolved.unknown, [day(8, 31)])
  const later = yield* states(store, instrument, expiresAt)
  assert.deepStrictEqual([later.missing, later.none], [[day(0, 2), day(7, 8)], []])
})

/**
 * Prerequisite: days 0-10 are held.
 * Action: mark days 0-4 as expired; claim days 1-2 again.
 * Pass: expired time is no longer held; what is claimed again is held again.
 */
const expired = card("S-530", "expired time is no longer held until it is claimed again", function* () {
  const store = yield* theStore
  const { ids } = yield* market(store, "S.EXPIRED")
  const instrument = ids[0]!
  yield* store.claimCoverage([{ instrument, schema: "trades", range: day(0, 10) }])
  yield* store.markCoverage([span(instrument, "expired", day(0, 4))])
  const after = yield* states(store, instrument)
  assert.deepStrictEqual([after.held, after.expired], [[day(4, 10)], [day(0, 4)]])
  yield* store.claimCoverage([{ instrument, schema: "trades", range: day(1, 2) }])
  const again = yield* states(store, instrument)
  assert.deepStrictEqual(
    [again.held, again.expired],
    [
      [day(1, 2), day(4, 10)],
      [day(0, 1), day(2, 4)]
    ]
  )
})

/**
 * Prerequisite: two instruments with coverage in two schemas and several states.
 * Action: ask by instrument, schema, range and state.
 * Pass: each answer holds exactly the spans that were asked for; asking for nothing in particular holds all of them.
 */
const filters = card("S-540", "coverage is found by instrument, schema, range and state", function* () {
  const store = yield* theStore
  const { ids } = yield* market(store, "S.FILTERS", { symbols: 2 })
  const [one, two] = [ids[0]!, ids[1]!]
  yield* store.claimCoverage([
    { instrument: one, schema: "trades", range: day(0, 2) },
    { instrument: one, schema: "trades", range: day(10, 12) },
    { instrument: one, schema: "mbp-1", range: day(0, 5) },
    { instrument: two, schema: "trades", range: day(0, 7) }
  ])
  yield* store.markCoverage([span(two, "missing", day(8, 9), { cause: "drop" })])
  const ask = (request: Parameters<typeof store.coverage>[0]) =>
    Effect.map(store.coverage(request), (spans) =>
      spans
        .filter((each) => ids.includes(each.instrument))
        .map((each) => {
          const [from, to] = [each.range.start, each.range.end].map(
            (time) => (time - day(0, 1).start) / 86_400_000_000_000n
          )
          return `${each.instrument === one ? "one" : "two"} ${each.schema} ${each.state} ${from}-${to}`
        })
        .sort()
    )
  const all = [
    "one mbp-1 held 0-5",
    "one trades held 0-2",
    "one trades held 10-12",
    "two trades held 0-7",
    "two trades missing 8-9"
  ]
  assert.deepStrictEqual(yield* ask({}), all)
  assert.deepStrictEqual(yield* ask({ instruments: ids }), all)
  assert.deepStrictEqual(yield* ask({ instruments: [one] }), all.slice(0, 3))
  assert.deepStrictEqual(yield* ask({ instruments: ids, schema: "mbp-1" }), all.slice(0, 1))
  assert.deepStrictEqual(yield* ask({ instruments: ids, states: ["missing"] }), all.slice(4))
  assert.deepStrictEqual(
    yield* ask({ instruments: ids, states: ["held"], schema: "trades" }),
    all.slice(1, 4)
  )
  assert.deepStrictEqual(yield* ask({ instruments: [two], range: day(8, 20) }), all.slice(4))
  assert.deepStrictEqual(yield* ask({ instruments: ids, range: day(20, 25) }), [])
  // Half-open on both sides: a span that ends where the question starts is not in the answer.
  assert.deepStrictEqual(yield* ask({ instruments: [two], range: day(7, 8) }), [])
})

/** Cards S-510 to S-545. */
export const cards: ReadonlyArray<StoreCard> = [claims, marks, expired, filters]
