import { constants, zstdCompressSync, zstdDecompressSync } from "node:zlib"
import { assert, describe, it } from "vitest"
import {
  blankRecord,
  DbnDecoder,
  DbnError,
  type DbnRecord,
  encodeMetadata,
  encodeRecord,
  encodeStream,
  skippableFrame,
  ZstdEncoder,
  zstdChunks,
  zstdFrame
} from "../../src/dbn/index.ts"
import { anySplit, forSeeds } from "./RecordArbitrary.ts"
import { decode, drain } from "./VendorFile.ts"

const trades = (count: number): Array<DbnRecord> =>
  Array.from({ length: count }, (_, i) =>
    blankRecord("trade", {
      sequence: i,
      instrumentId: i % 7,
      price: BigInt(i) * 1_000_000n,
      tsEvent: BigInt(i)
    })
  )

const stream = (count: number): Uint8Array<ArrayBuffer> =>
  encodeStream({ dataset: "TEST", schema: "trades" }, trades(count))

const concat = (...parts: ReadonlyArray<Uint8Array>): Uint8Array<ArrayBuffer> =>
  new Uint8Array(Buffer.concat(parts))

interface Outcome {
  readonly sequences: Array<number>
  readonly error: DbnError | undefined
}

const sequencesOf = (chunks: ReadonlyArray<Uint8Array>, options = {}): Outcome => {
  const sequences: Array<number> = []
  const error = decode(chunks, options, (block) => {
    for (const record of block.records()) sequences.push((record as { readonly sequence: number }).sequence)
  })
  if (error !== undefined) assert.instanceOf(error, DbnError)
  return { sequences, error: error as DbnError | undefined }
}

const upTo = (count: number): Array<number> => Array.from({ length: count }, (_, i) => i)

const complete = (chunks: ReadonlyArray<Uint8Array>, count: number, options = {}): void => {
  const { sequences, error } = sequencesOf(chunks, options)
  assert.isUndefined(error)
  assert.deepStrictEqual(sequences, upTo(count))
}

const failure = (bytes: Uint8Array, options = {}): DbnError => {
  const { error } = sequencesOf([bytes], options)
  if (error === undefined) throw new Error("did not fail")
  return error
}

describe("several zstd frames", () => {
  const raw = stream(1000)
  const parts = [
    raw.subarray(0, 50),
    raw.subarray(50, 20_011),
    raw.subarray(20_011, 20_012),
    raw.subarray(20_012)
  ]
  const frames = parts.map((part) => zstdFrame(part))

  it("are read to the end, where Node's own decompression stops behind the first without a word", () => {
    const joined = concat(...frames)
    // The reason why frames are walked here. Should this fail, Node has changed and the walk may be reconsidered.
    assert.strictEqual(zstdDecompressSync(joined).length, 50)
    complete([joined], 1000)
  })

  it("may have frames of other things between and around them", () => {
    const skip = skippableFrame(new TextEncoder().encode("a seek table, say"))
    complete(
      [concat(skip, frames[0]!, skip, skip, ...frames.slice(1), skippableFrame(new Uint8Array(0)))],
      1000
    )
    complete([concat(skippableFrame(new TextEncoder().encode("DB")), ...frames)], 1000)
  })

  it("are read whatever the split, level, checksum and block size", () => {
    forSeeds(40, (random) => {
      const count = random.below(600)
      const bytes = stream(count)
      const cuts = [...anySplit(random, bytes)].filter((part) => part.length > 0)
      const options = { level: random.pick([1, 3, 9]), checksum: random.chance(0.5) }
      const pieces = random.chance(0.5)
        ? cuts
            .slice(0, 8)
            .map((part) => zstdFrame(part, options))
            .concat(zstdFrame(concat(...cuts.slice(8))))
        : [...zstdChunks(cuts, options)]
      complete(anySplit(random, concat(...pieces)), count, { bufferBytes: random.pick([4096, 70_000]) })
    })
  })

  it("are read from frames made by others: with content size, single segment, raw and RLE blocks", () => {
    const random = new Uint8Array(200_000).map((_, i) => (i * 2654435761) >>> 13)
    const noise = encodeStream({ dataset: "X" }, [
      {
        type: "unknown",
        rtype: 0x42,
        publisherId: 0,
        instrumentId: 0,
        tsEvent: 0n,
        body: random.slice(0, 1000)
      }
    ])
    for (const level of [-5, 1, 19]) {
      const params = { [constants.ZSTD_c_compressionLevel]: level, [constants.ZSTD_c_contentSizeFlag]: 1 }
      assert.isUndefined(decode([new Uint8Array(zstdCompressSync(noise, { params }))], {}, () => {}))
      complete([new Uint8Array(zstdCompressSync(raw, { params }))], 1000)
    }
    const zeros = encodeStream({ dataset: "X", symbols: Array.from({ length: 10_000 }, () => "") }, trades(3))
    complete([zstdFrame(zeros)], 3)
  })
})

describe("a live zstd stream", () => {
  it("gives every flushed record as it arrives, although its frame never ends", () => {
    const encoder = new ZstdEncoder()
    const decoder = new DbnDecoder()
    decoder.push(encoder.push(encodeMetadata({ dataset: "LIVE" })))
    decoder.push(encoder.flush())
    drain(decoder, () => {})
    assert.strictEqual(decoder.metadata?.dataset, "LIVE")
    for (const record of trades(200)) {
      decoder.push(encoder.push(encodeRecord(record, { version: 3 })))
      decoder.push(encoder.flush())
      const got: Array<DbnRecord> = []
      drain(decoder, (block) => got.push(...block.records()))
      assert.deepStrictEqual(got, [record])
    }
    decoder.end()
    assert.throws(() => decoder.take(), /ends inside a zstd frame/)
    encoder.close()
    decoder.close()
  })
})

