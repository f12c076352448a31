/**
 * Records of version 1 and 2 as records of a later version. Only definitions, statistics and gateway records differ; all
 * others are copied as they are. Driven by the layout tables: fields of one name move to their new place, text fields
 * grow with zeros, 32-bit ids and quantities widen, fields that are new get the value below.
 */
import { cstrText } from "./DbnRecord.ts"
import {
  type DbnVersion,
  type FieldSpec,
  fieldBytes,
  HEADER_BYTES,
  type Layout,
  type LayoutName,
  TS_OUT_BYTES
} from "./Layout.ts"
import { RecordBlock } from "./RecordBlock.ts"
import { layoutOf } from "./Rtype.ts"
import { UNDEF_PRICE, UNDEF_STAT_QUANTITY, UNDEF_STAT_QUANTITY_V1, UNSET_CODE } from "./Sentinel.ts"

/** Values of fields that the old version does not have; zero where none is named. */
const newFields: { readonly [field: string]: bigint | number } = {
  leg_price: UNDEF_PRICE,
  leg_delta: UNDEF_PRICE,
  leg_side: 0x4e, // 'N'
  is_last: 255,
  stype_in: 255,
  stype_out: 255,
  code: UNSET_CODE
}

/** Text of version 1 errors and the codes that later versions give them. */
const errorCode = (text: string): number => {
  if (text === "User or API key deactivated") return 2
  if (text === "User has reached their open connection limit") return 3
  if (text.startsWith("Failed to resolve symbol")) return 4
  if (text === "Internal error") return 6
  if (text.startsWith("Slow client detected for ")) return 7
  return UNSET_CODE
}

const systemCode = (text: string): number => {
  if (text === "Heartbeat") return 0
  if (text.startsWith("Subscription request ") && text.endsWith(" succeeded")) return 1
  if (text.startsWith("Warning: slow reading")) return 2
  if (text.startsWith("Finished ") && text.endsWith(" replay")) return 3
  if (text.startsWith("End of interval for ")) return 4
  return UNSET_CODE
}

type Step = (source: Uint8Array, from: number, target: Uint8Array, view: DataView, to: number) => void

/** How one layout turns into another. */
interface Conversion {
  readonly size: number
  readonly steps: ReadonlyArray<Step>
}

const conversion = (from: Layout, to: Layout): Conversion => {
  const old = new Map(from.fields.map((field) => [field[1], field] as const))
  const steps = to.fields.map((field) => {
    const source = old.get(field[1])
    return source === undefined ? fresh(field) : moved(source, field)
  })
  const inferred = codeStep(from, to)
  return { size: to.size, steps: inferred === undefined ? steps : [...steps, inferred] }
}

const fresh = (field: FieldSpec): Step => {
  const value = newFields[field[1]] ?? 0
  const offset = field[0]
  if (typeof value === "bigint") return (_s, _f, _t, view, to) => view.setBigInt64(to + offset, value, true)
  return (_s, _f, target, _view, to) => {
    target[to + offset] = value
  }
}

const moved = (source: FieldSpec, target: FieldSpec): Step => {
  const [start] = source
  const [offset] = target
  if (target[1] === "quantity" && fieldBytes(source) < 8) return quantity(start, offset)
  // Unsigned ids and texts widen with zeros, which the target memory already holds.
  const length = Math.min(fieldBytes(source), fieldBytes(target))
  return (bytes, from, out, _view, to) => {
    for (let i = 0; i < length; i++) out[to + offset + i] = bytes[from + start + i]!
  }
}

const quantity =
  (start: number, offset: number): Step =>
  (bytes, from, _out, view, to) => {
    const at = from + start
    const value = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)
    view.setBigInt64(
      to + offset,
      value === UNDEF_STAT_QUANTITY_V1 ? UNDEF_STAT_QUANTITY : BigInt(value),
      true
    )
  }

