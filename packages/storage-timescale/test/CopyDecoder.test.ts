import { ABSENT_I64, Decimal, MarketSchema, UnixNanos } from "@data-manager/core"
import { BatchArbitrary, SeededRandom } from "@data-manager/testing"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { providerBarSelection, rollupSelection } from "../src/BarRows.ts"
import { CopyDecoder, CopyFormatError } from "../src/CopyDecoder.ts"
import { bookSelection, idList, quoteSelection, type RowSelection, tradeSelection } from "../src/ReadRows.ts"
import { type ReadableRows, ReadInstruments, Unrepresentable } from "../src/RowColumns.ts"
import { capture, columnsText, decode, decoders, feed, lookup } from "./CopyFixture.ts"
import { appendAll, instruments as makeInstruments, openStore, type StoreFixture } from "./StoreFixture.ts"

let store: StoreFixture
/** A COPY of every kind, as the server sent it, with its decoder. */
const transcripts: Array<{
  readonly name: string
  readonly bytes: Uint8Array
  readonly rows: () => ReadableRows & { readonly columns: object }
}> = []

const start = UnixNanos.parse("2024-03-05T13:30:00Z")!
const scales = [
  [2, 0],
  [9, 3],
  [0, 8]
] as const

const select = (selection: RowSelection, ids: ReadonlyArray<number>, where = ""): string =>
  `SELECT ${selection.fields({ exact: ids, texts: ids }).join(", ")} FROM ${selection.table} t
   WHERE t.instrument_id = ANY (${idList(ids)})${where} ORDER BY t.${selection.time}, t.instrument_id`

beforeAll(async () => {
  store = await openStore()
  const { ids, context } = await makeInstruments(store, scales, { keyKind: "text-hash" })
  const options = { context, instruments: ids, rows: 24, start, values: "extreme", absent: 0.2 } as const
  const batches = [
    BatchArbitrary.trades(new SeededRandom(1), options),
    BatchArbitrary.quotes(new SeededRandom(2), { ...options, schema: "mbp-1" }),
    BatchArbitrary.quotes(new SeededRandom(3), { ...options, schema: "bbo-1s" }),
    BatchArbitrary.books(new SeededRandom(4), { ...options, schema: "mbp-10" }),
    BatchArbitrary.bars(new SeededRandom(5), { ...options, seconds: 60 })
  ]
  const plain = await makeInstruments(store, scales)
  const ordinary = BatchArbitrary.trades(new SeededRandom(6), {
    ...options,
    context: plain.context,
    instruments: plain.ids,
    values: "grid"
  })
  await store.run(appendAll(store.writer, [...batches, ordinary]))
  const known = () =>
    lookup(
      ids.map((id, i) => [id, ...scales[i]!] as const),
      context
    )
  const add = async (
    name: string,
    selection: RowSelection,
    rows: () => ReadableRows & { readonly columns: object },
    where = ""
  ) => {
    transcripts.push({ name, bytes: await capture(store, select(selection, ids, where)), rows })
  }
  const ofSchema = (schema: MarketSchema.MarketSchema) => ` AND t.schema = ${MarketSchema.code(schema)}`
  await add("trades", tradeSelection, () => decoders.trade(known()))
  await add("quotes", quoteSelection("mbp-1"), () => decoders.quote(known()), ofSchema("mbp-1"))
  await add(
    "sampled quotes",
    quoteSelection("bbo-1s"),
    () => decoders.quote(known(), "bbo-1s"),
    ofSchema("bbo-1s")
  )
  await add("books", bookSelection("mbp-10"), () => decoders.book(known()))
  await add("provider bars", providerBarSelection, () => decoders.bar(known()))
  const bars = lookup(
    plain.ids.map((id, i) => [id, ...scales[i]!] as const),
    plain.context
  )
  transcripts.push({
    name: "bars from trades",
    bytes: await capture(store, select(rollupSelection("bars_1m"), plain.ids)),
    rows: () => decoders.rollup(bars)
  })
}, 30_000)
afterAll(() => store.close())

