/**
 * `COPY ... TO STDOUT` for node-postgres, straight from the socket into a sink.
 *
 * The server sends one message per row:
 *
 *     | 'd' | length (u32, with itself) | bytes of one row |      then 'c' | 4, and the ordinary end of a command
 *
 * The driver's own parser would make an object of each and cost more than decoding the row. So while the COPY runs, this
 * takes the socket's data itself, hands the row bytes of every message to the sink in place, and gives the socket back
 * before the first message that is not part of the COPY's data.
 */
import type { Duplex } from "node:stream"
import type pg from "pg"

/** Takes the bytes of a COPY in order, cut anywhere; it may not keep them after it returns. Throwing fails the COPY. */
export interface CopySink {
  readonly write: (bytes: DataView, start: number, end: number) => void
}

interface DriverConnection {
  readonly stream: Duplex
  readonly query: (text: string) => void
}

type DataListener = (chunk: Uint8Array) => void

const CopyData = 0x64
const CopyDone = 0x63
const CopyOutResponse = 0x48
// Messages that the server may send at any time; the driver deals with them.
const Notice = 0x4e
const Notification = 0x41
const ParameterStatus = 0x53

const HeaderBytes = 5

/** One COPY as a query of the driver: pass it to `client.query`, then await `finished`. */
export class CopyOut implements pg.Submittable {
  readonly statement: string
  /** The number of rows, once the server is ready for the next statement. */
  readonly finished: Promise<number>
  readonly #sink: CopySink
  readonly #resolve: (rows: number) => void
  readonly #reject: (error: unknown) => void
  #stream: Duplex | undefined
  #driver: DataListener | undefined
  #rows = 0
  /** Type of the message being read, and how many of its bytes are still to come. */
  #type = 0
  #remaining = 0
  readonly #header = new Uint8Array(HeaderBytes)
  #headerLength = 0

  constructor(statement: string, sink: CopySink) {
    this.statement = statement
    this.#sink = sink
    let resolve: (rows: number) => void = () => {}
    let reject: (error: unknown) => void = () => {}
    this.finished = new Promise((yes, no) => {
      resolve = yes
      reject = no
    })
    this.#resolve = resolve
    this.#reject = reject
    this.finished.catch(() => {})
  }

  /** Called by the driver when the connection is this query's. */
  submit(connection: pg.Connection): Error | undefined {
    const { stream } = connection as unknown as DriverConnection
    const listeners = stream.listeners("data") as Array<DataListener>
    const [driver] = listeners
    if (driver === undefined || listeners.length !== 1)
      return new Error("the connection's data goes to more than one place: COPY cannot take it over")
    this.#stream = stream
    this.#driver = driver
    stream.removeListener("data", driver)
    stream.on("data", this.#onData)
    ;(connection as unknown as DriverConnection).query(this.statement)
    return undefined
  }

  readonly #onData: DataListener = (chunk) => {
    try {
      this.#read(chunk, new DataView(chunk.buffer, chunk.byteOffset, chunk.byteLength))
    } catch (error) {
      // The rest of the COPY has no reader any more. The session is of no further use; its owner destroys it.
      this.#stream?.removeListener("data", this.#onData)
      this.#stream?.pause()
      this.#reject(error)
    }
  }

  #read(chunk: Uint8Array, bytes: DataView): void {
    const end = chunk.length
    let at = 0
    while (at < end) {
      if (this.#remaining === 0) {
        if (chunk[at] === CopyData && this.#headerLength === 0 && end - at >= HeaderBytes) {
          this.#type = CopyData
          this.#remaining = bodyLength(bytes.getUint32(at + 1))
          at += HeaderBytes
        } else {
          at = this.#collectHeader(chunk, at)
          if (this.#headerLength < HeaderBytes) return
          this.#headerLength = 0
          if (!this.#begin(chunk, at)) return
        }
        continue
      }
      const part = Math.min(this.#remaining, end - at)
      if (this.#type === CopyData) this.#sink.write(bytes, at, at + part)
      else if (this.#type !== CopyOutResponse) this.#driver?.(chunk.subarray(at, at + part))
      this.#remaining -= part
      at += part
    }
  }

  /** Gathers a header that may be cut by the end of a chunk; gives the place behind what it took. */
  #collectHeader(chunk: Uint8Array, at: number): number {
    const part = Math.min(HeaderBytes - this.#headerLength, chunk.length - at)
    this.#header.set(chunk.subarray(at, at + part), this.#headerLength)
    this.#headerLength += part
    return at + part
  }

  /** Starts the message whose header was gathered. False where the socket is the driver's again, from `at` on. */
  #begin(chunk: Uint8Array, at: number): boolean {
    this.#type = this.#header[0]!
    this.#remaining = bodyLength(new DataView(this.#header.buffer).getUint32(1))
    switch (this.#type) {
      case CopyData:
      case CopyOutResponse:
        return true
      case Notice:
      case Notification:
      case ParameterStatus:
        this.#driver?.(this.#header.slice())
        return true
    }
    const driver = this.#driver
    this.#giveBack()
    // An error comes instead of the end of the data: the driver must see all of it.
    if (this.#type !== CopyDone) driver?.(this.#header.slice())
    if (at < chunk.length) driver?.(chunk.subarray(at))
    return false
  }

  #giveBack(): void {
    if (this.#stream === undefined || this.#driver === undefined) return
    this.#stream.removeListener("data", this.#onData)
    this.#stream.on("data", this.#driver)
    this.#stream = undefined
    this.#driver = undefined
  }

  handleError(error: unknown): void {
    this.#giveBack()
    this.#reject(error)
  }

  handleCommandComplete(message: { readonly text?: string }): void {
    this.#rows = Number(/^COPY (\d+)/.exec(message.text ?? "")?.[1] ?? 0)
  }

  handleReadyForQuery(): void {
    this.#resolve(this.#rows)
  }
}

/** Bytes after a header whose length field (which counts itself) is given. */
const bodyLength = (length: number): number => {
  if (length < 4) throw new Error(`a message of the server says it is ${length} bytes long`)
  return length - 4
}
