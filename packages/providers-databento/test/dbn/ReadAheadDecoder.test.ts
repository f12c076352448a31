/** Decompression ahead of decoding gives what the synchronous decoder gives, and may be left at any moment. */
import { setTimeout as sleep } from "node:timers/promises"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { createZstdDecompress, constants as zlib } from "node:zlib"
import { assert, describe, it } from "vitest"
import {
  blankRecord,
  type Container,
  DbnDecoder,
  DbnError,
  type DbnRecord,
  encodeMetadata,
  encodeRecord,
  encodeStream,
  metadataToJson,
  ReadAheadDecoder,
  type ReadAheadDecoderOptions,
  type RecordBlock,
  skippableFrame,
  ZstdEncoder,
  zstdFrame
} from "../../src/dbn/index.ts"
import { Continue, ZstdHandle } from "../../src/dbn/ZstdHandle.ts"
import { skipReason, vendorFiles } from "./VendorFile.ts"

/** Records of one layout back to back, however they were cut into blocks. */
interface Run {
  readonly segment: number
  readonly version: number
  readonly tsOut: boolean
  readonly metadata: string | undefined
  readonly offset: number
  bytes: string
  length: number
}

interface Outcome {
  readonly runs: ReadonlyArray<Run>
  readonly container: Container | undefined
  readonly offset: number
  readonly error: object | undefined
}

const add = (runs: Array<Run>, block: RecordBlock): void => {
  const { segment, version, tsOut, offset, length } = block
  const bytes = Buffer.from(block.bytes.buffer, block.start * 4, (block.end - block.start) * 4).toString(
    "latin1"
  )
  const last = runs.at(-1)
  if (last?.segment === segment && last.version === version && last.tsOut === tsOut) {
    last.bytes += bytes
    last.length += length
    return
  }
  const metadata = block.metadata === undefined ? undefined : JSON.stringify(metadataToJson(block.metadata))
  runs.push({ segment, version, tsOut, metadata, offset, bytes, length })
}

const told = (error: unknown): object | undefined => {
  if (error === undefined) return undefined
  assert.instanceOf(error, DbnError)
  const { reason, message, offset, space } = error as DbnError
  return { reason, message, offset, space }
}

const inStep = (chunks: Iterable<Uint8Array>, options: ReadAheadDecoderOptions): Outcome => {
  const decoder = new DbnDecoder(options)
  const runs: Array<Run> = []
  const drain = (): void => {
    for (let block = decoder.take(); block !== undefined; block = decoder.take()) add(runs, block)
  }
  let error: unknown
  try {
    for (const chunk of chunks) {
      decoder.push(chunk)
      drain()
    }
    decoder.end()
    drain()
  } catch (cause) {
    error = cause
  }
  decoder.close()
  return { runs, container: decoder.container, offset: decoder.offset, error: told(error) }
}

/** Pushes what is wanted, as soon as it is. The memory is the reader's own again by then: it is spoiled. */
const ahead = async (
  chunks: ReadonlyArray<Uint8Array>,
  options: ReadAheadDecoderOptions
): Promise<Outcome & { readonly starts: number }> => {
  const decoder = new ReadAheadDecoder(options)
  const runs: Array<Run> = []
  let error: unknown
  let next = 0
  let starts = 0
  let lent = new Uint8Array(0)
  try {
    do {
      const wanted = decoder.wants
      if (wanted === "start") {
        next = 0
        starts += 1
      }
      if (wanted !== undefined) {
        if (decoder.container !== undefined) lent.fill(0xee)
        lent = chunks[next]?.slice() ?? lent
        if (next < chunks.length) decoder.push(lent)
        else decoder.end()
        next += 1
      }
      for (let block = decoder.take(); block !== undefined; block = decoder.take()) add(runs, block)
    } while ((await decoder.advance()) || decoder.wants !== undefined)
  } catch (cause) {
    error = cause
  }
  await decoder.close()
  return { runs, container: decoder.container, offset: decoder.offset, error: told(error), starts }
}

/** Everything on the pool, in buffers so small that one is always full. */
const eager = { bufferBytes: 4096, leastAsideBytes: 0, aheadBytes: 5000 } as const

/** How often an input was read again from its start. */
let repeated = 0