describe("fields against PostgreSQL's own text", () => {
  const times = [
    "1677-09-21 00:12:43.145225+00",
    "1969-12-31 23:59:59.999999+00",
    "1970-01-01 00:00:00+00",
    "1999-12-31 23:59:59.999999+00",
    "2000-01-01 00:00:00+00",
    "2026-11-22 21:05:11.000001+00",
    "2262-04-11 23:47:16.854774+00"
  ]
  const integers = [-(2n ** 63n), -(2n ** 32n) - 1n, -1n, 0n, 1n, 2n ** 31n, 2n ** 53n + 1n, 2n ** 63n - 2n]

  it("times, keys and values of every size", async () => {
    const [{ id }] = (await store.sql("SELECT 77 AS id")) as unknown as [{ readonly id: number }]
    const values = times.flatMap((time, t) =>
      integers.map((value, v) => {
        const other = times[(t + v) % times.length]
        const nanos = (t * 143 + v * 99) % 1000
        return `('${time}'::timestamptz, ${nanos}, '${other}'::timestamptz, ${999 - nanos}, '${value}'::int8, '${integers[7 - v]}'::int8)`
      })
    )
    const rows = `(VALUES ${values.join(", ")}) v(ts, ts_ns, ts_recv, ts_recv_ns, trade_key, price)`
    const table = `(SELECT v.*, NULL::int8 AS size, ${id} AS instrument_id, -5 AS ts_in_delta, 40000 - 65536 AS publisher,
      2 AS side, 255 AS flags, 129 AS depth FROM ${rows}) t`
    const decoded = decode(
      decoders.trade(lookup([[77, 4, 0]], { provider: "p", dataset: "D" }), false, false),
      await capture(
        store,
        `SELECT ${tradeSelection.fields({ exact: [], texts: [] }).join(", ")} FROM ${table}`
      )
    )
    const expected = await store.sql<{ readonly line: string }>(
      `SELECT concat_ws(' ', (extract(epoch FROM ts) * 1000000000 + ts_ns), (extract(epoch FROM ts_recv) * 1000000000 + ts_recv_ns),
         trade_key, price) AS line FROM ${rows}`
    )
    const { columns: c } = decoded
    assert.strictEqual(decoded.length, times.length * integers.length)
    for (let i = 0; i < decoded.length; i++) {
      const line = [c.tsEvent[i], c.tsRecv[i], c.tradeKey[i], c.price[i]].join(" ")
      assert.strictEqual(line, expected[i]!.line.replace(/\.0+/g, ""))
      assert.strictEqual(c.size[i], ABSENT_I64)
      assert.deepStrictEqual(
        [
          c.publisher[i],
          c.side[i],
          c.flags[i],
          c.depth[i],
          c.tsInDelta[i],
          c.instrument[i],
          c.priceExponent[i]
        ],
        [40000, 2, 255, 129, -5, 77, -4]
      )
    }
  })

  it("numerics of every size and sign", async () => {
    const numbers = [
      "0",
      "1",
      "-1",
      "0.00000001",
      "-0.0001",
      "10000",
      "9999.9999",
      "123456789012345678.5",
      "-9223372036854775808",
      "9.223372036854775806",
      "1e-100",
      "-7e100",
      "12300000000",
      "0.5000"
    ]
    const values = numbers.map((n) => `('${n}'::numeric)`).join(", ")
    const table = `(SELECT timestamptz '2026-01-05' AS ts, 1 AS ts_ns, NULL::timestamptz AS ts_recv, NULL::int2 AS ts_recv_ns,
      v.column2 AS trade_key, NULL::int8 AS price, NULL::int8 AS size, 77 AS instrument_id, NULL::int4 AS ts_in_delta, 1 AS publisher,
      0 AS side, 0 AS flags, 0 AS depth, v.column1 AS exact FROM (SELECT column1, row_number() OVER () AS column2 FROM (VALUES ${values}) w) v) t`
    const fields = [...tradeSelection.fields({ exact: [], texts: [] }), "t.exact", "NULL::numeric"]
    const decoded = decode(
      decoders.trade(lookup([[77, 2, 0]], { provider: "p", dataset: "D" }), true, false),
      await capture(store, `SELECT ${fields.join(", ")} FROM ${table} ORDER BY t.trade_key`)
    )
    numbers.forEach((text, i) => {
      const expected = Decimal.parse(text)!
      const actual = { mantissa: decoded.columns.price[i]!, exponent: decoded.columns.priceExponent[i]! }
      assert.isTrue(Decimal.equals(actual, expected), `${text} came as ${actual.mantissa}e${actual.exponent}`)
      assert.strictEqual(decoded.columns.tsRecv[i], ABSENT_I64)
      assert.strictEqual(decoded.columns.tsInDelta[i], -2147483648)
    })
  })
})

