/**
 * Damaged and malicious input: whatever the bytes, a decoder ends with records and at most a `DbnError`, in bounded time
 * and memory. Mutations come from seeds, so a failure names how to repeat it.
 */
import type { SeededRandom } from "@data-manager/testing"
import { assert, describe, it } from "vitest"
import {
  CsvLines,
  DbnError,
  type DecoderOptions,
  encodeStream,
  JsonLines,
  MboColumns,
  metadataToJson,
  type RecordBlock,
  TsSymbolMap,
  zstdFrame
} from "../../src/dbn/index.ts"
import { anyMetadata, anyRecords, anySplit, forSeeds } from "./RecordArbitrary.ts"
import { decode, skipReason, vendorFiles } from "./VendorFile.ts"

const interesting = [0, 1, 3, 4, 0x7f, 0x80, 0xfe, 0xff]

const mutateOnce = (random: SeededRandom, bytes: Uint8Array): Uint8Array => {
  const at = random.below(Math.max(1, bytes.length))
  const out = bytes.slice()
  switch (random.below(7)) {
    case 0:
      out[at] = random.below(256)
      return out
    case 1:
      out[at]! ^= 1 << random.below(8)
      return out
    case 2:
      out[at] = random.pick(interesting)
      return out
    case 3: {
      const word = random.pick([0, 1, 0x7fffffff, 0x80000000, 0xffffffff, random.u32()])
      for (let i = 0; i < 4 && at + i < out.length; i++) out[at + i] = word >>> (8 * i)
      return out
    }
    case 4:
      return out.slice(0, at)
    case 5:
      return new Uint8Array(Buffer.concat([out.subarray(0, at), out.subarray(at + random.below(64))]))
    default: {
      const again = out.subarray(at, at + random.below(300))
      return new Uint8Array(Buffer.concat([out.subarray(0, at), again, out.subarray(at)]))
    }
  }
}

const mutate = (random: SeededRandom, bytes: Uint8Array): Uint8Array => {
  let out = bytes
  for (let n = 1 + random.below(4); n > 0; n--) out = mutateOnce(random, out)
  return out
}

const anyOptions = (random: SeededRandom): DecoderOptions => ({
  bufferBytes: 4096,
  maxMetadataBytes: 1 << 20,
  maxWindowBytes: 1 << 23,
  upgrade: random.pick([undefined, 2, 3] as const),
  fragment: random.pick([
    undefined,
    {},
    { version: random.pick([1, 2, 3] as const) },
    { tsOut: random.chance(0.5) },
    { version: random.pick([1, 2, 3] as const), tsOut: random.chance(0.5) }
  ] as const)
})

const json = new JsonLines({ prettyPx: true, prettyTs: true })
const canonical = new JsonLines()
const vendor = new JsonLines({ shape: "vendor" })
const csv = new CsvLines({ prettyPx: true, prettyTs: true, mixed: "header" })
const columns = new MboColumns(64)

/** Everything that can be done with a block. */
const exercise = (block: RecordBlock): void => {
  let records = 0
  for (const record of block.records()) {
    records += 1
    if (typeof record.tsEvent !== "bigint") throw new Error("a record without ts_event")
  }
  if (records !== block.length) throw new Error(`${records} records in a block of ${block.length}`)
  for (const line of Buffer.from(canonical.render(block)).toString("latin1").split("\n").slice(0, -1))
    JSON.parse(line)
  json.render(block)
  vendor.render(block)
  csv.render(block)
  for (let p = block.start; p < block.end; ) {
    columns.clear()
    const next = columns.gather(block, p)
    p = next > p ? next : p + (block.words[p]! & 0xff)
  }
  if (block.metadata === undefined) return
  metadataToJson(block.metadata)
  try {
    TsSymbolMap.fromMetadata(block.metadata)
  } catch (error) {
    assert.instanceOf(error, DbnError)
  }
}

const survives = (random: SeededRandom, bytes: Uint8Array): void => {
  const started = performance.now()
  const error = decode(anySplit(random, bytes), anyOptions(random), exercise)
  if (error !== undefined && !(error instanceof DbnError))
    throw new Error("failed with something else than a DbnError", { cause: error })
  if (performance.now() - started > 5000) throw new Error("took more than five seconds")
}

describe("damaged input", () => {
  it("made from every vendor file never does worse than a DbnError", (context) => {
    if (skipReason !== undefined) return context.skip(skipReason)
    const before = process.memoryUsage()
    for (const { name, bytes } of vendorFiles) {
      try {
        forSeeds(60, (random) => survives(random, mutate(random, bytes)))
      } catch (error) {
        throw new Error(`${name}: ${(error as Error).message}`, { cause: error })
      }
    }
    const after = process.memoryUsage()
    assert.isBelow(after.arrayBuffers - before.arrayBuffers, 256 * 1024 * 1024)
  })

  it("made from streams of any mix never does worse than a DbnError", () => {
    forSeeds(300, (random) => {
      const version = random.pick([1, 2, 3] as const)
      const metadata = anyMetadata(random, version)
      const records = anyRecords(random, { version, tsOut: metadata.tsOut }, random.below(20))
      const raw = encodeStream(metadata, records, version)
      // Damage inside the compressed data as well as in what was compressed.
      const bytes = random.pick([raw, zstdFrame(mutate(random, raw)), zstdFrame(raw, { checksum: true })])
      survives(random, mutate(random, bytes))
    })
  })

  it("made of noise behind every magic number never does worse than a DbnError", () => {
    const magics = [
      [0x44, 0x42, 0x4e, 1],
      [0x44, 0x42, 0x4e, 3],
      [0x28, 0xb5, 0x2f, 0xfd],
      [0x50, 0x2a, 0x4d, 0x18],
      [0x5f, 0x2a, 0x4d, 0x18, 120, 0, 0, 0, 0x44, 0x42, 0x5a, 1],
      []
    ]
    forSeeds(300, (random) => {
      const noise = Uint8Array.from({ length: random.below(2000) }, () => random.below(256))
      survives(random, Uint8Array.from([...random.pick(magics), ...noise]))
    })
  })
})
