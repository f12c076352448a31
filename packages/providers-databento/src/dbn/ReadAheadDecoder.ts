/**
 * DBN files: as `DbnDecoder`, but compressed input is decompressed on Node's thread pool, one buffer ahead of the decoding.
 * For input that can be read again from its start, because that is how damage is looked at.
 *
 * @example
 * ```ts
 * const decoder = new ReadAheadDecoder()
 * try {
 *   do {
 *     if (decoder.wants !== undefined) {
 *       if (decoder.wants === "start") position = 0
 *       const { bytesRead } = await file.read(buffer, 0, buffer.length, position)
 *       position += bytesRead
 *       if (bytesRead === 0) decoder.end()
 *       else decoder.push(buffer.subarray(0, bytesRead))
 *     }
 *     for (let block = decoder.take(); block !== undefined; block = decoder.take()) use(block)
 *   } while ((await decoder.advance()) || decoder.wants !== undefined)
 * } finally {
 *   await decoder.close()
 * }
 * ```
 */
import { type Container, DbnDecoder } from "./DbnDecoder.ts"
import { DbnError } from "./DbnError.ts"
import type { DbnMetadata } from "./DbnMetadata.ts"
import type { RecordBlock } from "./RecordBlock.ts"
import type { DecoderOptions } from "./StreamDecoder.ts"
import { type ReadAheadOptions, type WantedInput, ZstdReadAhead } from "./ZstdReadAhead.ts"
import { type ZstdLimits, ZstdSource } from "./ZstdSource.ts"

/** Settings of a decoder that reads ahead. */
export interface ReadAheadDecoderOptions extends DecoderOptions, ReadAheadOptions {}

/**
 * Decoder of one input. Push what it `wants`, take blocks until there are none, `advance`, and so on. Gives the records,
 * metadata and errors of `DbnDecoder`; blocks may be cut elsewhere.
 *
 * Memory: the two buffers of `aheadBytes` beside the decompressor's window. No promise but one per buffer.
 */
export class ReadAheadDecoder {
  readonly #options: ReadAheadDecoderOptions
  readonly #decoder: DbnDecoder
  #ahead: ZstdReadAhead | undefined
  #ending = false
  #ended = false

  constructor(options: ReadAheadDecoderOptions = {}) {
    this.#options = options
    this.#decoder = new DbnDecoder(options, (limits) => this.#openCompressed(limits))
  }

  /** Header of the stream, as stored, once read; of the latest stream where several were joined. */
  get metadata(): DbnMetadata | undefined {
    return this.#decoder.metadata
  }

  /** Container of the input, undefined before it is known. */
  get container(): Container | undefined {
    return this.#decoder.container
  }

  /** Bytes of the DBN stream (after decompression) that were given out. */
  get offset(): number {
    return this.#decoder.offset
  }

  /**
   * Which input to push: `"more"`, what follows; `"start"`, the first bytes of the input, and then all of it once more,
   * because there is damage (nothing is given out twice). Undefined while there is enough to work on.
   */
  get wants(): WantedInput | undefined {
    const wanted = this.#ahead === undefined ? "more" : this.#ahead.wants
    return wanted === "more" && this.#ending ? undefined : wanted
  }

  /**
   * Adds input. The bytes are read in place, by another thread, too: leave them alone until `take` said undefined and
   * `wants` says something, or until `close` is over.
   */
  push(chunk: Uint8Array): void {
    if (this.#ended || (this.#ending && this.wants !== "start"))
      throw new DbnError("usage", "push after end: make a new decoder for other input")
    this.#ending = false
    this.#decoder.push(chunk)
  }

  /** Says that the input is over. Then drain once more. */
  end(): void {
    this.#ending = true
  }

  /**
   * The next whole records, or undefined: then `advance`. Throws `DbnError` when everything whole was given out and the
   * rest is damaged or missing. A block is valid until the next `take` or `advance`.
   */
  take(): RecordBlock | undefined {
    return this.#decoder.take()
  }

  /**
   * Waits, once per buffer, until `take` has something to look at. False where all input was read: push what it `wants`;
   * after `end`, all is given out. Call it after `take` said undefined.
   */
  async advance(): Promise<boolean> {
    if (this.#ended) return false
    if (await this.#ahead?.advance()) return true
    if (!this.#ending || this.#ended || this.wants === "start") return false
    this.#ended = true
    this.#decoder.end()
    return true
  }

  /**
   * Frees the decompressor, where there is one; may be called at any time, also while `advance` waits. The promise is
   * fulfilled once no other thread uses the input. The decoder is not usable afterwards.
   */
  async close(): Promise<void> {
    this.#ending = true
    this.#ended = true
    this.#decoder.close()
    await this.#ahead?.idle()
  }

  #openCompressed(limits: ZstdLimits): ZstdReadAhead | ZstdSource {
    // An input of three bytes in all, which is looked at when it is over.
    if (this.#ended) return new ZstdSource(limits)
    this.#ahead = new ZstdReadAhead(limits, this.#options)
    return this.#ahead
  }
}
