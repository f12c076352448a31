import { assert, describe, it } from "vitest"
import {
  DbnDecoder,
  DbnError,
  type DbnErrorReason,
  decodeMetadata,
  encodeMetadata,
  metadataToJson,
  upgradeMetadata
} from "../../src/dbn/index.ts"
import { anyMetadata, forSeeds } from "./RecordArbitrary.ts"

const failsWith = (reason: DbnErrorReason, text: string, run: () => unknown): void => {
  try {
    run()
  } catch (error) {
    assert.instanceOf(error, DbnError)
    assert.strictEqual((error as DbnError).reason, reason, (error as DbnError).message)
    assert.include((error as DbnError).message, text)
    return
  }
  assert.fail(`did not fail: ${text}`)
}

const edit = (bytes: Uint8Array, change: (view: DataView) => void): Uint8Array => {
  const copy = bytes.slice()
  change(new DataView(copy.buffer))
  return copy
}

const readWith = (bytes: Uint8Array, options = {}) => {
  const decoder = new DbnDecoder(options)
  decoder.push(bytes)
  decoder.end()
  while (decoder.take() !== undefined);
  return decoder.metadata
}

const header = encodeMetadata({
  dataset: "GLBX.MDP3",
  schema: "trades",
  start: 5n,
  stypeIn: "parent",
  symbols: ["ES.FUT"],
  mappings: [{ rawSymbol: "ES.FUT", intervals: [{ startDate: 20240228, endDate: 20240301, symbol: "5482" }] }]
})

describe("metadata", () => {
  it("comes back as it was, in every version", () => {
    forSeeds(200, (random) => {
      for (const version of [1, 2, 3] as const) {
        const init = anyMetadata(random, version)
        const bytes = encodeMetadata(init, version)
        const { metadataLength, metadataPadding, ...read } = decodeMetadata(bytes)
        const symbolCstrLen = version === 1 ? 22 : 71
        assert.deepStrictEqual(read, { ...init, version, symbolCstrLen } as typeof read)
        assert.strictEqual(metadataLength, bytes.length - 8)
        assert.strictEqual(metadataPadding! < 8, true)
        if (version === 3) assert.strictEqual(bytes.length % 8, 0)
        else assert.strictEqual(metadataPadding, 0)
        assert.deepStrictEqual(encodeMetadata(read, version), bytes)
      }
    })
  })

  it("has at least 128 bytes", () => {
    for (const version of [1, 2, 3] as const)
      assert.strictEqual(encodeMetadata({ dataset: "X" }, version).length, 128)
  })

  it("keeps its fields at the offsets that patching tools rely on", () => {
    const view = new DataView(header.buffer)
    assert.strictEqual(Buffer.from(header.subarray(0, 3)).toString(), "DBN")
    assert.strictEqual(view.getUint8(3), 3)
    assert.strictEqual(view.getUint32(4, true), header.length - 8)
    assert.strictEqual(view.getBigUint64(26, true), 5n)
    assert.strictEqual(view.getBigUint64(34, true), 2n ** 64n - 1n)
    assert.strictEqual(view.getUint8(50), 4)
    assert.strictEqual(view.getUint16(53, true), 71)
    const v1 = new DataView(encodeMetadata({ dataset: "X", stypeIn: "parent" }, 1).buffer)
    assert.strictEqual(v1.getBigUint64(50, true), 2n ** 64n - 1n)
    assert.strictEqual(v1.getUint8(58), 4)
  })

  it("reads an end of zero as no end", () => {
    assert.isNull(decodeMetadata(edit(header, (view) => view.setBigUint64(34, 0n, true))).end)
  })

  it("upgrades to the wider symbols and never downwards", () => {
    const old = decodeMetadata(encodeMetadata({ dataset: "X", symbols: ["A"] }, 1))
    const upgraded = upgradeMetadata(old, 3)
    assert.strictEqual(upgraded.version, 3)
    assert.strictEqual(upgraded.symbolCstrLen, 71)
    assert.strictEqual(decodeMetadata(encodeMetadata(upgraded)).symbols[0], "A")
    const current = decodeMetadata(header)
    assert.strictEqual(upgradeMetadata(current, 2), current)
  })

  it("shows 64-bit values as text and absent ones as null", () => {
    const json = metadataToJson(decodeMetadata(header))
    assert.strictEqual(json.start, "5")
    assert.isNull(json.end)
    assert.isNull(json.limit)
    assert.deepStrictEqual(JSON.parse(JSON.stringify(json)), json)
  })
})

