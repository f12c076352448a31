import { assert, describe, it } from "vitest"
import {
  blankRecord,
  DbnDecoder,
  DbnError,
  type DbnRecord,
  type DbnVersion,
  type DecoderOptions,
  encodeMetadata,
  encodeRecord,
  encodeStream,
  type LayoutName,
  RecordWriter,
  zstdFrame
} from "../../src/dbn/index.ts"
import { decode, decodeRecords, drain } from "./VendorFile.ts"

const trade = (sequence: number, tsOut?: bigint): DbnRecord =>
  blankRecord("trade", { sequence, ...(tsOut === undefined ? {} : { tsOut }) })

const blank = (name: LayoutName, fields: object = {}): DbnRecord =>
  blankRecord(name, fields as never) as DbnRecord

const bytesOf = (records: ReadonlyArray<DbnRecord>, version: DbnVersion, tsOut = false): Uint8Array => {
  const writer = new RecordWriter({ version, tsOut })
  for (const record of records) writer.record(record)
  return writer.flush()
}

const concat = (...parts: ReadonlyArray<Uint8Array>): Uint8Array => new Uint8Array(Buffer.concat(parts))

interface Outcome {
  readonly records: Array<DbnRecord>
  readonly error: DbnError | undefined
}

const run = (bytes: Uint8Array, options: DecoderOptions = {}): Outcome => {
  const records: Array<DbnRecord> = []
  const error = decode([bytes], options, (block) => {
    records.push(...block.records())
  })
  if (error !== undefined) assert.instanceOf(error, DbnError)
  return { records, error: error as DbnError | undefined }
}

describe("what is no DBN", () => {
  it("is told apart: nothing at all, other data, a fragment that nobody announced", () => {
    assert.strictEqual(run(new Uint8Array(0)).error?.reason, "empty")
    for (const text of [
      "h",
      "hello",
      "PK\x03\x04 some zip file",
      '{"json": true, "and": "more of it"}',
      "DBX\x01____"
    ]) {
      const { error } = run(new TextEncoder().encode(text))
      assert.strictEqual(error?.reason, "not-dbn", text)
      assert.notInclude(error?.message, "fragment")
    }
    const { error } = run(bytesOf([trade(1), trade(2)], 3))
    assert.strictEqual(error?.reason, "not-dbn")
    assert.include(error?.message, "fragment")
    assert.strictEqual(run(zstdFrame(bytesOf([trade(1)], 3))).error?.reason, "not-dbn")
    assert.strictEqual(run(zstdFrame(new Uint8Array(0))).error?.reason, "empty")
  })

  it("is decided as soon as its first bytes show it, without waiting for the end", () => {
    const decoder = new DbnDecoder()
    decoder.push(new TextEncoder().encode("0123456789abcdef"))
    assert.throws(() => decoder.take(), DbnError)
    assert.throws(() => decoder.take(), /not DBN/)
  })
})