const same = async (
  chunks: ReadonlyArray<Uint8Array>,
  what: string,
  options: ReadAheadDecoderOptions = {}
): Promise<Outcome> => {
  const expected = inStep(chunks, { ...eager, ...options })
  const { starts, ...seen } = await ahead(chunks, { ...eager, ...options })
  assert.deepStrictEqual(seen, expected, what)
  assert.isAtMost(starts, expected.error === undefined ? 0 : 1, what)
  repeated += starts
  return expected
}

const trades = (count: number): Array<DbnRecord> =>
  Array.from({ length: count }, (_, i) =>
    blankRecord("trade", { sequence: i, price: BigInt((i * 2654435761) >>> 3), tsEvent: BigInt(i) })
  )

const stream = (count: number, dataset = "TEST"): Uint8Array<ArrayBuffer> =>
  encodeStream({ dataset, schema: "trades" }, trades(count))

const concat = (...parts: ReadonlyArray<Uint8Array>): Uint8Array<ArrayBuffer> =>
  new Uint8Array(Buffer.concat(parts))

const lists = zstdFrame(new Uint8Array(20))
const dbz = (records: number): Uint8Array => {
  const fixed = new Uint8Array(96 + lists.length)
  fixed.set([0x44, 0x42, 0x5a, 1])
  fixed.set(new TextEncoder().encode("TEST"), 4)
  fixed.set(lists, 96)
  return concat(
    skippableFrame(fixed),
    zstdFrame(stream(records).subarray(encodeMetadata({ dataset: "TEST", schema: "trades" }).length))
  )
}

const raw = stream(700)
/** One input of every kind. */
const inputs: { readonly [name: string]: Uint8Array } = {
  raw,
  nothing: new Uint8Array(0),
  "one frame": zstdFrame(raw),
  "one frame with a checksum": zstdFrame(raw, { checksum: true }),
  "four frames": concat(
    ...[
      raw.subarray(0, 50),
      raw.subarray(50, 20_011),
      raw.subarray(20_011, 20_012),
      raw.subarray(20_012)
    ].map((part) => zstdFrame(part, { checksum: true }))
  ),
  "skippable frames": concat(
    skippableFrame(new Uint8Array(3)),
    zstdFrame(raw.subarray(0, 10_000)),
    skippableFrame(new TextEncoder().encode("a seek table")),
    skippableFrame(new Uint8Array(0)),
    zstdFrame(raw.subarray(10_000))
  ),
  "streams joined": concat(
    zstdFrame(stream(200)),
    zstdFrame(stream(0, "TWO")),
    zstdFrame(stream(150, "SIX"))
  ),
  dbz: dbz(300),
  "dbz joined": concat(dbz(20), dbz(0), dbz(30)),
  "dbz within a stream": concat(zstdFrame(raw.subarray(0, 1000)), dbz(5)),
  "not DBN": zstdFrame(new TextEncoder().encode("symbol,price,size\n".repeat(2000))),
  "zstd within zstd": zstdFrame(zstdFrame(raw)),
  "something appended": concat(zstdFrame(raw), new TextEncoder().encode("hello world")),
  "a window too large": Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xf8, 1, 0, 0),
  "a dictionary": Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 0x01, 0x00, 7, 1, 0, 0),
  "gigabytes of zeros": concat(
    zstdFrame(encodeMetadata({ dataset: "X" })),
    zstdFrame(new Uint8Array(1 << 22))
  )
}

const patience = 120_000

