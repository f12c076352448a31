import { ABSENT_I64, Decimal, type MarketBatch, MarketSchema, UnixNanos } from "@data-manager/core"
import { BatchArbitrary, SeededRandom } from "@data-manager/testing"
import { Effect } from "effect"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { dayOf, nanos, scan } from "../src/BatchScan.ts"
import { columnsOf, encode, MaxRowBytes, tableOf } from "../src/CopyEncoder.ts"
import { exactChunks, exactColumns } from "../src/ExactRows.ts"
import { rowTables } from "../src/RowTable.ts"
import { RowWriter, rescaled } from "../src/RowWriter.ts"
import { openStore, type StoreFixture } from "./StoreFixture.ts"

let store: StoreFixture

beforeAll(async () => {
  store = await openStore()
}, 120_000)
afterAll(() => store.close())

/** What a column of one row should hold, as PostgreSQL's text; undefined where it should be NULL. */
type Expected = { readonly [column: string]: string | undefined }

const micros = (time: bigint): string => {
  const iso = UnixNanos.toIso(UnixNanos.floorMicros(time) * 1000n)
  return iso.replace("T", " ").replace(/(\.\d{6})\d{3}Z$/, "$1")
}
const present = (value: bigint): bigint | undefined => (value === ABSENT_I64 ? undefined : value)

/** The mantissa at a scale by BigInt alone; undefined where it is absent or does not fit. */
const scaled = (mantissa: bigint, exponent: number, scale: number): bigint | undefined => {
  if (mantissa === ABSENT_I64) return undefined
  const value = Decimal.rescale(mantissa, exponent, -scale)
  return value === undefined || value !== BigInt.asIntN(64, value) ? undefined : value
}

/** Every field of a row, computed value by value. */
const expectedOf = (batch: MarketBatch, row: number, scales: readonly [number, number]): Expected => {
  const { time, otherTime } = scan(batch)
  const at = nanos(time, row)
  const other = present(nanos(otherTime, row))
  const out: Record<string, string | undefined> = {
    ts: micros(at),
    ts_ns: String(UnixNanos.nanosOfMicro(at)),
    instrument_id: String(batch.columns.instrument[row]),
    publisher: String((batch.columns.publisher[row]! << 16) >> 16)
  }
  const c = batch.columns as unknown as Record<string, ArrayLike<number | bigint>>
  const put = (column: string, values: ArrayLike<number | bigint>, kind: "price" | "size"): void => {
    const sizes = batch._tag === "BarBatch" ? c.priceExponent! : c.sizeExponent!
    const [exponents, scale] = kind === "price" ? [c.priceExponent!, scales[0]] : [sizes, scales[1]]
    const lanes = values.length / batch.columns.instrument.length
    const texts = Array.from({ length: lanes }, (_, lane) =>
      scaled(values[row * lanes + lane] as bigint, Number(exponents[row]), scale)?.toString()
    )
    out[column] = lanes === 1 ? texts[0] : `{${texts.map((text) => text ?? "NULL").join(",")}}`
  }
  const number = (column: string, value: number | undefined, absent: number): void => {
    out[column] = value === absent ? undefined : String(value)
  }
  if (batch._tag === "BarBatch") {
    for (const name of ["open", "high", "low", "close"]) put(name, c[name]!, "price")
    out.trade_count = present(batch.columns.tradeCount[row]!)?.toString()
    const volume = batch.volumeDecimal(row)
    out.volume = Decimal.text(volume.mantissa, volume.exponent)
    const seconds = batch.columns.seconds[row]!
    const schema = MarketSchema.all.find(
      (name) => MarketSchema.kind(name) === "bars" && MarketSchema.seconds(name) === seconds
    )!
    out.schema = String(MarketSchema.code(schema))
    return out
  }
  number("ts_in_delta", batch.columns.tsInDelta[row], -2147483648)
  for (const name of ["side", "flags", "depth"]) out[name] = String(c[name]![row])
  const otherName = batch._tag === "TradeBatch" ? "ts_recv" : "ts_other"
  out[otherName] = other === undefined ? undefined : micros(other)
  out[`${otherName}_ns`] = other === undefined ? undefined : String(UnixNanos.nanosOfMicro(other))
  put("price", c.price!, "price")
  put("size", c.size!, "size")
  if (batch._tag === "TradeBatch") {
    out.trade_key = String(batch.columns.tradeKey[row])
    return out
  }
  out.schema = String(batch.columns.schema[row])
  out.action = String(batch.columns.action[row])
  out[batch._tag === "QuoteBatch" ? "quote_key" : "book_key"] = String((c.quoteKey ?? c.bookKey)![row])
  for (const side of ["bid", "ask"]) {
    put(`${side}_price`, c[`${side}Price`]!, "price")
    put(`${side}_size`, c[`${side}Size`]!, "size")
    const counts = c[`${side}Count`]!
    if (batch._tag === "QuoteBatch") {
      number(`${side}_count`, Number(counts[row]), 4294967295)
      number(`${side}_publisher`, (Number(c[`${side}Publisher`]![row]) << 16) >> 16, -1)
    } else {
      const texts = Array.from({ length: 10 }, (_, lane) => counts[row * 10 + lane])
      out[`${side}_count`] = `{${texts.map((n) => (n === 4294967295 ? "NULL" : n)).join(",")}}`
    }
  }
  return out
}