describe("records that cannot be", () => {
  const header = encodeMetadata({ dataset: "TEST" })

  it("of a length below the header are damage, after everything in front of them", () => {
    for (const words of [0, 1, 2, 3]) {
      const bad = new Uint8Array(32)
      bad[0] = words
      const { records, error } = run(concat(header, bytesOf([trade(1), trade(2)], 3), bad))
      assert.deepStrictEqual(records, [trade(1), trade(2)])
      assert.strictEqual(error?.reason, "corrupt")
      assert.strictEqual(error?.offset, header.length + 96)
      assert.include(error?.message, `${words * 4} bytes`)
    }
  })

  it("of a known type that are shorter than their struct are damage", () => {
    const short = encodeRecord(trade(9), { version: 3 }).slice(0, 44)
    short[0] = 11
    const { records, error } = run(concat(header, bytesOf([trade(1)], 3), short))
    assert.deepStrictEqual(records, [trade(1)])
    assert.strictEqual(error?.reason, "corrupt")
    assert.include(error?.message, "mbp-0 record of 44 bytes")
    // With ts_out the same 48 bytes are too short.
    const withTsOut = encodeMetadata({ dataset: "TEST", tsOut: true })
    assert.strictEqual(run(concat(withTsOut, bytesOf([trade(1)], 3))).error?.reason, "corrupt")
  })

  it("that have grown beyond their struct are read by their known fields, ts_out still last", () => {
    const grown = (tsOut: boolean): Uint8Array => {
      const bytes = encodeRecord(tsOut ? trade(5, 77n) : trade(5), { version: 3, tsOut })
      const out = new Uint8Array(bytes.length + 16)
      out.set(bytes.subarray(0, 48))
      out.set(bytes.subarray(48), 64)
      out[0] = out.length / 4
      return out
    }
    assert.deepStrictEqual(run(concat(header, grown(false), grown(false))).records, [trade(5), trade(5)])
    const withTsOut = encodeMetadata({ dataset: "TEST", tsOut: true })
    assert.deepStrictEqual(run(concat(withTsOut, grown(true))).records, [trade(5, 77n)])
  })

  it("of unknown type are passed through, whatever their length", () => {
    const unknown = (length: number): DbnRecord => ({
      type: "unknown",
      rtype: 0x77,
      publisherId: 1,
      instrumentId: 2,
      tsEvent: 3n,
      body: new Uint8Array(length).fill(length)
    })
    // 4 modulo 8: the records behind begin at odd multiples of 4.
    const records = [unknown(0), unknown(4), trade(1), unknown(1004), unknown(12), trade(2)]
    assert.deepStrictEqual(run(encodeStream({ dataset: "TEST" }, records)).records, records)
  })
})

describe("streams joined with cat", () => {
  const first = encodeStream({ dataset: "ONE", schema: "trades" }, [trade(1), trade(2)], 1)
  const empty = encodeStream({ dataset: "TWO", schema: "ohlcv-1d" }, [], 2)
  const last = encodeStream({ dataset: "SIX", tsOut: true }, [trade(3, 5n)], 3)

  it("give every header and its records, raw and compressed, also where one is empty", () => {
    for (const bytes of [
      concat(first, empty, last),
      concat(...[first, empty, last].map((part) => zstdFrame(part)))
    ]) {
      const seen: Array<readonly [segment: number, dataset: string, version: number, records: number]> = []
      const error = decode([bytes], {}, (block) => {
        seen.push([block.segment, block.metadata!.dataset, block.version, block.length])
      })
      assert.isUndefined(error)
      assert.deepStrictEqual(
        seen.filter(([, , , records], i) => records > 0 || seen[i + 1]?.[0] !== seen[i]![0]),
        [
          [0, "ONE", 1, 2],
          [1, "TWO", 2, 0],
          [2, "SIX", 3, 1]
        ]
      )
      assert.deepStrictEqual(decodeRecords(bytes), [trade(1), trade(2), trade(3, 5n)])
    }
  })

  it("stop at a header of a newer version", () => {
    const newer = last.slice()
    newer[3] = 4
    const { records, error } = run(concat(first, newer))
    assert.deepStrictEqual(records.slice(0, 2), [trade(1), trade(2)])
    assert.instanceOf(error, DbnError)
  })
})

