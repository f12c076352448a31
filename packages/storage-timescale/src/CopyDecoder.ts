/**
 * PostgreSQL's binary COPY format, read into rows: bytes cut anywhere go in, a row decoder sees whole rows.
 *
 *     | "PGCOPY\n\xff\r\n\0" | flags (u32) | extension length (u32) | extension |
 *     | fields (i16) | field length (i32, -1 = NULL) | field bytes | ... |        one such row after another
 *     | -1 (i16) |                                                                the end
 *
 * Everything is big-endian (PostgreSQL documentation, COPY, "Binary Format"). The decoder trusts nothing: a count, length
 * or order that does not fit ends the read with a `CopyFormatError`, and no length field makes it allocate.
 */
import type { CopySink } from "./CopyOut.ts"

/** Bytes that are not the COPY that was asked for, with the place where that showed. */
export class CopyFormatError extends Error {
  override readonly name = "CopyFormatError"
}

/** Turns one row into columns. */
export interface RowDecoder {
  /** Number of fields of a row. */
  readonly fields: number
  /**
   * Decodes one row: `at` stands on the length of its first field. All of it lies in `bytes`; each field's length has
   * been found to stay within the row. Throws where a field has another width than its column.
   */
  readonly decode: (bytes: DataView, at: number) => void
}

/** Largest row that is accepted, in bytes; the largest that the store writes is a book of ten levels, about 2 KB. */
export const MaxRowBytes = 1 << 20

const signature = [0x50, 0x47, 0x43, 0x4f, 0x50, 0x59, 0x0a, 0xff, 0x0d, 0x0a, 0x00]
const HeaderBytes = signature.length + 8
/** A flag bit from 16 on changes the format; bit 16 would put row ids before the fields. */
const CriticalFlags = 0xffff0000

type State = "header" | "extension" | "rows" | "end"

/** Cuts the bytes of a COPY into rows. One decoder reads one COPY. */
export class CopyDecoder implements CopySink {
  readonly #rows: RowDecoder
  #state: State = "header"
  /** Bytes of header extension still to be skipped. */
  #skip = 0
  /** Bytes of a row (or header) that is not complete yet. */
  #carry = new Uint8Array(4096)
  #carried = 0
  /** Rows decoded so far and bytes consumed before the current piece: for messages. */
  #count = 0
  #offset = 0

  constructor(rows: RowDecoder) {
    this.#rows = rows
  }

  /** Rows decoded so far. */
  get rows(): number {
    return this.#count
  }

  /** The next bytes. */
  write(bytes: DataView, start: number, end: number): void {
    if (this.#carried === 0) {
      const at = this.#read(bytes, start, end)
      if (at < end) this.#keep(bytes, at, end)
      this.#offset += at - start
      return
    }
    const carried = this.#carried
    this.#keep(bytes, start, end)
    const total = carried + (end - start)
    const at = this.#read(new DataView(this.#carry.buffer), 0, total)
    this.#carry.copyWithin(0, at, total)
    this.#carried = total - at
    this.#offset += at
  }

  /** Throws unless the COPY came to its proper end. */
  finish(): void {
    if (this.#state !== "end") throw this.#error("the data stops in the middle of a COPY", 0)
  }

  #keep(bytes: DataView, start: number, end: number): void {
    const length = end - start
    if (this.#carried + length > this.#carry.length) {
      const grown = new Uint8Array(Math.max(this.#carry.length * 2, this.#carried + length))
      grown.set(this.#carry.subarray(0, this.#carried))
      this.#carry = grown
    }
    this.#carry.set(new Uint8Array(bytes.buffer, bytes.byteOffset + start, length), this.#carried)
    this.#carried += length
  }

  /** Consumes what is complete; gives the place of the first byte that is not. */
  #read(bytes: DataView, start: number, end: number): number {
    let at = start
    if (this.#state !== "rows") {
      at = this.#readOutside(bytes, at, end)
      if ((this.#state as State) !== "rows") return at
    }
    const fields = this.#rows.fields
    while (end - at >= 2) {
      const count = bytes.getInt16(at)
      if (count !== fields) {
        if (count !== -1) throw this.#error(`a row has ${count} fields instead of ${fields}`, at - start)
        this.#state = "end"
        return this.#readOutside(bytes, at + 2, end)
      }
      const next = this.#endOfRow(bytes, at, end, start)
      if (next < 0) break
      try {
        this.#rows.decode(bytes, at + 2)
      } catch (error) {
        if (error instanceof CopyFormatError) throw this.#error(error.message, at - start)
        throw error
      }
      this.#count += 1
      at = next
    }
    return at
  }

  /** Place behind the row at `at`, or -1 where it is not complete. */
  #endOfRow(bytes: DataView, at: number, end: number, start: number): number {
    let next = at + 2
    for (let field = this.#rows.fields; field > 0; field--) {
      if (end - next < 4) return -1
      const length = bytes.getInt32(next)
      next += 4
      if (length > 0) next += length
      else if (length < -1) throw this.#error(`a field is ${length} bytes long`, at - start)
      if (next - at > MaxRowBytes) throw this.#error(`a row is longer than ${MaxRowBytes} bytes`, at - start)
    }
    return next <= end ? next : -1
  }

  /** Header and end. */
  #readOutside(bytes: DataView, start: number, end: number): number {
    let at = start
    if (this.#state === "header") {
      for (let i = 0; i < Math.min(signature.length, end - at); i++)
        if (bytes.getUint8(at + i) !== signature[i]) throw this.#error("this is not a binary COPY", 0)
      if (end - at < HeaderBytes) return at
      const flags = bytes.getUint32(at + signature.length)
      if ((flags & CriticalFlags) !== 0)
        throw this.#error(`a COPY of an unknown kind (flags ${flags.toString(16)})`, 0)
      this.#skip = bytes.getUint32(at + signature.length + 4)
      at += HeaderBytes
      this.#state = "extension"
    }
    if (this.#state === "extension") {
      const part = Math.min(this.#skip, end - at)
      this.#skip -= part
      at += part
      if (this.#skip === 0) this.#state = "rows"
    }
    if (this.#state === "end" && at < end) throw this.#error("bytes follow the end of a COPY", at - start)
    return at
  }

  #error(detail: string, at: number): CopyFormatError {
    return new CopyFormatError(
      `reading COPY data: ${detail} (row ${this.#count + 1}, byte ${this.#offset + at})`
    )
  }
}