/** Sends a batch through COPY into a plain table and reads every column back as text. */
const roundTrip = async (batch: MarketBatch, scales: readonly [number, number]) => {
  const found = scan(batch)
  const table = rowTables[found.kind]
  const columns = columnsOf[found.kind]
  const ofSeries = (value: number) => new Int8Array(found.series.length).fill(value)
  // A small chunk, so that rows end up in many of them.
  const writer = new RowWriter(MaxRowBytes, 5000)
  const encoded = encode(writer, found, { price: ofSeries(scales[0]), size: ofSeries(scales[1]) }, true)
  return store.run(
    store.writer.pool.transaction(
      "test",
      Effect.fnUntraced(function* (connection) {
        yield* connection.query(`CREATE TEMP TABLE t (LIKE ${tableOf[found.kind]}, n int4) ON COMMIT DROP`)
        yield* connection.query(`CREATE TEMP TABLE x (LIKE ${table.exactTable}, n int4) ON COMMIT DROP`)
        const rows = yield* connection.copyIn(
          `COPY t (${encoded.columns.join(", ")}) FROM STDIN (FORMAT binary)`,
          encoded.chunks
        )
        assert.strictEqual(rows, batch.length)
        if (encoded.exact.length > 0)
          yield* connection.copyIn(
            `COPY x (${exactColumns(table, true).join(", ")}) FROM STDIN (FORMAT binary)`,
            exactChunks(writer, table, found, encoded.exact, true)
          )
        const text = (column: string) =>
          /^ts(_recv|_other)?$/.test(column)
            ? `to_char(${column}, 'YYYY-MM-DD HH24:MI:SS.US')`
            : `${column}::text`
        const stored = yield* connection.query<{ [column: string]: string | null }>(
          `SELECT ${columns.map((c) => `${text(c)} AS ${c}`).join(", ")} FROM t ORDER BY n`
        )
        const exact = yield* connection.query<{ [column: string]: string | null }>(
          `SELECT n::text, ${table.scaled.map((c) => `${c.name}::text AS ${c.name}`).join(", ")} FROM x ORDER BY n`
        )
        return { stored, exact, encoded }
      })
    )
  )
}

const check = async (batch: MarketBatch, scales: readonly [number, number]): Promise<void> => {
  const { stored, exact, encoded } = await roundTrip(batch, scales)
  for (let row = 0; row < batch.length; row++) {
    const expected = expectedOf(batch, row, scales)
    const found = Object.entries(stored[row]!).map(([column, text]) => [column, text ?? undefined])
    assert.deepStrictEqual(Object.fromEntries(found), { ...expected }, `row ${row} at ${scales}`)
  }
  checkExact(batch, scales, exact, encoded.exact.length)
}

