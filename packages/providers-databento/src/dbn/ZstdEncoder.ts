/** Bytes as zstd: whole frames for files, or one endless frame flushed piece by piece as the live gateway sends it. */
import { DbnError } from "./DbnError.ts"
import { Continue, End, Flush, ZstdHandle } from "./ZstdHandle.ts"

/** Settings of a compressor. */
export interface ZstdOptions {
  /** 1 (fast) to 19 (small); default 3. */
  readonly level?: number | undefined
  /** Frames end with a checksum of their content; default false. */
  readonly checksum?: boolean | undefined
}

/**
 * A zstd compressor that works piece by piece. `push` may hold bytes back, `flush` gives out everything pushed so far so
 * that a reader can decompress it, `end` finishes the frame; a later `push` begins the next one.
 */
export class ZstdEncoder {
  readonly #handle: ZstdHandle
  readonly #piece = new Uint8Array(64 * 1024)

  constructor(options: ZstdOptions = {}) {
    this.#handle = ZstdHandle.compressor(options.level ?? 3, options.checksum ?? false)
  }

  /** Compresses; returns what is complete, possibly nothing. */
  push(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
    return this.#run(Continue, bytes)
  }

  /** Gives out everything pushed so far, the frame goes on. */
  flush(): Uint8Array<ArrayBuffer> {
    return this.#run(Flush, nothing)
  }

  /** Finishes the frame. */
  end(): Uint8Array<ArrayBuffer> {
    return this.#run(End, nothing)
  }

  /** Frees the compressor at once. */
  close(): void {
    this.#handle.close()
  }

  #run(flush: number, input: Uint8Array): Uint8Array<ArrayBuffer> {
    const piece = this.#piece
    const pieces: Array<Uint8Array> = []
    let from = 0
    let total = 0
    for (;;) {
      const failure = this.#handle.write(flush, input, from, input.length, piece, 0, piece.length)
      if (failure !== undefined) throw new DbnError("usage", `zstd compression failed: ${failure}`)
      from = input.length - this.#handle.inputLeft
      const written = piece.length - this.#handle.outputLeft
      pieces.push(piece.slice(0, written))
      total += written
      // Room left over means that nothing more waits to be written.
      if (from === input.length && written < piece.length) break
    }
    const out = new Uint8Array(total)
    let at = 0
    for (const part of pieces) {
      out.set(part, at)
      at += part.length
    }
    return out
  }
}

const nothing = new Uint8Array(0)

/** Bytes as one zstd frame. */
export const zstdFrame = (bytes: Uint8Array, options: ZstdOptions = {}): Uint8Array<ArrayBuffer> => {
  const encoder = new ZstdEncoder(options)
  try {
    const head = encoder.push(bytes)
    const tail = encoder.end()
    const out = new Uint8Array(head.length + tail.length)
    out.set(head)
    out.set(tail, head.length)
    return out
  } finally {
    encoder.close()
  }
}

/** Chunks as one zstd frame, in bounded memory. */
export function* zstdChunks(
  chunks: Iterable<Uint8Array>,
  options: ZstdOptions = {}
): Generator<Uint8Array<ArrayBuffer>, void, undefined> {
  const encoder = new ZstdEncoder(options)
  try {
    for (const chunk of chunks) {
      const out = encoder.push(chunk)
      if (out.length > 0) yield out
    }
    yield encoder.end()
  } finally {
    encoder.close()
  }
}

/** A skippable frame that holds `content`: readers of zstd step over it. */
export const skippableFrame = (content: Uint8Array): Uint8Array<ArrayBuffer> => {
  const out = new Uint8Array(8 + content.length)
  const view = new DataView(out.buffer)
  view.setUint32(0, 0x184d2a50, true)
  view.setUint32(4, content.length, true)
  out.set(content, 8)
  return out
}
