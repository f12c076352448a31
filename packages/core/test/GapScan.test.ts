/** Holes as they are found in spans, against a model that asks of every microsecond. */
import { assert, describe, it } from "@effect/vitest"
import * as Coverage from "../src/Coverage.ts"
import { isSettled, keyOf, merge, scan, Unexplained } from "../src/GapScan.ts"
import type { Instrument } from "../src/Instrument.ts"
import { SeededRandom } from "./SeededRandom.ts"

const Micro = 1000n
const Length = 40

const instrument = (id: number): Instrument => ({
  id,
  provider: "test",
  dataset: "TEST",
  rawSymbol: `S${id}`,
  symbol: `TEST:S${id}`,
  priceScale: 2,
  sizeScale: 0,
  assetClass: "unknown"
})
const instruments = new Map([1, 2, 3].map((id) => [id, instrument(id)]))
const within = { start: 0n, end: BigInt(Length) * Micro }
const now = 1_000_000n

const randomSpans = (random: SeededRandom): ReadonlyArray<Coverage.CoverageSpan> =>
  Array.from({ length: random.below(12) }, () => {
    const start = random.below(Length)
    const state = Coverage.states[random.below(4)]!
    return {
      instrument: 1 + random.below(3),
      schema: "trades" as const,
      state,
      range: { start: BigInt(start) * Micro, end: BigInt(start + 1 + random.below(10)) * Micro },
      ...(state === "missing" ? { cause: ["crash", "overflow", "revised"][random.below(3)]! } : {}),
      ...(state === "none" ? { expiresAt: random.below(2) === 0 ? 0n : 2n * now } : {})
    }
  })

/** The cause of what is lacking in one microsecond; undefined where nothing is. */
const causesAt = (spans: ReadonlyArray<Coverage.CoverageSpan>, micro: number): ReadonlyArray<string> => {
  const at = BigInt(micro) * Micro
  const here = spans.filter(({ range }) => range.start <= at && at < range.end)
  const states = here.map((span) => Coverage.stateAt(span, now))
  if (states.some((state) => state !== "missing")) return []
  const told = here.flatMap(({ cause, state }) => (state === "missing" ? [cause!] : []))
  if (told.length > 0) return told
  if (here.length > 0) return []
  const held = (test: (micro: bigint) => boolean) =>
    Array.from({ length: Length }, (_, i) => BigInt(i) * Micro).some(
      (each) =>
        test(each) &&
        spans.some(({ range, state }) => state === "held" && range.start <= each && each < range.end)
    )
  return held((each) => each < at) && held((each) => each > at) ? [Unexplained] : []
}

describe("scan", () => {
  it("finds what is missing, and what nobody knows of between held times, and nothing else", () => {
    const random = new SeededRandom(7)
    for (let round = 0; round < 150; round++) {
      const spans = randomSpans(random)
      const holes = scan({ instruments, spans, isCollected: ({ id }) => id !== 3, within, now })
      for (const id of [1, 2, 3])
        for (let micro = 0; micro < Length; micro++) {
          const own = spans.filter((span) => span.instrument === id)
          const causes = id === 3 ? [] : causesAt(own, micro).slice(0, 1)
          const at = BigInt(micro) * Micro
          const found = holes.filter(
            (hole) => hole.instruments.includes(id) && hole.range.start <= at && at < hole.range.end
          )
          assert.deepStrictEqual(
            found.map(({ cause }) => cause),
            causes.filter((cause) => cause !== Coverage.Revised),
            `round ${round}, instrument ${id}, microsecond ${micro}`
          )
        }
      const alone = [1, 2, 3].map((id) =>
        scan({
          instruments,
          spans: spans.filter((span) => span.instrument === id),
          isCollected: (one) => one.id !== 3,
          within,
          now
        })
      )
      const text = (found: typeof holes) =>
        found.map((hole) => `${keyOf(hole)} ${[...hole.instruments].sort()}`).sort()
      assert.deepStrictEqual(text(merge(alone)), text(holes))
      assert.isTrue(holes.every(({ instruments: ids, symbols }) => ids.length === symbols.length))
      for (const hole of holes) assert.isFalse(isSettled(hole, spans, now))
    }
  })

  it("puts instruments together that lack the same time for the same cause, oldest first", () => {
    const missing = (id: number, start: bigint, end: bigint, cause: string) => ({
      instrument: id,
      schema: "trades" as const,
      state: "missing" as const,
      range: { start, end },
      cause
    })
    const spans = [
      missing(1, 5000n, 9000n, "crash"),
      missing(2, 5000n, 9000n, "crash"),
      missing(3, 5000n, 9000n, "overflow"),
      missing(3, 1000n, 2000n, "overflow")
    ]
    const holes = scan({ instruments, spans, isCollected: () => true, within, now })
    assert.deepStrictEqual(
      holes.map(({ cause, range, symbols }) => [symbols.join(), range.start, cause]),
      [
        ["S3", 1000n, "overflow"],
        ["S1,S2", 5000n, "crash"],
        ["S3", 5000n, "overflow"]
      ]
    )
  })
})