/** Every value that is neither absent nor at the scale stands in the exact table, and no other. */
const checkExact = (
  batch: MarketBatch,
  scales: readonly [number, number],
  rows: ReadonlyArray<{ readonly [column: string]: string | null }>,
  count: number
): void => {
  const table = rowTables[scan(batch).kind]
  const c = batch.columns as unknown as Record<string, BigInt64Array>
  const byRow = new Map(rows.map((row) => [Number(row.n), row]))
  let found = 0
  for (const { name, scale } of table.scaled) {
    const camel = name.replace(/_(.)/, (_, letter) => letter.toUpperCase())
    const values = c[camel]!
    const lanes = values.length / batch.columns.instrument.length
    for (let row = 0; row < batch.length; row++) {
      const exponent = Number((scale === "price" ? c.priceExponent! : c.sizeExponent!)[row])
      const text = byRow.get(row)?.[name] ?? null
      const stored = lanes === 1 ? [text] : (text?.slice(1, -1).split(",") ?? [])
      for (let lane = 0; lane < lanes; lane++) {
        const mantissa = values[row * lanes + lane]!
        const fits = scaled(mantissa, exponent, scale === "price" ? scales[0] : scales[1]) !== undefined
        const shown = stored[lane] ?? "NULL"
        if (mantissa === ABSENT_I64 || fits) assert.strictEqual(shown, "NULL", `row ${row} ${name}`)
        else {
          assert.strictEqual(shown, Decimal.text(mantissa, exponent), `row ${row} ${name}`)
          found += 1
        }
      }
    }
  }
  assert.strictEqual(count, found)
}

const instrumentIds = [1, 2, 2_147_483_647]
const start = BigInt(Date.parse("2024-03-05T13:30:00Z")) * 1_000_000n

describe("CopyEncoder against PostgreSQL", () => {
  const generate = {
    trades: (seed: number, options: BatchArbitrary.BatchOptions) =>
      BatchArbitrary.trades(new SeededRandom(seed), options),
    quotes: (seed: number, options: BatchArbitrary.BatchOptions) =>
      BatchArbitrary.quotes(new SeededRandom(seed), { ...options, schema: "mbp-1" }),
    sampled: (seed: number, options: BatchArbitrary.BatchOptions) =>
      BatchArbitrary.quotes(new SeededRandom(seed), { ...options, schema: "bbo-1s" }),
    bars: (seed: number, options: BatchArbitrary.BatchOptions) =>
      BatchArbitrary.bars(new SeededRandom(seed), { ...options, seconds: 60 }),
    book: (seed: number, options: BatchArbitrary.BatchOptions) =>
      BatchArbitrary.books(new SeededRandom(seed), { ...options, schema: "mbp-10" })
  }
  for (const [name, make] of Object.entries(generate)) {
    it(`${name}: every column of ordinary rows`, async () => {
      const context = { provider: "t", dataset: "T" } as never
      await check(make(1, { context, instruments: instrumentIds, rows: 500, start }), [2, 0])
      await check(make(2, { context, instruments: instrumentIds, rows: 200, start }), [9, 3])
    })
    it(`${name}: extremes at every scale`, async () => {
      const context = { provider: "t", dataset: "T" } as never
      for (let scale = 0; scale <= 18; scale += 3)
        await check(
          make(100 + scale, { context, instruments: instrumentIds, rows: 120, start, values: "extreme" }),
          [scale, 18 - scale]
        )
    })
  }

  it("brings every exponent to every scale", async () => {
    const mantissas = [
      0n,
      1n,
      -1n,
      1000n,
      -250n,
      9007199254740993n,
      2n ** 53n,
      2n ** 62n,
      -(2n ** 63n),
      10n ** 18n
    ]
    const context = { provider: "t", dataset: "T" } as never
    for (let scale = 0; scale <= 18; scale++) {
      const batch = BatchArbitrary.trades(new SeededRandom(3), {
        context,
        instruments: [1],
        rows: 25 * mantissas.length,
        start
      })
      for (let i = 0; i < batch.length; i++) {
        batch.columns.priceExponent[i] = Math.floor(i / mantissas.length) - 18
        batch.columns.price[i] = mantissas[i % mantissas.length]!
        batch.columns.sizeExponent[i] = Math.floor(i / mantissas.length) - 18
        batch.columns.size[i] = mantissas[(i * 7) % mantissas.length]! + 1n
      }
      await check(batch, [scale, scale])
    }
  })

  it("keeps times of all centuries to the nanosecond", async () => {
    const edges = [0n, 1n, -1n, 999n, 1000n, -999n, -1000n, -1001n, 946684800000000000n, 946684799999999999n]
    const far = [
      UnixNanos.Min,
      UnixNanos.Min + 1n,
      UnixNanos.Max,
      UnixNanos.Max - 1n,
      2n ** 62n,
      -(2n ** 62n)
    ]
    const random = new SeededRandom(4)
    const times = [...edges, ...far, ...Array.from({ length: 400 }, () => random.anyI64())].filter(
      (time) => time !== ABSENT_I64
    )
    const batch = BatchArbitrary.trades(new SeededRandom(5), {
      context: { provider: "t", dataset: "T" } as never,
      instruments: [1],
      rows: times.length,
      start
    })
    times.forEach((time, i) => {
      batch.columns.tsEvent[i] = time
      batch.columns.tsRecv[i] = times[times.length - 1 - i]!
    })
    await check(batch, [9, 0])
    const { time } = scan(batch)
    times.forEach((value, i) => {
      assert.strictEqual(
        dayOf(time[2 * i]!, time[2 * i + 1]!),
        Number(UnixNanos.startOfDay(value) / UnixNanos.PerDay)
      )
    })
  })
})

