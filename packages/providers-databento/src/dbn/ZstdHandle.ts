/**
 * Node's zstd without a stream around it: one call, some bytes in, some bytes out, on this thread.
 *
 * `node:zlib` offers zstd in one shot (a whole frame in memory, and it silently stops after the first frame of a buffer:
 * measured on Node 22.19 and 24.21) and as an asynchronous stream (the same stop, plus a thread hop per chunk). A decoder
 * that is a state machine needs the step in between, which is the native handle that both are made of. Its `writeSync`
 * is not documented but old and widely relied upon; where it is missing, construction fails with a clear error.
 */
import * as zlib from "node:zlib"
import { DbnError } from "./DbnError.ts"

interface NativeHandle {
  writeSync(
    flush: number,
    input: Uint8Array,
    inputOffset: number,
    inputLength: number,
    output: Uint8Array,
    outputOffset: number,
    outputLength: number
  ): void
  onerror: (message: string, errno: number, code: string) => void
}

interface StreamInternals {
  readonly _handle?: Partial<NativeHandle> | null
  readonly _writeState?: Uint32Array
  close(): void
  on(event: "error", listener: () => void): void
}

/** What a write did with its input: keep it, give out what is complete, finish the frame. */
export const Continue = 0
export const Flush = 1
export const End = 2

/** A zstd context of its own memory (up to the window size); `close` frees it at once, otherwise collection does. */
export class ZstdHandle {
  readonly #stream: StreamInternals
  readonly #handle: NativeHandle
  readonly #state: Uint32Array
  #failure: string | undefined
  #closed = false

  private constructor(stream: StreamInternals | undefined) {
    const handle = stream?._handle
    const state = stream?._writeState
    if (
      stream === undefined ||
      handle == null ||
      typeof handle.writeSync !== "function" ||
      !(state instanceof Uint32Array)
    )
      throw new DbnError(
        "unsupported",
        `Node.js ${process.versions.node} does not offer zstd step by step: use Node.js 22.19 or 24, or decompress first (zstd -d)`
      )
    handle.onerror = (message, _errno, code) => {
      this.#failure = code === undefined ? message : `${message} (${code})`
    }
    stream.on("error", () => {})
    this.#stream = stream
    this.#handle = handle as NativeHandle
    this.#state = state
  }

  /** A decompressor that refuses windows above 2^windowLogMax bytes. */
  static decompressor(windowLogMax: number): ZstdHandle {
    const params = { [zlib.constants.ZSTD_d_windowLogMax]: windowLogMax }
    // Absent before Node.js 22.15, where everything but compressed input works all the same.
    const create: typeof zlib.createZstdDecompress | undefined = zlib.createZstdDecompress
    return new ZstdHandle(create?.({ params, chunkSize: 64 }) as StreamInternals | undefined)
  }

  /** A compressor; frames carry a checksum where asked. */
  static compressor(level: number, checksum: boolean): ZstdHandle {
    const params = {
      [zlib.constants.ZSTD_c_compressionLevel]: level,
      [zlib.constants.ZSTD_c_checksumFlag]: checksum ? 1 : 0
    }
    const create: typeof zlib.createZstdCompress | undefined = zlib.createZstdCompress
    return new ZstdHandle(create?.({ params, chunkSize: 64 }) as StreamInternals | undefined)
  }

  /** Input bytes that the last write left over. */
  get inputLeft(): number {
    return this.#state[1] as number
  }

  /** Output bytes that the last write left unused. */
  get outputLeft(): number {
    return this.#state[0] as number
  }

  /**
   * One step: reads `input[inputFrom, inputTo)`, writes into `output[outputFrom, outputTo)`. Returns the library's
   * complaint, undefined when all is well. The ranges must lie inside the arrays.
   */
  write(
    flush: number,
    input: Uint8Array,
    inputFrom: number,
    inputTo: number,
    output: Uint8Array,
    outputFrom: number,
    outputTo: number
  ): string | undefined {
    // The native side aborts the process on ranges outside the arrays: never let one through.
    if (this.#closed || inputFrom < 0 || inputTo < inputFrom || inputTo > input.length)
      return "zstd: internal range error (input)"
    if (outputFrom < 0 || outputTo < outputFrom || outputTo > output.length)
      return "zstd: internal range error (output)"
    this.#handle.writeSync(
      flush,
      input,
      inputFrom,
      inputTo - inputFrom,
      output,
      outputFrom,
      outputTo - outputFrom
    )
    return this.#failure
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#stream.close()
  }
}
