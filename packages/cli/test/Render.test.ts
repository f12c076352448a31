import { UnixNanos } from "@data-manager/core"
import { assert, describe, it } from "@effect/vitest"
import { candles, sparkline } from "../src/Chart.ts"
import { wrap } from "../src/Help.ts"
import * as NumberText from "../src/NumberText.ts"
import { plain, vivid } from "../src/Paint.ts"
import { cells, facts, table } from "../src/Table.ts"
import { isoFormatter, short } from "../src/TimeText.ts"

describe("NumberText", () => {
  it("groups digits of the whole part alone", () => {
    assert.deepStrictEqual(
      [0, 999, 1000, -1234567, 18446744073709551615n, "1234.5678901"].map(NumberText.grouped),
      ["0", "999", "1,000", "-1,234,567", "18,446,744,073,709,551,615", "1,234.5678901"]
    )
  })

  it("writes sizes, times and rates", () => {
    assert.deepStrictEqual([0, 1023, 1536, 10 * 1024 ** 2, 5n * 1024n ** 4n].map(NumberText.bytes), [
      "0 B",
      "1023 B",
      "1.5 KiB",
      "10 MiB",
      "5.0 TiB"
    ])
    assert.deepStrictEqual([0.012, 3.25, 59.97, 75, 3700].map(NumberText.seconds), [
      "12 ms",
      "3.3 s",
      "1:00",
      "1:15",
      "1:01:40"
    ])
    assert.deepStrictEqual(
      [0n, 1n, 1_500n, 90_000_000_000n, UnixNanos.PerDay, 26n * 3_600_000_000_000n].map(NumberText.duration),
      ["0s", "1ns", "1us 500ns", "1m 30s", "1d", "1d 2h"]
    )
    assert.strictEqual(NumberText.rate(3_000_000, 2), "1,500,000 rows/s")
    assert.strictEqual(NumberText.rate(5, 0), "")
    assert.deepStrictEqual(
      [NumberText.plural(1, "row"), NumberText.plural(2000n, "row")],
      ["1 row", "2,000 rows"]
    )
  })
})

describe("TimeText", () => {
  it("is as short as the time allows and never rounds", () => {
    const texts = [
      "2026-01-05",
      "2026-01-05 14:30",
      "2026-01-05 14:30:01",
      "2026-01-05 14:30:00.006001487",
      "2026-01-05 10:00"
    ]
    for (const text of texts) assert.strictEqual(short(UnixNanos.parse(text)!), text)
    assert.strictEqual(short(UnixNanos.parse("2026-01-05T14:30:00.100")!), "2026-01-05 14:30:00.1")
  })

  it("formats like UnixNanos.toIso, whatever the order of times", () => {
    const iso = isoFormatter()
    for (const t of [
      0n,
      1n,
      999_999_999n,
      1_000_000_000n,
      -1n,
      -1_000_000_000n,
      -999_999_999n,
      UnixNanos.Min,
      UnixNanos.Max,
      1609160400006001487n,
      0n
    ])
      assert.strictEqual(iso(t), UnixNanos.toIso(t))
  })
})

describe("table", () => {
  it("aligns text left, numbers right, decimals under their points", () => {
    const lines = table(
      [{ header: "symbol" }, { header: "rows", align: "right" }, { header: "price", align: "decimal" }],
      [
        ["ESH6", "1,234", "3720.25"],
        ["長い", "5", "10"],
        ["x", "", ""]
      ],
      plain
    )
    assert.deepStrictEqual(lines, [
      "symbol   rows    price",
      "ESH6    1,234  3720.25",
      "長い        5    10",
      "x"
    ])
  })

  it("lets no data move the cursor, and keeps widths with colours", () => {
    const columns = [{ header: "a", paint: vivid.red }, { header: "b" }]
    const colored = table(columns, [["x\u001b[2J\n", "y"]], vivid)
    assert.include(colored[1]!, "x?[2J?")
    // biome-ignore lint/suspicious/noControlCharactersInRegex: colour codes are what is removed
    const bare = colored.map((line) => line.replace(/\u001b\[\d+m/g, ""))
    assert.deepStrictEqual(bare, table(columns, [["x\u001b[2J\n", "y"]], plain))
  })

  it("counts cells, not code units", () => {
    assert.deepStrictEqual([cells("abc"), cells("東京"), cells("e\u0301"), cells("😀")], [3, 4, 1, 2])
  })

  it("writes facts below each other", () => {
    assert.deepStrictEqual(
      facts(
        [
          ["server", "18.4"],
          ["db", "x"]
        ],
        plain
      ),
      ["server  18.4", "db      x"]
    )
  })
})

describe("wrap", () => {
  it("breaks at blanks and keeps long words whole", () => {
    assert.deepStrictEqual(wrap("one two three", 8), ["one two", "three"])
    assert.deepStrictEqual(wrap("incomprehensible", 5), ["incomprehensible"])
  })
})

describe("sparkline", () => {
  it("spans from the smallest to the largest", () => {
    assert.strictEqual(sparkline([1, 2, 3, Number.NaN, 8]), "▁▂▃ █")
    assert.strictEqual(sparkline([5, 5]), "▄▄")
    assert.strictEqual(sparkline([]), "")
    assert.strictEqual(sparkline([Number.NaN]), " ")
  })
})

describe("candles", () => {
  const bar = (open: number, high: number, low: number, close: number, volume = 1, label = "") => ({
    open,
    high,
    low,
    close,
    volume,
    label
  })
  const draw = (bars: ReadonlyArray<ReturnType<typeof bar>>, rows: number, paint = plain) =>
    candles(bars, { columns: 80, rows }, (price) => price.toFixed(0), paint)

  it("draws wicks, bodies, volumes and the axis", () => {
    assert.deepStrictEqual(draw([bar(2, 8, 0, 6, 8, "09:00"), bar(6, 6, 4, 4, 4)], 4), [
      // Half cells from the bottom: wick 0-1, body 2-6, wick 7; the second bar is body 4-6 alone.
      "8 ┤╽╻",
      "  │┃┃",
      "  │┃",
      "0 ┤│",
      "  │█▄",
      "   09:00"
    ])
  })

  it("draws a bar of one price and of no price", () => {
    const lines = draw(
      [bar(5, 5, 5, 5), bar(Number.NaN, Number.NaN, Number.NaN, Number.NaN, 0), bar(6, 6, 6, 6)],
      2
    )
    assert.strictEqual(lines.length, 4)
    assert.strictEqual(lines.join("").match(/[╻╹┃]/g)?.length, 2)
    assert.deepStrictEqual(draw([bar(Number.NaN, Number.NaN, Number.NaN, Number.NaN)], 3), [])
    assert.deepStrictEqual(draw([], 3), [])
  })

  it("colours up and down, and keeps the newest where there are too many", () => {
    const text = draw([bar(1, 2, 1, 2), bar(2, 2, 1, 1)], 2, vivid).join("")
    assert.include(text, "\u001b[32m")
    assert.include(text, "\u001b[31m")
    const many = candles(
      Array.from({ length: 500 }, (_, i) => bar(i, i + 1, i, i + 1)),
      { columns: 60, rows: 4 },
      String,
      plain
    )
    assert.isTrue(many.every((line) => cells(line) <= 64))
    assert.include(many[0]!, "500")
  })
})