describe("reading ahead gives the blocks, metadata and errors of reading in step", () => {
  it("for every kind of input", { timeout: patience }, async () => {
    for (const [name, bytes] of Object.entries(inputs)) {
      for (const aheadBytes of [1, 48, 4096, 131_072])
        if (aheadBytes > 1 || bytes.length < 3000)
          await same([bytes], `${name}, ${aheadBytes}`, { aheadBytes })
      await same([bytes], `${name}, small blocks on this thread`, { leastAsideBytes: 64 })
      const halves = [
        bytes.subarray(0, bytes.length >> 1),
        new Uint8Array(0),
        bytes.subarray(bytes.length >> 1)
      ]
      await same(halves, `${name}, in halves`)
    }
  })

  it("for limits that an input exceeds", async () => {
    for (const limit of [{ maxWindowBytes: 1024 }, { maxMetadataBytes: 10 }, { upgrade: 2 }] as const)
      for (const [name, bytes] of Object.entries(inputs))
        await same([bytes], `${name}, ${JSON.stringify(limit)}`, limit)
  })

  it("for inputs cut short anywhere", { timeout: patience }, async () => {
    const reasons = new Set<unknown>()
    for (const [name, bytes] of Object.entries(inputs)) {
      const cuts = new Set([0, 1, 2, 3, 4, 5, 8, 9, 12, 13])
      for (let i = 1; i < 40; i++) cuts.add(Math.floor((bytes.length * i) / 40)).add(bytes.length - i)
      for (const cut of cuts)
        if (cut >= 0 && cut < bytes.length) {
          const { error } = await same([bytes.subarray(0, cut)], `${name}, cut at ${cut}`)
          reasons.add((error as { readonly reason?: string } | undefined)?.reason)
        }
    }
    for (const reason of [undefined, "truncated", "empty", "not-dbn"])
      assert.isTrue(reasons.has(reason), `${reason}`)
  })

  it("for inputs damaged anywhere", { timeout: patience }, async () => {
    let corrupt = 0
    for (const [name, bytes] of Object.entries(inputs))
      for (let i = 0; i < 60; i++) {
        const at = i < 20 ? i : Math.floor((bytes.length * (i - 20)) / 40)
        if (at >= bytes.length) continue
        const damaged = bytes.slice()
        damaged[at]! ^= 1 << (i % 8)
        const { error } = await same([damaged], `${name}, bit ${i % 8} of byte ${at}`)
        if ((error as { readonly reason?: string } | undefined)?.reason === "corrupt") corrupt += 1
      }
    assert.isAbove(corrupt, 100)
    assert.isAbove(repeated, 100)
  })

  it("for whole blocks in front of damage, also where many are decompressed in one trip", async () => {
    // Five blocks of 128 KiB: the checksum breaks, or one of them.
    const big = zstdFrame(stream(12_000), { checksum: true })
    assert.isAbove(big.length, 50_000)
    for (const at of [big.length - 1, big.length - 5000, big.length >> 1, 100]) {
      const damaged = big.slice()
      damaged[at]! ^= 4
      for (const options of [
        {},
        { aheadBytes: undefined, leastAsideBytes: undefined, bufferBytes: undefined }
      ]) {
        const before = repeated
        const { error, runs } = await same([damaged], `byte ${at}`, options)
        assert.isDefined(error)
        assert.strictEqual(repeated, before + 1)
        if (at > 5000) assert.isAbove(runs[0]!.length, 1000)
      }
    }
  })

  it("split at every byte, and into single bytes", { timeout: patience }, async () => {
    const small = concat(
      skippableFrame(new Uint8Array(2)),
      zstdFrame(stream(3), { checksum: true }),
      zstdFrame(stream(2, "TWO"))
    )
    const whole = await same([small], "whole")
    assert.deepStrictEqual(
      whole.runs.map(({ length }) => length),
      [3, 2]
    )
    for (const bytes of [small, dbz(2)]) {
      for (let at = 0; at <= bytes.length; at++)
        await same([bytes.subarray(0, at), bytes.subarray(at)], `split at ${at}`)
      await same(
        Array.from(bytes, (byte) => Uint8Array.of(byte)),
        "single bytes"
      )
    }
  })

  it("for every vendor file, whole, cut and damaged", { timeout: patience }, async (context) => {
    if (skipReason !== undefined) return context.skip(skipReason)
    for (const { name, bytes, options } of vendorFiles) {
      for (const upgrade of [undefined, 3] as const) await same([bytes], name, { ...options, upgrade })
      await same([bytes], `${name}, not as a fragment`)
      for (let i = 1; i <= 16; i++) {
        const at = Math.floor((bytes.length * i) / 17)
        await same([bytes.subarray(0, at)], `${name}, cut at ${at}`, options)
        const damaged = bytes.slice()
        damaged[at]! ^= 1 << (i % 8)
        await same([damaged.subarray(0, 99), damaged.subarray(99)], `${name}, damaged at ${at}`, options)
      }
    }
  })
})

interface Native {
  write: ((...args: Array<unknown>) => void) | undefined
}
const native = (): Native => {
  const probe = createZstdDecompress() as unknown as { readonly _handle: Native; close(): void }
  const prototype = Object.getPrototypeOf(probe._handle) as Native
  probe.close()
  return prototype
}

