import { assert, describe, it } from "@effect/vitest"
import { Coverage, type TimeRange } from "../src/index.ts"
import { SeededRandom } from "./SeededRandom.ts"

// The naive model: a set of times is a row of flags, one per moment of a short span around 1970.
const First = -32
const Moments = 64
type Flags = ReadonlyArray<boolean>

const flags = (test: (moment: number) => boolean): Flags =>
  Array.from({ length: Moments }, (_, i) => test(i + First))

const flagsOf = (ranges: Iterable<TimeRange.TimeRange>): Flags => {
  const list = [...ranges]
  return flags((t) => list.some((r) => Number(r.start) <= t && t < Number(r.end)))
}

const someRanges = (random: SeededRandom, most: number): Array<TimeRange.TimeRange> =>
  Array.from({ length: random.below(most + 1) }, () => {
    const start = First + random.below(Moments)
    // Every fifth one is empty or turned round.
    const end = random.chance(0.2)
      ? start - random.below(3)
      : Math.min(First + Moments, start + 1 + random.below(12))
    return { start: BigInt(start), end: BigInt(end) }
  })

const isCanonical = (set: Coverage.RangeSet): boolean =>
  set.every((r, i) => r.start < r.end && (i === 0 || set[i - 1]!.end < r.start))

const both = (a: Flags, b: Flags, op: (x: boolean, y: boolean) => boolean): Flags =>
  a.map((x, i) => op(x, b[i]!))

describe("range sets", () => {
  it("hold the same moments as the naive model, in canonical form", () => {
    const random = new SeededRandom(21)
    for (let n = 0; n < 3_000; n++) {
      const [left, right] = [someRanges(random, 8), someRanges(random, 8)]
      const [a, b] = [Coverage.ranges(left), Coverage.ranges(right)]
      const [x, y] = [flagsOf(left), flagsOf(right)]
      const results: ReadonlyArray<readonly [string, Coverage.RangeSet, Flags]> = [
        ["ranges", a, x],
        ["union", Coverage.union(a, b), both(x, y, (p, q) => p || q)],
        ["intersect", Coverage.intersect(a, b), both(x, y, (p, q) => p && q)],
        ["subtract", Coverage.subtract(a, b), both(x, y, (p, q) => p && !q)]
      ]
      for (const [name, set, expected] of results) {
        assert.isTrue(isCanonical(set), `${name} of case ${n} is not canonical`)
        assert.deepStrictEqual(flagsOf(set), expected, `${name} of case ${n}`)
        assert.strictEqual(Coverage.duration(set), BigInt(expected.filter(Boolean).length))
      }
    }
  })

  it("cover a range exactly when every moment of it is in", () => {
    const random = new SeededRandom(22)
    let covered = 0
    for (let n = 0; n < 3_000; n++) {
      const set = Coverage.ranges(someRanges(random, 12))
      const [range] = [...someRanges(random, 3), { start: 0n, end: 0n }]
      const expected = flagsOf([range!]).every((inside, i) => !inside || flagsOf(set)[i])
      assert.strictEqual(Coverage.covers(set, range!), expected)
      if (expected && range!.start < range!.end) covered += 1
    }
    assert.isAbove(covered, 50)
  })

  it("merge ranges that touch, and keep those apart that do not", () => {
    const r = (start: bigint, end: bigint) => ({ start, end })
    assert.deepStrictEqual(Coverage.ranges([r(5n, 7n), r(1n, 3n), r(3n, 5n)]), [r(1n, 7n)])
    assert.deepStrictEqual(Coverage.ranges([r(1n, 3n), r(4n, 5n)]), [r(1n, 3n), r(4n, 5n)])
    assert.deepStrictEqual(Coverage.ranges([r(1n, 9n), r(2n, 3n)]), [r(1n, 9n)])
    assert.deepStrictEqual(Coverage.subtract([r(0n, 10n)], [r(3n, 4n), r(6n, 20n)]), [r(0n, 3n), r(4n, 6n)])
  })

  it("do not change their inputs", () => {
    const a = Object.freeze([{ start: 0n, end: 5n }])
    const b = Object.freeze([{ start: 2n, end: 9n }])
    Coverage.union(a, b)
    Coverage.intersect(a, b)
    Coverage.subtract(a, b)
    Coverage.ranges(b)
    assert.deepStrictEqual(
      [a[0], b[0]],
      [
        { start: 0n, end: 5n },
        { start: 2n, end: 9n }
      ]
    )
  })
})

describe("states", () => {
  it("resolve by precedence: held, expired, none, missing, then unknown", () => {
    assert.deepStrictEqual(Coverage.states, ["held", "expired", "none", "missing"])
    const random = new SeededRandom(23)
    for (let n = 0; n < 1_500; n++) {
      const spans: Array<Coverage.CoverageSpan> = someRanges(random, 10).map((range) => ({
        instrument: 1,
        schema: "trades",
        state: random.pick(Coverage.states),
        range,
        expiresAt: random.pick([undefined, 90n, 99n, 100n, 101n, 500n])
      }))
      const now = 100n
      // The rule written out: of all states only "none" is a finding that is to be checked again.
      const saidNow = (span: Coverage.CoverageSpan): Coverage.CoverageState => {
        if (span.state !== "none" || span.expiresAt === undefined) return span.state
        return now < span.expiresAt ? "none" : "missing"
      }
      const within = {
        start: BigInt(First + random.below(20)),
        end: BigInt(First + Moments - random.below(20))
      }
      const resolved = Coverage.resolve(spans, within, now)
      for (const state of [...Coverage.states, "unknown"] as const) {
        const expected = flags((t) => {
          if (t < Number(within.start) || t >= Number(within.end)) return false
          const at = Coverage.states.find((s) =>
            spans.some(
              (span) => saidNow(span) === s && Number(span.range.start) <= t && t < Number(span.range.end)
            )
          )
          return (at ?? "unknown") === state
        })
        assert.deepStrictEqual(flagsOf(resolved[state]), expected, `${state} of case ${n}`)
        assert.isTrue(isCanonical(resolved[state]))
      }
    }
  })

  it("a check that has expired hides a missing range no more, and is hidden by nothing less than before", () => {
    const span = (state: Coverage.CoverageState, start: bigint, end: bigint, expiresAt?: bigint) =>
      ({ instrument: 1, schema: "trades", state, range: { start, end }, expiresAt }) as const
    const spans = [span("none", 0n, 10n, 100n), span("held", 2n, 4n), span("expired", 6n, 7n, 1n)]
    const within = { start: 0n, end: 12n }
    const states = { held: [{ start: 2n, end: 4n }], expired: [{ start: 6n, end: 7n }] }
    const rest = [
      { start: 0n, end: 2n },
      { start: 4n, end: 6n },
      { start: 7n, end: 10n }
    ]
    const unknown = [{ start: 10n, end: 12n }]
    assert.deepStrictEqual(Coverage.resolve(spans, within, 99n), {
      ...states,
      none: rest,
      missing: [],
      unknown
    })
    assert.deepStrictEqual(Coverage.resolve(spans, within, 100n), {
      ...states,
      none: [],
      missing: rest,
      unknown
    })
  })

  it("resolve to nothing within an empty range", () => {
    const span = { instrument: 1, schema: "trades", state: "held", range: { start: 0n, end: 9n } } as const
    assert.deepStrictEqual(Coverage.resolve([span], { start: 4n, end: 4n }, 0n), {
      held: [],
      expired: [],
      none: [],
      missing: [],
      unknown: []
    })
  })
})