describe("metadata that is refused when written", () => {
  it("text that is not ASCII or does not fit, days that are none, values beyond 64 bits", () => {
    const write =
      (init: object, version: 1 | 2 | 3 = 3) =>
      () =>
        encodeMetadata({ dataset: "X", ...init }, version)
    failsWith("unrepresentable", "at most 15 fit", write({ dataset: "A".repeat(16) }))
    failsWith("unrepresentable", "not ASCII", write({ symbols: ["ÄÖ"] }))
    failsWith("unrepresentable", "not ASCII", write({ symbols: ["A\0"] }))
    failsWith("unrepresentable", "at most 70 fit", write({ symbols: ["A".repeat(71)] }))
    failsWith("unrepresentable", "at most 21 fit", write({ symbols: ["A".repeat(22)] }, 1))
    failsWith("unrepresentable", "unknown schema", write({ schema: "nonsense" }))
    failsWith("unrepresentable", "unknown symbology", write({ stypeIn: "nonsense" }))
    failsWith("unrepresentable", "start", write({ start: -1n }))
    failsWith("unrepresentable", "limit", write({ limit: 2n ** 64n }))
    const interval = { startDate: 20230229, endDate: 20230301, symbol: "1" }
    failsWith("unrepresentable", "20230229", write({ mappings: [{ rawSymbol: "A", intervals: [interval] }] }))
  })
})

describe("metadata that is refused when read", () => {
  it("newer versions, and versions that never were", () => {
    for (const version of [4, 9, 255])
      failsWith("unsupported", "newer than this codec", () =>
        readWith(edit(header, (view) => view.setUint8(3, version)))
      )
    failsWith("unsupported", "does not exist", () => readWith(edit(header, (view) => view.setUint8(3, 0))))
    // The version is enough: nothing more has to arrive.
    const decoder = new DbnDecoder()
    decoder.push(Uint8Array.of(0x44, 0x42, 0x4e, 0x04))
    failsWith("unsupported", "version 4", () => decoder.take())
  })

  it("lengths that are too small, or larger than the limit", () => {
    const length = (value: number) => edit(header, (view) => view.setUint32(4, value, true))
    failsWith("corrupt", "below the smallest", () => readWith(length(119)))
    failsWith("too-large", "4294967288", () => readWith(length(0xfffffff8)))
    failsWith("too-large", "maxMetadataBytes", () => readWith(header, { maxMetadataBytes: 200 }))
    failsWith("truncated", "inside the metadata", () => readWith(length(100_000_000)))
  })

  it("counts that cannot be", () => {
    for (let at = 112; at + 4 <= header.length; at += 4) {
      const huge = edit(header, (view) => view.setUint32(at, 0xffffffff, true))
      try {
        readWith(huge)
      } catch (error) {
        assert.instanceOf(error, DbnError)
        assert.strictEqual((error as DbnError).reason, "corrupt")
      }
    }
    failsWith("corrupt", "4294967295 symbols cannot fit", () =>
      readWith(edit(header, (view) => view.setUint32(112, 0xffffffff, true)))
    )
  })

  it("symbols of no length, schema definitions, and days that are none", () => {
    failsWith("corrupt", "symbols of 0 bytes", () =>
      readWith(edit(header, (view) => view.setUint16(53, 0, true)))
    )
    failsWith("unsupported", "schema definition", () =>
      readWith(edit(header, (view) => view.setUint32(108, 1, true)))
    )
    const date = header.length - 71 - 8 - (decodeMetadata(header).metadataPadding ?? 0)
    failsWith("corrupt", "20240230", () =>
      readWith(edit(header, (view) => view.setUint32(date, 20240230, true)))
    )
  })

  it("a header given in part", () => {
    failsWith("usage", "exactly one header", () => decodeMetadata(header.subarray(0, 100)))
    failsWith("usage", "exactly one header", () => decodeMetadata(header.subarray(0, 7)))
  })
})