describe("fragments", () => {
  const versions = [1, 2, 3] as const
  const definition: { readonly [V in DbnVersion]: LayoutName } = {
    1: "instrument_def_v1",
    2: "instrument_def_v2",
    3: "instrument_def"
  }

  it("tell version and ts_out by the sizes of their records", () => {
    for (const version of versions)
      for (const tsOut of [false, true]) {
        const own = tsOut ? { tsOut: 7n } : {}
        const records = [blank("trade", own), blank(definition[version], own), blank("mbo", own)]
        const { records: got, error } = run(bytesOf(records, version, tsOut), { fragment: {} })
        assert.isUndefined(error)
        assert.deepStrictEqual(got, records, `version ${version}, ts_out ${tsOut}`)
      }
  })

  it("tell version 1 by its gateway records, and version 3 by its statistics", () => {
    const v1 = [blank("system_v1"), blank("error_v1"), blank("symbol_mapping_v1"), blank("stat_v1")]
    assert.deepStrictEqual(run(bytesOf(v1, 1), { fragment: {} }).records, v1)
    const v3 = [blank("system"), blank("stat"), blank("instrument_def")]
    assert.deepStrictEqual(run(bytesOf(v3, 3), { fragment: {} }).records, v3)
    // A statistic of 64 bytes leaves 1 and 2 open until a definition decides.
    for (const version of [1, 2] as const) {
      const open = [blank("stat_v1"), blank(definition[version]), blank("stat_v1")]
      assert.deepStrictEqual(run(bytesOf(open, version), { fragment: {} }).records, open)
    }
  })

  it("are upgraded from the version that was found", () => {
    const records = [blank("stat_v1", { quantity: 12 }), blank("instrument_def_v1", { rawSymbol: "ESH6" })]
    const got = run(bytesOf(records, 1), { fragment: {}, upgrade: 3 }).records
    assert.deepStrictEqual(
      got.map((record) => record.type),
      ["stat", "instrument_def"]
    )
    assert.strictEqual((got[0] as { readonly quantity: bigint }).quantity, 12n)
    assert.strictEqual((got[1] as { readonly rawSymbol: string }).rawSymbol, "ESH6")
  })

  it("are read as told where version and ts_out are given", () => {
    const records = [blank("stat_v1"), blank("instrument_def_v2")]
    const told = { fragment: { version: 2, tsOut: false } } as const
    assert.deepStrictEqual(run(bytesOf(records, 2), told).records, records)
    const wrong = run(bytesOf([blank("instrument_def_v1")], 1), told)
    assert.strictEqual(wrong.error?.reason, "corrupt")
    assert.include(wrong.error?.message, "version or ts_out are wrong")
  })

  it("may be empty, and may be cut short", () => {
    assert.isUndefined(run(new Uint8Array(0), { fragment: {} }).error)
    const { records, error } = run(bytesOf([trade(1), trade(2)], 3).subarray(0, 95), { fragment: {} })
    assert.deepStrictEqual(records, [trade(1)])
    assert.strictEqual(error?.reason, "truncated")
    assert.strictEqual(error?.offset, 48)
  })
})