/** Runs with a native `write` of one's own. */
const withWrite = async (write: Native["write"], body: () => Promise<void>): Promise<void> => {
  const prototype = native()
  const original = prototype.write
  assert.isFunction(original)
  prototype.write = write
  try {
    await body()
  } finally {
    prototype.write = original
  }
}

/** Counts writes on the pool while `body` runs. */
const counting = async (body: (writes: () => number) => Promise<void>): Promise<void> => {
  const original = native().write!
  let writes = 0
  await withWrite(
    function (this: unknown, ...args) {
      writes += 1
      original.apply(this, args)
    },
    () => body(() => writes)
  )
}

describe("work is shared", () => {
  const raw20k = stream(20_000)
  const big = zstdFrame(raw20k)

  it("so that the next buffer is on its way before the last one is decoded", async () => {
    await counting(async (writes) => {
      const decoder = new ReadAheadDecoder()
      assert.strictEqual(decoder.wants, "more")
      decoder.push(big)
      assert.strictEqual(writes(), 1)
      assert.isUndefined(decoder.take())
      assert.isTrue(await decoder.advance())
      assert.isUndefined(decoder.wants)
      // The last 436 KiB of 960,128 bytes.
      assert.strictEqual(writes(), 2)
      let records = 0
      const drain = (): void => {
        for (let block = decoder.take(); block !== undefined; block = decoder.take()) records += block.length
      }
      drain()
      assert.strictEqual(records, Math.floor((512 * 1024 - 128) / 48))
      assert.isTrue(await decoder.advance())
      assert.strictEqual(decoder.wants, "more")
      decoder.end()
      drain()
      assert.strictEqual(records, 20_000)
      while (await decoder.advance()) assert.isUndefined(decoder.take())
      assert.isUndefined(decoder.wants)
      assert.strictEqual(writes(), 2)
      assert.throws(() => decoder.push(big), /push after end/)
      await decoder.close()
    })
  })

  it("so that the tiny blocks of a live capture stay on this thread", async () => {
    await counting(async (writes) => {
      const encoder = new ZstdEncoder()
      const blocks = [
        encodeMetadata({ dataset: "LIVE" }),
        ...trades(50).map((record) => encodeRecord(record, { version: 3 }))
      ]
      const bytes = blocks.map((block) => concat(encoder.push(block), encoder.flush()))
      encoder.close()
      const { runs, error } = await ahead(bytes, {})
      assert.strictEqual(runs[0]?.length, 50)
      assert.include(JSON.stringify(error), "ends inside a zstd frame")
      assert.strictEqual(writes(), 0)
    })
  })

  it("only where Node has the means: without them all happens on this thread", async () => {
    await withWrite(undefined, async () => {
      for (const [name, bytes] of Object.entries(inputs)) await same([bytes], name)
    })
  })

  it("and raw input needs no waiting", async () => {
    const decoder = new ReadAheadDecoder()
    decoder.push(raw)
    assert.strictEqual(decoder.take()?.metadata?.dataset, "TEST")
    assert.strictEqual(decoder.take()?.length, 700)
    assert.isUndefined(decoder.take())
    assert.isFalse(await decoder.advance())
    assert.strictEqual(decoder.wants, "more")
    await decoder.close()
  })

  it("and damage that is not looked at again is no end", async () => {
    const damaged = zstdFrame(raw20k, { checksum: true })
    damaged[damaged.length - 1]! ^= 1
    const decoder = new ReadAheadDecoder()
    decoder.push(damaged)
    decoder.end()
    do while (decoder.take() !== undefined);
    while (await decoder.advance())
    assert.strictEqual(decoder.wants, "start")
    // What follows instead of the start is taken for the start.
    decoder.push(damaged.subarray(1000))
    await decoder.advance()
    assert.throws(() => decoder.take(), /begin no zstd frame/)
    await decoder.close()
  })
})

/** Collects garbage for real. */
const collect = (): void => {
  setFlagsFromString("--expose-gc")
  ;(runInNewContext("gc") as () => void)()
}

