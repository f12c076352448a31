/**
 * DBN of any container: sniffs the first bytes, then decodes. Raw DBN of version 1 to 3, zstd with any number of frames,
 * legacy DBZ, and, where the caller says so, fragments of both.
 *
 * @example
 * ```ts
 * const decoder = new DbnDecoder()
 * for (const chunk of chunks) {
 *   decoder.push(chunk)
 *   for (let block = decoder.take(); block !== undefined; block = decoder.take()) use(block)
 * }
 * decoder.end()
 * for (let block = decoder.take(); block !== undefined; block = decoder.take()) use(block)
 * ```
 */
import { type ByteSource, PlainSource } from "./ByteSource.ts"
import { DbnError } from "./DbnError.ts"
import type { DbnMetadata } from "./DbnMetadata.ts"
import type { RecordBlock } from "./RecordBlock.ts"
import {
  DEFAULT_MAX_METADATA_BYTES,
  DEFAULT_MAX_WINDOW_BYTES,
  type DecoderOptions,
  StreamDecoder
} from "./StreamDecoder.ts"
import { isSkippable, ZSTD_MAGIC } from "./ZstdFrame.ts"
import { ZstdSource } from "./ZstdSource.ts"

/** How the input is wrapped. */
export type Container = "raw" | "zstd" | "dbz"

/** The container that the first four bytes tell; DBZ cannot yet be told from a zstd file with a skippable frame. */
const isCompressed = (word: number): boolean => word === ZSTD_MAGIC || isSkippable(word)

/** Whether an input of two or three bytes in all is the beginning of compressed data. */
const beginsCompressed = (lead: Uint8Array): boolean => {
  if (lead.length < 2) return false
  const bytes = [0x28, 0xb5, 0x2f]
  const isFrame = lead.every((byte, i) => byte === bytes[i])
  return isFrame || ((lead[0]! & 0xf0) === 0x50 && lead[1] === 0x2a)
}

/**
 * Decoder of one input. A pure state machine: no I/O, no time, no promise. Push bytes split anywhere, take blocks until
 * there are none, `end` when the input is over and take the rest: that call throws where the input was incomplete.
 */
export class DbnDecoder {
  readonly #options: DecoderOptions
  #lead = new Uint8Array(0)
  #source: ByteSource | undefined
  #stream: StreamDecoder | undefined
  #compressed = false
  #ended = false

  constructor(options: DecoderOptions = {}) {
    this.#options = options
  }

  /** Header of the stream, as stored, once read; of the latest stream where several were joined. */
  get metadata(): DbnMetadata | undefined {
    return this.#stream?.metadata
  }

  /** Container of the input, undefined before it is known. */
  get container(): Container | undefined {
    if (this.#stream === undefined) return undefined
    if (this.metadata?.version === 0) return "dbz"
    return this.#compressed ? "zstd" : "raw"
  }

  /** Bytes of the DBN stream (after decompression) that were given out. */
  get offset(): number {
    return this.#stream?.offset ?? 0
  }

  /**
   * Adds input. The bytes are read in place, so leave them alone until `take` returned undefined. Does no decoding, so
   * memory grows with what is pushed and not taken.
   */
  push(chunk: Uint8Array): void {
    if (this.#ended) throw new DbnError("usage", "push after end: make a new decoder for other input")
    if (this.#source !== undefined) this.#source.push(chunk)
    else this.#sniff(chunk)
  }

  /** Says that the input is over. */
  end(): void {
    if (this.#ended) return
    this.#ended = true
    if (this.#stream === undefined) this.#open(this.#lead, beginsCompressed(this.#lead))
    this.#source?.end()
    this.#stream?.end()
  }

  /**
   * The next whole records, or undefined: then push more, or, after `end`, the input was complete and is all read. Throws
   * `DbnError` when everything whole was given out and the rest is damaged or missing. A block is valid until the next
   * `take`.
   */
  take(): RecordBlock | undefined {
    return this.#stream?.take()
  }

  /** Frees the decompressor at once, where there is one. The decoder is not usable afterwards. */
  close(): void {
    this.#ended = true
    this.#source?.close()
  }

  /** Collects four bytes, then chooses the source. */
  #sniff(chunk: Uint8Array): void {
    const all = this.#lead.length === 0 ? chunk : concat(this.#lead, chunk)
    if (all.length < 4) {
      this.#lead = all.slice()
      return
    }
    const word = (all[0]! | (all[1]! << 8) | (all[2]! << 16) | (all[3]! << 24)) >>> 0
    this.#open(all, isCompressed(word))
  }

  #open(input: Uint8Array, compressed: boolean): void {
    const { maxMetadataBytes = DEFAULT_MAX_METADATA_BYTES, maxWindowBytes = DEFAULT_MAX_WINDOW_BYTES } =
      this.#options
    this.#compressed = compressed
    this.#source = compressed ? new ZstdSource({ maxMetadataBytes, maxWindowBytes }) : new PlainSource()
    this.#source.push(input)
    this.#stream = new StreamDecoder(this.#source, this.#options)
  }
}

const concat = (a: Uint8Array, b: Uint8Array): Uint8Array<ArrayBuffer> => {
  const out = new Uint8Array(a.length + b.length)
  out.set(a)
  out.set(b, a.length)
  return out
}

/**
 * Blocks of an input given as chunks. Each block is valid until the next one is asked for. Throws `DbnError` as `take`
 * does.
 */
export function* decodeBlocks(
  chunks: Iterable<Uint8Array>,
  options: DecoderOptions = {}
): Generator<RecordBlock, void, undefined> {
  const decoder = new DbnDecoder(options)
  try {
    for (const chunk of chunks) {
      decoder.push(chunk)
      for (let block = decoder.take(); block !== undefined; block = decoder.take()) yield block
    }
    decoder.end()
    for (let block = decoder.take(); block !== undefined; block = decoder.take()) yield block
  } finally {
    decoder.close()
  }
}

/** The same for chunks that arrive over time: a file or HTTP stream. */
export async function* decodeBlocksAsync(
  chunks: AsyncIterable<Uint8Array>,
  options: DecoderOptions = {}
): AsyncGenerator<RecordBlock, void, undefined> {
  const decoder = new DbnDecoder(options)
  try {
    for await (const chunk of chunks) {
      decoder.push(chunk)
      for (let block = decoder.take(); block !== undefined; block = decoder.take()) yield block
    }
    decoder.end()
    for (let block = decoder.take(); block !== undefined; block = decoder.take()) yield block
  } finally {
    decoder.close()
  }
}
