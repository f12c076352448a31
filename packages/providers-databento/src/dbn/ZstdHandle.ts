/**
 * Node's zstd without a stream around it: one call, some bytes in, some bytes out, on this thread or on one of Node's
 * thread pool.
 *
 * `node:zlib` offers zstd in one shot (a whole frame in memory, and it silently stops after the first frame of a buffer:
 * measured on Node 22.19 and 24.21) and as an asynchronous stream (the same stop, plus a thread hop per chunk). A decoder
 * that is a state machine needs the step in between, which is the native handle that both are made of. Its `writeSync`
 * is not documented but old and widely relied upon; where it is missing, construction fails with a clear error. Where its
 * `write` is missing, everything happens on this thread.
 */
import * as zlib from "node:zlib"
import { DbnError } from "./DbnError.ts"

type NativeWrite = (
  flush: number,
  input: Uint8Array,
  inputOffset: number,
  inputLength: number,
  output: Uint8Array,
  outputOffset: number,
  outputLength: number
) => void

interface NativeHandle {
  writeSync: NativeWrite
  /** On a thread of the pool; ends with `cb` or `onerror`, on this thread. The native side keeps addresses alone. */
  write?: NativeWrite
  cb?: () => void
  onerror: (message: string, errno: number, code: string) => void
}

/** A write on the thread pool: keeps the memory that it works in. */
interface Flight {
  readonly input: Uint8Array
  readonly output: Uint8Array
  readonly land: (failure: string | undefined) => void
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
  #flight: Flight | undefined
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
      this.#land()
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
    const problem = this.#problem(input, inputFrom, inputTo, output, outputFrom, outputTo)
    if (problem !== undefined) return problem
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

  /** Whether `writeAside` is there. */
  get hasPool(): boolean {
    return typeof this.#handle.write === "function"
  }

  /**
   * The same step on a thread of Node's pool. Both arrays belong to it until the promise is fulfilled, and they stay
   * alive until then. One at a time.
   */
  writeAside(
    flush: number,
    input: Uint8Array,
    inputFrom: number,
    inputTo: number,
    output: Uint8Array,
    outputFrom: number,
    outputTo: number
  ): Promise<string | undefined> {
    const problem = this.#problem(input, inputFrom, inputTo, output, outputFrom, outputTo)
    if (problem !== undefined) return Promise.resolve(problem)
    const handle = this.#handle
    if (handle.cb === undefined) {
      // Where its stream is destroyed, Node's callback of `write` calls `cb` and does nothing else. The stream is never
      // used as one, and `close` goes by other marks.
      Object.defineProperty(this.#stream, "destroyed", { value: true })
      handle.cb = () => this.#land()
    }
    return new Promise((land) => {
      this.#flight = { input, output, land }
      handle.write!(flush, input, inputFrom, inputTo - inputFrom, output, outputFrom, outputTo - outputFrom)
    })
  }

  /** Frees the context: at once, or as soon as the write on the thread pool is over. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    if (this.#flight === undefined) this.#stream.close()
  }

  #land(): void {
    const flight = this.#flight
    if (flight === undefined) return
    this.#flight = undefined
    if (this.#closed) this.#stream.close()
    flight.land(this.#failure)
  }

  /** The native side aborts the process on ranges outside the arrays and on a second write: never let one through. */
  #problem(
    input: Uint8Array,
    inputFrom: number,
    inputTo: number,
    output: Uint8Array,
    outputFrom: number,
    outputTo: number
  ): string | undefined {
    if (this.#closed || this.#flight !== undefined) return "zstd: internal order error"
    if (inputFrom < 0 || inputTo < inputFrom || inputTo > input.length)
      return "zstd: internal range error (input)"
    if (outputFrom < 0 || outputTo < outputFrom || outputTo > output.length)
      return "zstd: internal range error (output)"
    return undefined
  }
}