/** Codes of gateway records that version 1 tells in words only. */
const codeStep = (from: Layout, to: Layout): Step | undefined => {
  const infer = from.name === "error_v1" ? errorCode : from.name === "system_v1" ? systemCode : undefined
  const text = from.fields[0]
  const code = to.fields.find((field) => field[1] === "code")
  if (infer === undefined || text === undefined || code === undefined) return undefined
  return (bytes, at, out, _view, to) => {
    out[to + code[0]] = infer(cstrText(bytes, at + text[0], fieldBytes(text)))
  }
}

const conversions = new Map<string, Conversion>()

const conversionOf = (from: Layout, to: Layout): Conversion => {
  const key = `${from.name}>${to.name}` satisfies `${LayoutName}>${LayoutName}`
  const known = conversions.get(key) ?? conversion(from, to)
  conversions.set(key, known)
  return known
}

/** Turns blocks of one version into blocks of a later one. Reuses its memory from block to block. */
export class RecordUpgrade {
  readonly #target: DbnVersion
  readonly #tsOut: boolean
  readonly #conversions: ReadonlyArray<Conversion | undefined>
  #bytes: Uint8Array<ArrayBuffer> = new Uint8Array(new ArrayBuffer(0))
  #words: Int32Array<ArrayBuffer> = new Int32Array(this.#bytes.buffer)
  #view = new DataView(this.#bytes.buffer)

  constructor(from: DbnVersion, target: DbnVersion, tsOut: boolean) {
    this.#target = target
    this.#tsOut = tsOut
    this.#conversions = Array.from({ length: 256 }, (_, rtype) => {
      const old = layoutOf(rtype, from)
      const next = layoutOf(rtype, target)
      return old === undefined || next === undefined || old === next ? undefined : conversionOf(old, next)
    })
  }

  /** The block upgraded: in new memory where a record changes, otherwise in its own. */
  block(init: ConstructorParameters<typeof RecordBlock>[0]): RecordBlock {
    const wanted = this.#wantedBytes(init)
    if (wanted === undefined) return new RecordBlock({ ...init, version: this.#target })
    this.#reserve(wanted)
    let to = 0
    for (let p = init.start; p < init.end; p += init.words[p]! & 0xff) {
      const length = (init.words[p]! & 0xff) * 4
      const convert = this.#conversions[(init.words[p]! >>> 8) & 0xff]
      if (convert === undefined) {
        this.#bytes.set(init.bytes.subarray(p * 4, p * 4 + length), to)
        to += length
      } else to = this.#convert(convert, init.bytes, p * 4, length, to)
    }
    return new RecordBlock({
      ...init,
      bytes: this.#bytes,
      words: this.#words,
      start: 0,
      end: to >>> 2,
      version: this.#target
    })
  }

  /** Bytes of the upgraded block, undefined where no record changes. */
  #wantedBytes(init: ConstructorParameters<typeof RecordBlock>[0]): number | undefined {
    const { words } = init
    const suffix = this.#tsOut ? TS_OUT_BYTES : 0
    let total = 0
    let changes = false
    for (let p = init.start; p < init.end; p += words[p]! & 0xff) {
      const convert = this.#conversions[(words[p]! >>> 8) & 0xff]
      total += convert === undefined ? (words[p]! & 0xff) * 4 : convert.size + suffix
      if (convert !== undefined) changes = true
    }
    return changes ? total : undefined
  }

  #reserve(length: number): void {
    if (length <= this.#bytes.length) return
    this.#bytes = new Uint8Array(new ArrayBuffer(Math.ceil(length / 8) * 8))
    this.#words = new Int32Array(this.#bytes.buffer)
    this.#view = new DataView(this.#bytes.buffer)
  }

  /** Writes one upgraded record at `to`; returns the position behind it. */
  #convert(convert: Conversion, bytes: Uint8Array, from: number, length: number, to: number): number {
    const out = this.#bytes
    const end = to + convert.size + (this.#tsOut ? TS_OUT_BYTES : 0)
    out.fill(0, to, end)
    for (let i = 1; i < HEADER_BYTES; i++) out[to + i] = bytes[from + i]!
    out[to] = (end - to) / 4
    for (const step of convert.steps) step(bytes, from, out, this.#view, to)
    if (this.#tsOut) for (let i = 1; i <= TS_OUT_BYTES; i++) out[end - i] = bytes[from + length - i]!
    return end
  }
}
