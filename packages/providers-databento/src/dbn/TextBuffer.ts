/**
 * ASCII output for large files: numbers, decimals and times are written as digits into one growing byte array, 64-bit
 * values straight from their 32-bit words, without strings or bigints in between.
 */
import { civilFromDays } from "./IsoDate.ts"

const ZERO = 0x30
/** "000" to "999". */
const triples = Uint8Array.from(
  { length: 3000 },
  (_, i) => ZERO + (Math.floor(Math.floor(i / 3) / [100, 10, 1][i % 3]!) % 10)
)
const hexDigits = Uint8Array.from("0123456789abcdef", (c) => c.charCodeAt(0))
const isoTemplate = Uint8Array.from("0000-00-00T00:00:00.000000000Z", (c) => c.charCodeAt(0))
const BILLION = 1_000_000_000

/** Bytes that a single write may need beyond the text it is given. */
const SLACK = 64

/** A growing byte array with a write position. */
export class TextBuffer {
  bytes: Uint8Array<ArrayBuffer>
  at = 0
  /** Quotient by 10^9 of the last `split`, at most 18446744073. */
  #high = 0
  #isoDay = -1
  readonly #isoDate = new Uint8Array(10)

  constructor(capacity = 64 * 1024) {
    this.bytes = new Uint8Array(new ArrayBuffer(Math.max(SLACK, capacity)))
  }

  /** What was written since the last `clear`: a view of this buffer's memory. */
  text(): Uint8Array<ArrayBuffer> {
    return this.bytes.subarray(0, this.at)
  }

  clear(): void {
    this.at = 0
  }

  /** Makes room for `length` more bytes; the writes below do not check. */
  reserve(length: number): void {
    if (this.at + length + SLACK <= this.bytes.length) return
    const grown = new Uint8Array(new ArrayBuffer(Math.max(this.at + length + SLACK, this.bytes.length * 2)))
    grown.set(this.text())
    this.bytes = grown
  }

  byte(value: number): void {
    this.bytes[this.at++] = value
  }

  ascii(text: Uint8Array): void {
    const { bytes } = this
    let { at } = this
    for (let i = 0; i < text.length; i++) bytes[at++] = text[i]!
    this.at = at
  }

  /** A non-negative integer below 2^53 in decimal. */
  uint(value: number): void {
    if (value < 10) {
      this.bytes[this.at++] = ZERO + value
      return
    }
    let length = 2
    for (let bound = 100; value >= bound; bound *= 10) length++
    let position = this.at + length
    this.at = position
    let rest = value
    while (rest >= 1000) {
      const next = Math.floor(rest / 1000)
      const triple = (rest - next * 1000) * 3
      this.bytes[--position] = triples[triple + 2]!
      this.bytes[--position] = triples[triple + 1]!
      this.bytes[--position] = triples[triple]!
      rest = next
    }
    this.bytes[--position] = triples[rest * 3 + 2]!
    if (rest >= 10) this.bytes[--position] = triples[rest * 3 + 1]!
    if (rest >= 100) this.bytes[--position] = triples[rest * 3]!
  }

  /** A signed integer of at most 53 bits. */
  int(value: number): void {
    if (value < 0) {
      this.bytes[this.at++] = 0x2d
      this.uint(-value)
    } else this.uint(value)
  }