/** Every byte of a small transcript, about 400 places of a large one. */
const stepOf = (bytes: Uint8Array): number => (bytes.length < 4_000 ? 1 : Math.floor(bytes.length / 400) | 1)

describe("bytes cut anywhere", () => {
  it("a captured COPY of each kind, split at every byte and into single bytes", () => {
    for (const { name, bytes, rows } of transcripts) {
      const whole = decode(rows(), bytes)
      assert.isAbove(whole.length, 11, name)
      const expected = columnsText(whole)
      for (let at = 0; at <= bytes.length; at += stepOf(bytes)) {
        const text = columnsText(decode(rows(), bytes, [at]))
        if (text !== expected) assert.fail(`${name} differs when cut at byte ${at}`)
      }
      const single = Array.from({ length: bytes.length - 1 }, (_, i) => i + 1)
      assert.strictEqual(columnsText(decode(rows(), bytes, single)), expected, `${name} byte by byte`)
    }
  })

  it("counts the rows that were complete", () => {
    const { bytes, rows } = transcripts[0]!
    const decoder = new CopyDecoder(rows())
    feed(decoder, bytes.subarray(0, bytes.length - 3))
    assert.strictEqual(decoder.rows, 23)
    assert.throws(() => decoder.finish(), /stops in the middle/)
  })
})

