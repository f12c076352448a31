import { assert, describe, it } from "vitest"
import {
  blankRecord,
  DbnError,
  type DbnRecord,
  type DbnVersion,
  encodeMetadata,
  encodeRecord,
  encodeStream,
  layouts,
  type RecordOf,
  RecordWriter,
  rtypes,
  zstdFrame
} from "../../src/dbn/index.ts"
import { anyMetadata, anyRecords, anySplit, forSeeds, recordOf } from "./RecordArbitrary.ts"
import { decode, decodeRecords } from "./VendorFile.ts"

const refused = (run: () => unknown, text: string): void => {
  try {
    run()
  } catch (error) {
    assert.instanceOf(error, DbnError)
    assert.strictEqual((error as DbnError).reason, "unrepresentable")
    assert.include((error as DbnError).message, text)
    return
  }
  assert.fail(`was not refused: ${text}`)
}

const mbo = (fields: Partial<RecordOf<"mbo">>): DbnRecord => blankRecord("mbo", fields)
const encode = (record: DbnRecord, version: DbnVersion = 3, tsOut = false): Uint8Array =>
  encodeRecord(record, { version, tsOut })

describe("records", () => {
  it("of every type and version come back as they were, with ts_out and without", () => {
    forSeeds(4, (random) => {
      for (const version of [1, 2, 3] as const)
        for (const tsOut of [false, true])
          for (const { rtype } of [...rtypes, { rtype: 0x42 }]) {
            const record = recordOf(random, rtype, { version, tsOut })
            const bytes = encodeStream({ dataset: "TEST", tsOut }, [record, record], version)
            assert.deepStrictEqual(decodeRecords(bytes), [record, record])
          }
    })
  })

  it("come back from streams of any mix, split anywhere, raw and zstd", () => {
    forSeeds(60, (random) => {
      const version = random.pick([1, 2, 3] as const)
      const metadata = anyMetadata(random, version)
      const records = anyRecords(random, { version, tsOut: metadata.tsOut }, random.below(80))
      const raw = encodeStream(metadata, records, version)
      const bytes = random.chance(0.5) ? zstdFrame(raw, { checksum: random.chance(0.5) }) : raw
      const got: Array<DbnRecord> = []
      const error = decode(anySplit(random, bytes), { bufferBytes: 4096 }, (block) => {
        got.push(...block.records())
      })
      assert.isUndefined(error)
      assert.deepStrictEqual(got, records)
    })
  })

  it("are written byte for byte as they were read", () => {
    forSeeds(20, (random) => {
      const format = { version: random.pick([1, 2, 3] as const), tsOut: random.chance(0.5) }
      const writer = new RecordWriter(format)
      writer.raw(encodeMetadata({ dataset: "TEST", tsOut: format.tsOut }, format.version))
      for (const record of anyRecords(random, format, 30)) writer.record(record)
      const bytes = writer.flush()
      const again = encodeStream(
        { dataset: "TEST", tsOut: format.tsOut },
        decodeRecords(bytes),
        format.version
      )
      assert.deepStrictEqual(again, bytes)
    })
  })
})

describe("blankRecord", () => {
  it("makes every struct with its absent values, ready to be written", () => {
    for (const layout of Object.values(layouts)) {
      const rtype = rtypes.find((entry) => entry.layouts.includes(layout.name))!.rtype
      const record = blankRecord(layout.name, { rtype } as never)
      const version = layout.versions[0]!
      const bytes = encodeStream({ dataset: "TEST" }, [record as DbnRecord], version)
      assert.deepStrictEqual(decodeRecords(bytes), [record as DbnRecord])
    }
  })

  it("asks for the type where several share a struct", () => {
    refused(() => blankRecord("ohlcv"), "give rtype")
    assert.strictEqual(blankRecord("trade").rtype, 0)
  })
})

describe("what a version cannot represent", () => {
  it("is refused: numbers out of range, of the wrong kind, or not there", () => {
    refused(() => encode(mbo({ size: 4294967296 })), "size is 4294967296")
    refused(() => encode(mbo({ size: -1 })), "size is -1")
    refused(() => encode(mbo({ size: 1.5 })), "size is 1.5")
    refused(() => encode(mbo({ size: Number.NaN })), "size is NaN")
    refused(() => encode(mbo({ size: 1n as never })), "size is 1")
    refused(() => encode(mbo({ price: 1 as never })), "price is 1")
    refused(() => encode(mbo({ price: 1n << 63n })), "price is")
    refused(() => encode(mbo({ orderId: -1n })), "order_id is -1")
    refused(() => encode(mbo({ tsInDelta: 2147483648 })), "ts_in_delta")
    refused(() => encode(mbo({ tsEvent: 1n << 64n })), "ts_event")
    refused(() => encode(mbo({ publisherId: 65536 })), "publisher_id")
    const { sequence: _, ...incomplete } = blankRecord("mbo")
    refused(() => encode(incomplete as DbnRecord), "sequence is undefined")
    refused(() => encode({ ...blankRecord("mbo"), venue: 1 } as DbnRecord), '"venue" is no field')
  })

  it("is refused: text that is too long or holds NUL, characters that are no byte", () => {
    const definition = (rawSymbol: string) => blankRecord("instrument_def_v1", { rawSymbol }) as DbnRecord
    assert.strictEqual(encode(definition("A".repeat(21)), 1).length, 360)
    refused(() => encode(definition("A".repeat(22)), 1), "at most 21 fit")
    refused(() => encode(definition("A\0B"), 1), "without NUL")
    refused(() => encode(definition("\ud800"), 1), "raw_symbol")
    refused(() => encode(mbo({ side: "AB" })), "side is")
    refused(() => encode(mbo({ side: "Ā" })), "side is")
    refused(() => encode(mbo({ side: "\0" })), "side is")
  })

  it("is refused: structs of another version or type", () => {
    const definition = blankRecord("instrument_def_v2") as DbnRecord
    refused(
      () => encode(definition, 3),
      "laid out as instrument_def in DBN version 3, not as instrument_def_v2"
    )
    refused(() => encode(definition, 1), "instrument_def_v1")
    refused(() => encode({ ...blankRecord("mbo"), rtype: 0 } as DbnRecord), "laid out as trade")
    refused(() => encode({ ...blankRecord("mbo"), rtype: 256 } as DbnRecord), "rtype")
    refused(() => encode({ ...blankRecord("mbp1"), levels: [] } as DbnRecord), "exactly 1 levels")
  })

  it("is refused: ts_out where the stream has none, and the other way round", () => {
    refused(() => encode(mbo({ tsOut: 1n })), "ts_out in a stream without ts_out")
    refused(() => encode(mbo({}), 3, true), "ts_out is undefined")
  })

  it("is refused: unknown records that do not fit the length byte", () => {
    const unknown = (length: number): DbnRecord => ({
      type: "unknown",
      rtype: 0x42,
      publisherId: 1,
      instrumentId: 2,
      tsEvent: 3n,
      body: new Uint8Array(length)
    })
    assert.strictEqual(encode(unknown(1004)).length, 1020)
    refused(() => encode(unknown(1008)), "at most 1020")
    refused(() => encode(unknown(1)), "multiple of 4")
  })

  it("leaves a writer as it was", () => {
    const writer = new RecordWriter({ version: 3 })
    writer.record(mbo({ sequence: 1 }))
    refused(() => writer.record(mbo({ size: -1 })), "size")
    writer.record(mbo({ sequence: 2 }))
    assert.strictEqual(writer.flush().length, 112)
  })
})