describe("leaving in the middle", () => {
  const big = zstdFrame(stream(30_000))
  const plenty = { timeout: patience }

  it("is safe at every block, and frees the decompressor", plenty, async () => {
    collect()
    const before = process.memoryUsage().external
    for (let round = 0; round < 400; round++) {
      const decoder = new ReadAheadDecoder(round % 2 === 0 ? {} : eager)
      const lent = big.slice()
      decoder.push(lent)
      let blocks = 0
      do while (blocks < round % 24 && decoder.take() !== undefined) blocks += 1
      while (blocks < round % 24 && (await decoder.advance()))
      await decoder.close()
      lent.fill(0xee)
      if (round % 100 === 0) collect()
    }
    await sleep(1)
    collect()
    // A decompressor of this frame has some 2 MiB: 400 of them would be seen.
    assert.isBelow(process.memoryUsage().external - before, 100 * 1024 * 1024)
  })

  it("of a wait is safe: the promise of `close` outlasts the other thread", plenty, async () => {
    for (let round = 0; round < 400; round++) {
      const decoder = new ReadAheadDecoder({ leastAsideBytes: 0, aheadBytes: 1 << 16 })
      const lent = big.slice()
      decoder.push(lent)
      for (let n = round % 5; n > 0; n--) {
        while (decoder.take() !== undefined);
        await decoder.advance()
      }
      while (decoder.take() !== undefined);
      const waiting = decoder.advance()
      if (round % 3 === 0) await sleep(0)
      const closing = decoder.close()
      if (round % 2 === 0) await decoder.close()
      await Promise.all([waiting, closing])
      lent.fill(0xee)
      assert.isFalse(await decoder.advance())
      if (round % 50 === 0) collect()
    }
  })

  it("without closing leaves nothing behind", plenty, async () => {
    collect()
    const before = process.memoryUsage().external
    for (let round = 0; round < 200; round++) {
      const decoder = new ReadAheadDecoder()
      decoder.push(big)
      decoder.take()
      await decoder.advance()
      if (round % 20 === 0) collect()
    }
    await sleep(20)
    collect()
    await sleep(1)
    collect()
    assert.isBelow(process.memoryUsage().external - before, 100 * 1024 * 1024)
  })

  it("of damaged input is safe, too", plenty, async () => {
    const damaged = big.slice()
    damaged.fill(0xff, 200, 60_000)
    for (let round = 0; round < 200; round++) {
      const decoder = new ReadAheadDecoder({ leastAsideBytes: 0 })
      decoder.push(damaged)
      decoder.take()
      const waiting = decoder.advance()
      const closing = round % 2 === 0 ? decoder.close() : undefined
      await waiting
      await (closing ?? decoder.close())
    }
  })
})

describe("a native write on the pool", () => {
  const frame = zstdFrame(stream(2000))

  it("keeps its context until it is over, and admits no second one", async () => {
    const handle = ZstdHandle.decompressor(27)
    const out = new Uint8Array(200_000)
    const flight = handle.writeAside(Continue, frame, 0, frame.length, out, 0, out.length)
    assert.match((await handle.writeAside(Continue, frame, 0, 1, out, 0, 1)) ?? "", /order/)
    assert.match(handle.write(Continue, frame, 0, 1, out, 0, 1) ?? "", /order/)
    handle.close()
    assert.isUndefined(await flight)
    assert.deepStrictEqual(out.subarray(0, out.length - handle.outputLeft), stream(2000))
    assert.match((await handle.writeAside(Continue, frame, 0, 1, out, 0, 1)) ?? "", /order/)
    handle.close()
  })

  it("refuses ranges outside its arrays, and tells the library's complaints", async () => {
    const handle = ZstdHandle.decompressor(27)
    const out = new Uint8Array(10)
    assert.match((await handle.writeAside(Continue, frame, 0, frame.length + 1, out, 0, 10)) ?? "", /range/)
    assert.match((await handle.writeAside(Continue, frame, 0, frame.length, out, 5, 11)) ?? "", /range/)
    const noise = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8)
    const complaint = await handle.writeAside(Continue, noise, 0, 8, out, 0, 10)
    const inStepHandle = ZstdHandle.decompressor(27)
    assert.strictEqual(complaint, inStepHandle.write(Continue, noise, 0, 8, out, 0, 10))
    assert.isString(complaint)
    handle.close()
    inStepHandle.close()
    assert.strictEqual(zlib.ZSTD_e_continue, Continue)
  })
})