describe("hostile bytes", () => {
  const header = (): Buffer => Buffer.concat([Buffer.from("PGCOPY\n\xff\r\n\0", "latin1"), Buffer.alloc(8)])
  const refuse = (bytes: Uint8Array, message: RegExp, rows = transcripts[0]!.rows()): void => {
    assert.throws(() => decode(rows, bytes), message)
  }

  it("refuses every truncation with a typed error", () => {
    for (const { name, bytes, rows } of transcripts)
      for (let end = 0; end < bytes.length; end += stepOf(bytes))
        assert.throws(
          () => decode(rows(), bytes.subarray(0, end)),
          CopyFormatError,
          undefined,
          `${name} at ${end}`
        )
  })

  it("refuses another signature, critical flags and what follows the end", () => {
    for (let i = 0; i < 11; i++) {
      const bytes = Uint8Array.from(transcripts[0]!.bytes)
      bytes[i] = bytes[i]! ^ 1
      refuse(bytes, /not a binary COPY/)
    }
    const flagged = header()
    flagged.writeUInt32BE(0x10000, 11)
    refuse(flagged, /unknown kind/)
    refuse(Buffer.concat([transcripts[0]!.bytes, Buffer.from([0])]), /follow the end/)
  })

  it("skips a header extension however long it says it is, without memory for it", () => {
    const bytes = header()
    bytes.writeUInt32BE(0xffffffff, 15)
    const decoder = new CopyDecoder(transcripts[0]!.rows())
    feed(decoder, bytes)
    for (let i = 0; i < 64; i++) feed(decoder, new Uint8Array(65_536))
    assert.strictEqual(decoder.rows, 0)
    const extended = Buffer.concat([header(), Buffer.from("extra"), transcripts[0]!.bytes.subarray(19)])
    extended.writeUInt32BE(5, 15)
    assert.strictEqual(
      columnsText(decode(transcripts[0]!.rows(), extended, [3, 20, 23])),
      columnsText(decode(transcripts[0]!.rows(), transcripts[0]!.bytes))
    )
  })

  it("refuses counts and lengths that cannot be", () => {
    const count = Buffer.concat([header(), Buffer.from([0, 3])])
    refuse(count, /a row has 3 fields instead of 10 \(row 1, byte 19\)/)
    const field = (length: number): Buffer => {
      const bytes = Buffer.concat([header(), Buffer.from([0, 10]), Buffer.alloc(4)])
      bytes.writeInt32BE(length, 21)
      return bytes
    }
    refuse(field(-2), /a field is -2 bytes long/)
    refuse(field(0x7fffffff), /longer than 1048576 bytes/)
    const narrow = Uint8Array.from(transcripts[5]!.bytes)
    // The first field of a bar is an int4.
    new DataView(narrow.buffer).setInt32(21, 2)
    refuse(narrow, /field|stops in the middle/, transcripts[5]!.rows())
  })

  it("refuses a row of an instrument that was not asked for, and times beyond 64 bits", async () => {
    const nobody = new ReadInstruments(new Map())
    refuse(transcripts[0]!.bytes, /instrument #\d+, which was not asked for/, decoders.trade(nobody))
    const plain = transcripts[5]!.rows()
    for (const time of ["infinity", "-infinity", "3000-01-01", "1000-01-01"]) {
      const bytes = await capture(
        store,
        `SELECT ${[...plain.instruments.all.keys()][0]}, timestamptz '${time}', 1::numeric, 1::numeric, 1::numeric, 1::numeric,
         1::int8, 1::numeric`
      )
      refuse(bytes, /outside the years/, transcripts[5]!.rows())
    }
  })

  it("refuses numerics and arrays that are none", async () => {
    const id = [...transcripts[5]!.rows().instruments.all.keys()][0]
    const bar = (open: string, volume: string) =>
      capture(
        store,
        `SELECT ${id}, timestamptz '2026-01-05', ${open}, 1::numeric, 1::numeric, 1::numeric, 1::int8, ${volume}`
      )
    const rollup = () => transcripts[5]!.rows()
    refuse(await bar("'NaN'::numeric", "1::numeric"), /not a finite number/, rollup())
    refuse(await bar("1::numeric", "'Infinity'::numeric"), /not a finite number/, rollup())
    refuse(await bar("NULL::numeric", "1::numeric"), /no price/, rollup())
    refuse(await bar("1::numeric", "NULL::numeric"), /no volume/, rollup())
    // Exact, at an exponent of its own; then one that no exponent can hold beside the others.
    assert.strictEqual(decode(rollup(), await bar("1e-9::numeric", "1::numeric")).length, 1)
    const wide = await bar("1e-30::numeric", "1::numeric")
    assert.throws(() => decode(rollup(), wide), Unrepresentable)
    const huge = await bar("1::numeric", "(10::numeric ^ 40 + 1)")
    assert.throws(() => decode(rollup(), huge), Unrepresentable)
    const books = transcripts[3]!
    const arrays = ["ARRAY[1,2]::int4[]", "ARRAY[[1,2]]::int8[]", "array_fill(1::int8, ARRAY[11])"]
    for (const array of arrays) {
      const row = `SELECT 0::int8, ${[...books.rows().instruments.all.keys()][0]}::int8, timestamptz '2026-01-05', NULL::timestamptz,
        1::int8, 1::int8, 1::int8, ${array}, '{}'::int8[], '{}'::int8[], '{}'::int8[], '{}'::int8[], '{}'::int8[],
        NULL::numeric, NULL::numeric, NULL::numeric[], NULL::numeric[], NULL::numeric[], NULL::numeric[]`
      refuse(await capture(store, row), /array/, books.rows())
      assert.strictEqual(
        decode(books.rows(), await capture(store, row.replace(array, "'{NULL,3}'::int8[]"))).length,
        1
      )
    }
  })

  it("never ends in anything but a typed error, whatever is changed", () => {
    const random = new SeededRandom(99)
    let refused = 0
    for (const { bytes, rows } of transcripts)
      for (let n = 0; n < 600; n++) {
        const mutated = Uint8Array.from(bytes)
        for (let k = random.between(1, 4); k > 0; k--)
          mutated[random.below(mutated.length)] = random.pick([0, 1, 0x7f, 0x80, 0xff, random.below(256)])
        try {
          decode(rows(), mutated, [random.below(mutated.length)])
        } catch (error) {
          refused += 1
          if (!(error instanceof CopyFormatError) && !(error instanceof Unrepresentable)) throw error
        }
      }
    assert.isAbove(refused, 500)
  })
})