  /** An unsigned 64-bit integer from its words. */
  uint64(low: number, high: number): void {
    if (high >>> 0 < 0x200000) {
      this.uint((high >>> 0) * 4294967296 + (low >>> 0))
      return
    }
    const rest = this.#split(low, high)
    this.uint(this.#high)
    this.#nine(rest)
  }

  /** A signed 64-bit integer from its words. */
  int64(low: number, high: number): void {
    if (high < 0) {
      this.bytes[this.at++] = 0x2d
      // Two's complement; the negation of the smallest value is itself, read as unsigned.
      this.uint64(-low | 0, (low === 0 ? -high : ~high) | 0)
    } else this.uint64(low, high)
  }

  /** A signed count of 1e-9 with nine decimals: `-37.630000000`. */
  nanos(low: number, high: number): void {
    let l = low
    let h = high
    if (h < 0) {
      this.bytes[this.at++] = 0x2d
      h = (l === 0 ? -h : ~h) | 0
      l = -l | 0
    }
    const rest = this.#split(l, h)
    this.uint(this.#high)
    this.bytes[this.at++] = 0x2e
    this.#nine(rest)
  }

  /** Nanoseconds since the epoch as `2020-12-28T13:00:00.006001487Z`. */
  iso(low: number, high: number): void {
    const nanos = this.#split(low, high)
    const day = Math.floor(this.#high / 86400)
    const second = this.#high - day * 86400
    if (day !== this.#isoDay) this.#enterDay(day)
    const { bytes, at } = this
    bytes.set(isoTemplate, at)
    bytes.set(this.#isoDate, at)
    this.#two(at + 11, Math.floor(second / 3600))
    this.#two(at + 14, Math.floor(second / 60) % 60)
    this.#two(at + 17, second % 60)
    this.at = at + 20
    this.#nine(nanos)
    this.at = at + 30
  }

  /** Text of a NUL-padded field as the inside of a JSON string; everything beyond ASCII as \uXXXX. */
  jsonText(source: Uint8Array, from: number, length: number): void {
    const end = from + length
    for (let i = from; i < end; i++) {
      const byte = source[i]!
      if (byte === 0) return
      if (byte > 127) {
        this.#jsonUnicode(source, i, end)
        return
      }
      this.jsonChar(byte)
    }
  }

  /** One character (0..65535) inside a JSON string. */
  jsonChar(code: number): void {
    if (code >= 0x20 && code !== 0x22 && code !== 0x5c && code < 0x80) {
      this.bytes[this.at++] = code
      return
    }
    this.bytes[this.at++] = 0x5c
    const short = shortEscape(code)
    if (short !== 0) {
      this.bytes[this.at++] = short
      return
    }
    this.bytes[this.at++] = 0x75
    for (let shift = 12; shift >= 0; shift -= 4) this.bytes[this.at++] = hexDigits[(code >> shift) & 15]!
  }

  /** Bytes as hexadecimal digits. */
  hex(source: Uint8Array, from: number, to: number): void {
    for (let i = from; i < to; i++) {
      this.bytes[this.at++] = hexDigits[source[i]! >> 4]!
      this.bytes[this.at++] = hexDigits[source[i]! & 15]!
    }
  }

  #jsonUnicode(source: Uint8Array, from: number, limit: number): void {
    let end = from
    while (end < limit && source[end] !== 0) end++
    const text = utf8.decode(source.subarray(from, end))
    for (let i = 0; i < text.length; i++) this.jsonChar(text.charCodeAt(i))
  }

  /** value = #high x 10^9 + result, exact for all 64 bits. */
  #split(low: number, high: number): number {
    const h = high >>> 0
    const q0 = Math.floor(h / BILLION)
    const t1 = (h - q0 * BILLION) * 65536 + (low >>> 16)
    const q1 = Math.floor(t1 / BILLION)
    const t2 = (t1 - q1 * BILLION) * 65536 + (low & 0xffff)
    const q2 = Math.floor(t2 / BILLION)
    this.#high = q0 * 4294967296 + q1 * 65536 + q2
    return t2 - q2 * BILLION
  }

  /** Exactly nine digits. */
  #nine(value: number): void {
    const millions = Math.floor(value / 1_000_000)
    const rest = value - millions * 1_000_000
    const thousands = Math.floor(rest / 1000)
    this.#three(millions)
    this.#three(thousands)
    this.#three(rest - thousands * 1000)
  }

  #three(value: number): void {
    const { bytes, at } = this
    bytes[at] = triples[value * 3]!
    bytes[at + 1] = triples[value * 3 + 1]!
    bytes[at + 2] = triples[value * 3 + 2]!
    this.at = at + 3
  }

  #two(at: number, value: number): void {
    this.bytes[at] = triples[value * 3 + 1]!
    this.bytes[at + 1] = triples[value * 3 + 2]!
  }

  #enterDay(day: number): void {
    const [year, month, dayOfMonth] = civilFromDays(day)
    const text = `${String(year).padStart(4, "0")}-${String(month).padStart(2, "0")}-${String(dayOfMonth).padStart(2, "0")}`
    for (let i = 0; i < 10; i++) this.#isoDate[i] = text.charCodeAt(i)
    this.#isoDay = day
  }
}

const utf8 = new TextDecoder()

const shortEscape = (code: number): number => {
  switch (code) {
    case 0x22:
    case 0x5c:
      return code
    case 0x08:
      return 0x62
    case 0x09:
      return 0x74
    case 0x0a:
      return 0x6e
    case 0x0c:
      return 0x66
    case 0x0d:
      return 0x72
    default:
      return 0
  }
}