describe("upgrading", () => {
  it("gives every version 1 text its code", () => {
    const codes = (name: "error_v1" | "system_v1", field: "err" | "msg", texts: ReadonlyArray<string>) => {
      const records = texts.map((text) => blank(name, { [field]: text }))
      return run(encodeStream({ dataset: "X" }, records, 1), { upgrade: 3 }).records.map(
        (record) => (record as { readonly code: number }).code
      )
    }
    const errors = [
      "User or API key deactivated",
      "User has reached their open connection limit",
      "Failed to resolve symbol: NOPE",
      "Internal error",
      "Slow client detected for 5 s",
      "Internal error!",
      ""
    ]
    assert.deepStrictEqual(codes("error_v1", "err", errors), [2, 3, 4, 6, 7, 255, 255])
    const messages = [
      "Heartbeat",
      "Subscription request 7 for mbo data succeeded",
      "Warning: slow reading",
      "Finished trades replay",
      "End of interval for ohlcv-1s",
      "Subscription request 7 failed",
      ""
    ]
    assert.deepStrictEqual(codes("system_v1", "msg", messages), [0, 1, 2, 3, 4, 255, 255])
  })

  it("moves ts_out to the new end and recomputes the length", () => {
    const record = blank("error_v1", { err: "Internal error", tsOut: 42n })
    const bytes = encodeStream({ dataset: "X", tsOut: true }, [record, record], 1)
    const seen: Array<number> = []
    const error = decode([bytes], { upgrade: 2 }, (block) => {
      assert.strictEqual(block.version, 2)
      assert.isTrue(block.tsOut)
      for (const p of block.positions()) seen.push(block.words[p]! & 0xff)
    })
    assert.isUndefined(error)
    assert.deepStrictEqual(seen, [82, 82])
    const [upgraded] = run(bytes, { upgrade: 2 }).records
    assert.deepStrictEqual(
      upgraded,
      blank("error", { err: "Internal error", code: 6, isLast: 255, tsOut: 42n })
    )
  })

  it("widens absent quantities and fills new fields with their absent values", () => {
    const stats = [2147483647, -2147483648, 5].map((quantity) => blank("stat_v1", { quantity }))
    const quantities = run(encodeStream({ dataset: "X" }, stats, 2), { upgrade: 3 }).records.map(
      (record) => (record as { readonly quantity: bigint }).quantity
    )
    assert.deepStrictEqual(quantities, [2n ** 63n - 1n, -2147483648n, 5n])
    const v1 = blank("instrument_def_v1", {
      rawInstrumentId: 4294967295,
      asset: "ABCDEF",
      rawSymbol: "X".repeat(21)
    })
    const [v3] = run(encodeStream({ dataset: "X" }, [v1], 1), { upgrade: 3 }).records
    assert.deepStrictEqual(
      v3,
      blank("instrument_def", {
        rawInstrumentId: 4294967295n,
        asset: "ABCDEF",
        rawSymbol: "X".repeat(21),
        legSide: "N"
      })
    )
    const mapping = blank("symbol_mapping_v1", { stypeInSymbol: "ES.FUT", stypeOutSymbol: "ESH6" })
    const [mapped] = run(encodeStream({ dataset: "X" }, [mapping], 1), { upgrade: 2 }).records
    const expected = { stypeIn: 255, stypeOut: 255, stypeInSymbol: "ES.FUT", stypeOutSymbol: "ESH6" }
    assert.deepStrictEqual(mapped, blank("symbol_mapping", expected))
  })

  it("leaves alone what is the same in all versions, and never goes down", () => {
    const records = [trade(1), blank("mbo"), blank("status")]
    for (const version of [1, 2, 3] as const)
      assert.deepStrictEqual(
        run(encodeStream({ dataset: "X" }, records, version), { upgrade: 3 }).records,
        records
      )
    const { error } = run(encodeStream({ dataset: "X" }, records, 3), { upgrade: 2 })
    assert.strictEqual(error?.reason, "usage")
    assert.include(error?.message, "no downgrades")
  })
})

describe("a decoder", () => {
  it("refuses input after its end, and may be closed at any time", () => {
    const decoder = new DbnDecoder()
    decoder.push(encodeStream({ dataset: "X" }, [trade(1)]))
    decoder.end()
    drain(decoder, () => {})
    assert.isUndefined(decoder.take())
    assert.throws(() => decoder.push(new Uint8Array(1)), /push after end/)
    decoder.close()
    const unused = new DbnDecoder()
    unused.close()
  })

  it("counts what it gave out, and gives blocks with their place in the stream", () => {
    const bytes = encodeStream(
      { dataset: "X" },
      Array.from({ length: 500 }, (_, i) => trade(i))
    )
    const decoder = new DbnDecoder({ bufferBytes: 4096 })
    decoder.push(bytes)
    decoder.end()
    let next = 128
    drain(decoder, (block) => {
      assert.strictEqual(block.offset, next)
      next += block.length * 48
    })
    assert.strictEqual(next, bytes.length)
    assert.strictEqual(decoder.offset, bytes.length)
  })

  it("gives the first records of a block without copying", () => {
    const bytes = encodeStream({ dataset: "X" }, [trade(1), trade(2), trade(3)])
    const got: Array<DbnRecord> = []
    const copies: Array<Uint8Array> = []
    decode([bytes], {}, (block) => {
      got.push(...block.first(2).records())
      copies.push(...block.copies())
      assert.strictEqual(block.first(10), block)
      assert.strictEqual(block.first(0).length, 0)
    })
    assert.deepStrictEqual(got, [trade(1), trade(2)])
    assert.deepStrictEqual(
      copies,
      [1, 2, 3].map((sequence) => encodeRecord(trade(sequence), { version: 3 }))
    )
  })
})