describe("damaged zstd input", () => {
  const good = zstdFrame(stream(100))

  it("keeps what was whole before the damage", () => {
    const second = zstdFrame(stream(5).subarray(128), { checksum: true })
    second[second.length - 1]! ^= 1
    const { sequences, error } = sequencesOf([concat(good, second)])
    assert.strictEqual(error?.reason, "corrupt")
    assert.strictEqual(error?.space, "input")
    assert.strictEqual(error?.offset, good.length)
    assert.deepStrictEqual(sequences.slice(0, 100), upTo(100))
  })

  it("is refused where something else follows a frame", () => {
    const { sequences, error } = sequencesOf([concat(good, new TextEncoder().encode("hello world"))])
    assert.deepStrictEqual(sequences, upTo(100))
    assert.strictEqual(error?.reason, "corrupt")
    assert.strictEqual(error?.offset, good.length)
    assert.include(error?.message, "68 65 6c 6c")
  })

  it("is refused where the frame asks for more memory than the limit, before any is allocated", () => {
    // Descriptor without single segment, window descriptor for 2^41 bytes.
    const huge = Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xf8, 1, 0, 0)
    assert.strictEqual(failure(huge).reason, "too-large")
    assert.include(failure(huge).message, "maxWindowBytes")
    // Single segment with a content size of 2^63.
    const single = Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 0, 0, 0, 0x80, 1, 0, 0)
    assert.strictEqual(failure(single).reason, "too-large")
    assert.strictEqual(failure(good, { maxWindowBytes: 1024 }).reason, "too-large")
  })

  it("is refused where a frame needs a dictionary or breaks the format", () => {
    const frame = (descriptor: number, ...rest: ReadonlyArray<number>) =>
      Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, descriptor, ...rest)
    assert.strictEqual(failure(frame(0x01, 0x00, 7, 1, 0, 0)).reason, "unsupported")
    assert.include(failure(frame(0x01, 0x00, 7, 1, 0, 0)).message, "dictionary 7")
    assert.include(failure(frame(0x08, 0x00, 1, 0, 0)).message, "reserved bit")
    assert.include(failure(frame(0x00, 0x00, 0x07, 0, 0)).message, "reserved type")
    assert.include(failure(frame(0x00, 0x00, 0xfd, 0xff, 0xff)).message, "at most 1024")
  })

  it("is truncated, not endless, where a skippable frame announces 4 GiB", () => {
    const bytes = concat(good, Uint8Array.of(0x50, 0x2a, 0x4d, 0x18, 0xff, 0xff, 0xff, 0xff, 1, 2, 3))
    const { sequences, error } = sequencesOf([bytes])
    assert.deepStrictEqual(sequences, upTo(100))
    assert.strictEqual(error?.reason, "truncated")
    assert.strictEqual(error?.offset, bytes.length)
  })

  it("stays small where a few bytes decompress to gigabytes", () => {
    const zeros = new Uint8Array(64 * 1024 * 1024)
    const bomb = zstdFrame(zeros)
    assert.isBelow(bomb.length, 10_000)
    const header = encodeMetadata({ dataset: "X" })
    const { sequences, error } = sequencesOf([
      concat(zstdFrame(header), ...Array.from({ length: 40 }, () => bomb))
    ])
    assert.deepStrictEqual(sequences, [])
    assert.strictEqual(error?.reason, "corrupt")
    assert.strictEqual(error?.offset, 128)
    assert.strictEqual(error?.space, "stream")
  })
})

describe("DBZ", () => {
  const fixed = (compressedLists: Uint8Array): Uint8Array => {
    const frame = new Uint8Array(96 + compressedLists.length)
    frame.set([0x44, 0x42, 0x5a, 1])
    frame.set(new TextEncoder().encode("TEST"), 4)
    frame.set(compressedLists, 96)
    return frame
  }
  const emptyLists = zstdFrame(new Uint8Array(20))

  it("without records may end behind its metadata", () => {
    const decoder = new DbnDecoder()
    decoder.push(skippableFrame(fixed(emptyLists)))
    decoder.end()
    let blocks = 0
    drain(decoder, (block) => {
      blocks += 1
      assert.strictEqual(block.length, 0)
    })
    assert.strictEqual(blocks, 1)
    assert.strictEqual(decoder.container, "dbz")
    assert.strictEqual(decoder.metadata?.dataset, "TEST")
  })

  it("with metadata that is too large, too small or does not decompress is refused", () => {
    const announced = skippableFrame(fixed(emptyLists))
    new DataView(announced.buffer).setUint32(4, 0xffffffff, true)
    assert.strictEqual(failure(announced).reason, "too-large")
    assert.strictEqual(failure(skippableFrame(Uint8Array.of(0x44, 0x42, 0x5a, 1, 0))).reason, "corrupt")
    assert.strictEqual(failure(skippableFrame(fixed(new Uint8Array(10)))).reason, "corrupt")
    assert.strictEqual(failure(skippableFrame(fixed(emptyLists.subarray(0, 12)))).reason, "corrupt")
    const bomb = zstdFrame(new Uint8Array(4 * 1024 * 1024))
    assert.strictEqual(
      failure(skippableFrame(fixed(bomb)), { maxMetadataBytes: 100_000 }).reason,
      "too-large"
    )
  })

  it("inside DBZ metadata is not looked into", () => {
    let nested: Uint8Array = emptyLists
    for (let depth = 0; depth < 50; depth++) nested = skippableFrame(fixed(nested))
    assert.strictEqual(failure(skippableFrame(fixed(nested))).reason, "corrupt")
  })
})
