import { assert, describe, it } from "vitest"
import {
  blankRecord,
  CsvLines,
  DbnError,
  type DbnRecord,
  decodeBlocks,
  encodeStream,
  JsonLines,
  type JsonOptions,
  PitSymbolMap
} from "../../src/dbn/index.ts"
import { TextBuffer } from "../../src/dbn/TextBuffer.ts"
import { anyRecords, forSeeds } from "./RecordArbitrary.ts"

const low = (value: bigint): number => Number(BigInt.asIntN(32, value))
const high = (value: bigint): number => Number(BigInt.asIntN(32, value >> 32n))

const written = (write: (out: TextBuffer) => void): string => {
  const out = new TextBuffer(64)
  write(out)
  return Buffer.from(out.text()).toString("latin1")
}

const render = (records: ReadonlyArray<DbnRecord>, options: JsonOptions = {}, tsOut = false): string => {
  const lines = new JsonLines(options)
  let text = ""
  for (const block of decodeBlocks([encodeStream({ dataset: "X", tsOut }, records)]))
    text += Buffer.from(lines.render(block)).toString("latin1")
  return text
}

const edges = [
  0n,
  1n,
  9n,
  10n,
  99n,
  100n,
  999n,
  1000n,
  999999999n,
  1000000000n,
  2n ** 31n,
  2n ** 32n,
  2n ** 53n
]
const around = edges.flatMap((edge) => [edge - 1n, edge, edge + 1n])

describe("numbers as digits", () => {
  it("are exact over all of u64 and i64", () => {
    const check = (value: bigint): void => {
      const unsigned = BigInt.asUintN(64, value)
      const signed = BigInt.asIntN(64, value)
      assert.strictEqual(
        written((out) => out.uint64(low(unsigned), high(unsigned))),
        String(unsigned)
      )
      assert.strictEqual(
        written((out) => out.int64(low(signed), high(signed))),
        String(signed)
      )
    }
    for (const value of around)
      for (const v of [value, -value, 2n ** 63n - value, 2n ** 64n - value]) check(v)
    forSeeds(2000, (random) => {
      check(random.i64())
      check(random.anyI64())
    })
  })

  it("have nine decimals where they are prices", () => {
    const price = (value: bigint): string => written((out) => out.nanos(low(value), high(value)))
    assert.strictEqual(price(3720250000000n), "3720.250000000")
    assert.strictEqual(price(-37630000000n), "-37.630000000")
    assert.strictEqual(price(1n), "0.000000001")
    assert.strictEqual(price(0n), "0.000000000")
    assert.strictEqual(price(-(2n ** 63n)), "-9223372036.854775808")
    forSeeds(2000, (random) => {
      const value = random.anyI64()
      const magnitude = value < 0n ? -value : value
      const fraction = String(magnitude % 1_000_000_000n).padStart(9, "0")
      assert.strictEqual(price(value), `${value < 0n ? "-" : ""}${magnitude / 1_000_000_000n}.${fraction}`)
    })
  })

  it("are ISO 8601 in UTC with nine decimals where they are times", () => {
    const iso = (value: bigint): string => written((out) => out.iso(low(value), high(value)))
    assert.strictEqual(iso(1609160400006001487n), "2020-12-28T13:00:00.006001487Z")
    assert.strictEqual(iso(0n), "1970-01-01T00:00:00.000000000Z")
    assert.strictEqual(iso(2n ** 64n - 1n), "2554-07-21T23:34:33.709551615Z")
    forSeeds(2000, (random) => {
      const value = BigInt.asUintN(64, random.i64())
      const date = new Date(Number(value / 1_000_000n)).toISOString().slice(0, 19)
      assert.strictEqual(iso(value), `${date}.${String(value % 1_000_000_000n).padStart(9, "0")}Z`)
    })
  })

  it("are plain for small integers of either sign", () => {
    for (let value = -1100; value <= 11_000; value++)
      assert.strictEqual(
        written((out) => out.int(value)),
        String(value)
      )
  })
})

describe("JSON lines", () => {
  it("hold exactly the values of the records, for records of every type", () => {
    forSeeds(30, (random) => {
      const tsOut = random.chance(0.5)
      const records = anyRecords(random, { version: 3, tsOut }, 20)
      const lines = render(records, {}, tsOut).split("\n").slice(0, -1)
      assert.strictEqual(lines.length, records.length)
      records.forEach((record, i) => {
        const parsed = JSON.parse(lines[i]!) as { readonly [key: string]: unknown }
        for (const [name, value] of Object.entries(record)) {
          if (name === "type" || name === "body" || name === "levels") continue
          const key = name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
          assert.strictEqual(
            parsed[key],
            typeof value === "bigint" ? String(value) : value,
            `${record.type}.${name}`
          )
        }
        if (record.type === "unknown")
          assert.strictEqual(parsed.raw, Buffer.from(record.body).toString("hex"))
      })
    })
  })

  it("are ASCII, with everything else escaped", () => {
    const text = render([blankRecord("system", { msg: 'é"\\\n\t\r\b\f\u0001𝄞/' })])
    assert.include(text, '"msg":"\\u00e9\\"\\\\\\n\\t\\r\\b\\f\\u0001\\ud834\\udd1e/"')
    for (const char of text) assert.isBelow(char.charCodeAt(0), 128)
  })

  it("print what is absent as null where they are pretty, and as it is where they are not", () => {
    const record = blankRecord("stat", { tsRecv: 0n })
    assert.include(
      render([record]),
      '"ts_recv":"0","ts_ref":"18446744073709551615","price":"9223372036854775807"'
    )
    const pretty = render([record], { prettyPx: true, prettyTs: true })
    assert.include(pretty, '"ts_event":null,"ts_recv":null,"ts_ref":null,"price":null')
  })
})

const csv = (records: ReadonlyArray<DbnRecord>, options = {}): string => {
  const lines = new CsvLines(options)
  let text = ""
  for (const block of decodeBlocks([encodeStream({ dataset: "X" }, records)]))
    text += Buffer.from(lines.render(block)).toString()
  return text
}

describe("CSV", () => {
  it("quotes text that would break a line or column", () => {
    const text = csv([blankRecord("error", { err: 'a,"b"\nc', code: 1, isLast: 0, tsEvent: 5n })])
    assert.strictEqual(
      text,
      'ts_event,rtype,publisher_id,instrument_id,err,code,is_last\n5,21,0,0,"a,""b""\nc",1,0\n'
    )
  })

  it("keeps one kind of records to a table, unless told otherwise", () => {
    const mixed = [blankRecord("trade"), blankRecord("error"), blankRecord("trade")]
    assert.throws(() => csv(mixed), DbnError)
    const lines = csv(mixed, { mixed: "header" }).split("\n")
    assert.strictEqual(lines.length, 7)
    assert.match(lines[2]!, /^ts_event,rtype,.*,err,code,is_last$/)
    assert.strictEqual(lines[0], lines[4])
    assert.strictEqual(csv([blankRecord("error")], { header: false }).split("\n").length, 2)
  })

  it("has a header for files without records", () => {
    assert.strictEqual(
      new CsvLines().header(0x20),
      "ts_event,rtype,publisher_id,instrument_id,open,high,low,close,volume\n"
    )
    const withSymbols = new CsvLines({ symbols: new PitSymbolMap() }).header(0x20, 3, true)
    assert.isTrue(withSymbols.endsWith("volume,ts_out,symbol\n"))
  })
})
