import { assert, describe, it } from "vitest"
import { BackfillPlan, Coverage, TimeRange, UnixNanos } from "../src/index.ts"
import { SeededRandom } from "./SeededRandom.ts"

const Day = UnixNanos.PerDay
const base = 20_000n * Day

const input = (change: Partial<BackfillPlan.PlanInput> = {}): BackfillPlan.PlanInput => ({
  request: {
    dataset: "TEST",
    symbols: ["A", "B"],
    stypeIn: "raw_symbol",
    schema: "trades",
    range: { start: base, end: base + 10n * Day }
  },
  available: { start: 0n, end: base + 1_000n * Day },
  meant: new Map([
    ["A", [{ instrument: 1, valid: { start: 0n, end: base + 1_000n * Day } }]],
    ["B", [{ instrument: 2, valid: { start: 0n, end: base + 1_000n * Day } }]]
  ]),
  spans: [],
  chunkDays: 7,
  maxSymbols: 0,
  now: base,
  ...change
})

const span = (
  state: Coverage.CoverageState,
  instrument: number,
  from: bigint,
  to: bigint,
  rest: Partial<Coverage.CoverageSpan> = {}
): Coverage.CoverageSpan => ({
  instrument,
  schema: "trades",
  state,
  range: { start: base + from * Day, end: base + to * Day },
  ...rest
})

const days = (plan: BackfillPlan.BackfillPlan) =>
  plan.chunks.map(({ symbols, range }) => [
    symbols.join(","),
    Number((range.start - base) / Day),
    Number((range.end - base) / Day)
  ])

describe("a plan", () => {
  it("asks for what is not held, symbols with the same hole together, in pieces that meet at the same midnights", () => {
    // Multiples of seven days since the epoch: 19,999 = 7 x 2857, so day 6 of the range is one.
    assert.deepStrictEqual(days(BackfillPlan.plan(input())), [
      ["A,B", 0, 6],
      ["A,B", 6, 10]
    ])
    const held = BackfillPlan.plan(input({ spans: [span("held", 1, 0n, 8n), span("held", 2, 2n, 3n)] }))
    assert.deepStrictEqual(days(held), [
      ["B", 0, 2],
      ["B", 3, 6],
      ["B", 6, 10],
      ["A", 8, 10]
    ])
    assert.strictEqual(held.skipped.held, 9n * Day)
  })

  it("keeps to what exists, and says what does not", () => {
    const plan = BackfillPlan.plan(input({ available: { start: base + 2n * Day, end: base + 4n * Day } }))
    assert.deepStrictEqual(days(plan), [["A,B", 2, 4]])
    assert.deepStrictEqual(plan.outside, [
      { start: base, end: base + 2n * Day },
      { start: base + 4n * Day, end: base + 10n * Day }
    ])
    const nothing = BackfillPlan.plan(input({ available: { start: 0n, end: 1n } }))
    assert.deepStrictEqual(nothing.chunks, [])
    assert.deepStrictEqual(nothing.outside, [{ start: base, end: base + 10n * Day }])
  })

  it("leaves alone what retention removed and what the provider has not, unless asked or expired", () => {
    const spans = [
      span("expired", 1, 0n, 10n),
      span("none", 2, 0n, 5n, { expiresAt: base + 1n }),
      span("none", 2, 5n, 10n, { expiresAt: base - 1n })
    ]
    const plan = BackfillPlan.plan(input({ spans }))
    assert.deepStrictEqual(days(plan), [
      ["B", 5, 6],
      ["B", 6, 10]
    ])
    assert.deepStrictEqual(plan.complete, ["A"])
    assert.deepStrictEqual(plan.skipped, { held: 0n, expired: 10n * Day, none: 5n * Day })
    const all = input({ spans })
    const again = BackfillPlan.plan({
      ...all,
      request: { ...all.request, includeExpired: true, again: true }
    })
    assert.strictEqual(again.complete.length, 0)
  })

  it("takes a symbol for held only while a listing says what it means", () => {
    const meant = new Map([["A", [{ instrument: 1, valid: { start: 0n, end: base + 3n * Day } }]]])
    const plan = BackfillPlan.plan(input({ meant, spans: [span("held", 1, 0n, 10n)] }))
    assert.deepStrictEqual(days(plan), [
      ["B", 0, 6],
      ["A", 3, 6],
      ["A", 6, 10],
      ["B", 6, 10]
    ])
  })

  it("never asks twice for a moment, misses none, and keeps to both limits", () => {
    const random = new SeededRandom(77)
    for (let round = 0; round < 300; round++) {
      const symbols = Array.from({ length: random.between(1, 12) }, (_, i) => `S${i}`)
      const start = base + BigInt(random.below(100)) * (Day / 10n)
      const range = { start, end: start + BigInt(random.between(1, 300)) * (Day / 10n) }
      const available = {
        start: range.start - Day + BigInt(random.below(60)) * (Day / 10n),
        end: range.end - Day + BigInt(random.below(40)) * (Day / 10n)
      }
      const states: ReadonlyArray<Coverage.CoverageState> = ["held", "held", "expired", "none", "missing"]
      const spans = Array.from({ length: random.below(40) }, () => {
        const from = range.start + BigInt(random.below(300)) * (Day / 10n)
        return {
          instrument: random.below(symbols.length),
          schema: random.chance(0.9) ? ("trades" as const) : ("mbp-1" as const),
          state: random.pick(states),
          range: { start: from, end: from + BigInt(random.between(1, 30)) * (Day / 10n) },
          expiresAt: random.pick([undefined, base - 1n, base + 1n])
        }
      })
      const meant = new Map(
        symbols.map((symbol, instrument) => [
          symbol,
          random.chance(0.9) ? [{ instrument, valid: { start: 0n, end: UnixNanos.Max } }] : []
        ])
      )
      const [chunkDays, maxSymbols] = [random.between(1, 9), random.below(5)]
      const request = { ...input().request, symbols, range }
      const plan = BackfillPlan.plan({ request, available, meant, spans, chunkDays, maxSymbols, now: base })
      const wanted = TimeRange.intersect(range, available)
      for (const symbol of symbols) {
        const asked = plan.chunks
          .filter((chunk) => chunk.symbols.includes(symbol))
          .map((chunk) => chunk.range)
        const settled = spans
          .filter(
            (one) =>
              meant.get(symbol)!.some(({ instrument }) => instrument === one.instrument) &&
              one.schema === "trades" &&
              one.state !== "missing" &&
              !(one.state === "none" && one.expiresAt !== undefined && one.expiresAt <= base)
          )
          .map((one) => one.range)
        const expected = Coverage.subtract(wanted === undefined ? [] : [wanted], Coverage.ranges(settled))
        assert.deepStrictEqual(Coverage.ranges(asked), expected, `round ${round}, ${symbol}`)
        assert.strictEqual(
          asked.reduce((sum, one) => sum + one.end - one.start, 0n),
          Coverage.duration(expected)
        )
        assert.strictEqual(plan.complete.includes(symbol), expected.length === 0 && wanted !== undefined)
      }
      for (const { symbols: list, range: one, index } of plan.chunks) {
        assert.isTrue(maxSymbols === 0 || list.length <= maxSymbols)
        assert.isTrue(one.end - one.start <= BigInt(chunkDays) * Day)
        assert.strictEqual(plan.chunks[index]!.range, one)
      }
    }
  })
})