describe("numerics", () => {
  it("are read by PostgreSQL as what they are", async () => {
    const random = new SeededRandom(6)
    const cases: Array<readonly [bigint, number]> = [
      [0n, 0],
      [0n, -9],
      [5n, -9],
      [10_000n, 0],
      [100_000_000n, -4],
      [99_999_999n, -4],
      [-1n, -18],
      [2n ** 127n, -128],
      [-(2n ** 127n), 127],
      [123n, 5]
    ]
    for (let i = 0; i < 400; i++)
      cases.push([random.anyI64() >> BigInt(random.below(60)), random.between(-30, 20)])
    const writer = new RowWriter(MaxRowBytes)
    const chunks = function* () {
      writer.start()
      for (const [mantissa, exponent] of cases) {
        writer.row(2)
        writer.numeric(mantissa, exponent)
        const small = mantissa > -(2n ** 53n) && mantissa < 2n ** 53n
        if (small && exponent <= 0 && exponent >= -22) writer.numericNumber(Number(mantissa), exponent)
        else if (!small || !writer.scaledNumericNumber(Number(mantissa), exponent, 2))
          writer.numeric(mantissa, exponent)
      }
      yield writer.finish()
    }
    const rows = await store.run(
      store.writer.pool.transaction(
        "test",
        Effect.fnUntraced(function* (connection) {
          yield* connection.query(
            "CREATE TEMP TABLE t (n int4 GENERATED ALWAYS AS IDENTITY, a numeric, b numeric)"
          )
          yield* connection.copyIn("COPY t (a, b) FROM STDIN (FORMAT binary)", chunks())
          return yield* connection.query<{ a: string; b: string }>("SELECT a, b FROM t ORDER BY n")
        })
      )
    )
    cases.forEach(([mantissa, exponent], i) => {
      const exact = Decimal.text(mantissa, exponent)
      assert.strictEqual(rows[i]!.a, exact)
      assert.isTrue(
        Decimal.equals(Decimal.parse(rows[i]!.b)!, { mantissa, exponent }),
        `${rows[i]!.b} is ${exact}`
      )
    })
  })

  it("rescale within an i64 or not at all", () => {
    assert.strictEqual(rescaled(5n, 18), 5n * 10n ** 18n)
    assert.strictEqual(rescaled(10n, 18), undefined)
    assert.strictEqual(rescaled(0n, 100), 0n)
    assert.strictEqual(rescaled(-(10n ** 18n), -18), -1n)
    assert.strictEqual(rescaled(1n, -1), undefined)
    assert.strictEqual(rescaled(-(2n ** 63n), 0), -(2n ** 63n))
  })
})
