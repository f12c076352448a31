/**
 * Records of one schema in memory, encoded once and sent many times: version 3 without ts_out, in the order of their index
 * time (ts_recv where the struct has it, otherwise ts_event). Costs the bytes of the records and 16 bytes each.
 */
import { decodeRecord } from "../dbn/DbnRecord.ts"
import type { KnownSchema } from "../dbn/DbnSchema.ts"
import { type DbnVersion, MAX_RECORD_BYTES, TS_OUT_BYTES } from "../dbn/Layout.ts"
import { RecordBlock } from "../dbn/RecordBlock.ts"
import { writeRecord } from "../dbn/RecordEncoder.ts"
import { layoutOf, rtypeOfSchema } from "../dbn/Rtype.ts"
import { indexTimeWords } from "../dbn/SymbolMap.ts"
import { downgraded } from "./RecordDowngrade.ts"

/** What a table is made of. */
interface TableInit {
  readonly schema: KnownSchema
  readonly version: DbnVersion
  readonly bytes: Uint8Array<ArrayBuffer>
  readonly offsets: Uint32Array
  readonly ids: Uint32Array
  readonly times: BigUint64Array
}

/** Records back to back. Row `r` is `bytes[offsets[r], offsets[r + 1])`. Not to be written to. */
export class RecordTable {
  readonly schema: KnownSchema
  /** Version whose layout the records have. */
  readonly version: DbnVersion
  readonly bytes: Uint8Array<ArrayBuffer>
  readonly offsets: Uint32Array
  /** Instrument id by row. */
  readonly ids: Uint32Array
  /** Index time by row, ns since the epoch, ascending. */
  readonly times: BigUint64Array
  readonly #words: Int32Array<ArrayBuffer>
  readonly #versions = new Map<DbnVersion, RecordTable>()

  constructor(init: TableInit) {
    this.schema = init.schema
    this.version = init.version
    this.bytes = init.bytes
    this.offsets = init.offsets
    this.ids = init.ids
    this.times = init.times
    this.#words = new Int32Array(init.bytes.buffer, 0, init.bytes.length / 4)
    this.#versions.set(init.version, this)
  }

  /** Number of records. */
  get length(): number {
    return this.ids.length
  }

  /** ts_event of a row, ns since the epoch. */
  eventTime(row: number): bigint {
    const word = this.offsets[row]! / 4 + 2
    return (BigInt(this.#words[word + 1]! >>> 0) << 32n) | BigInt(this.#words[word]! >>> 0)
  }

  /** First row whose index time is at or after `time`; `length` where there is none. */
  firstAt(time: bigint): number {
    let low = 0
    let high = this.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.times[middle]! < time) low = middle + 1
      else high = middle
    }
    return low
  }

  /** Rows `[from, to)` as a block that shares the memory. */
  block(from: number, to: number): RecordBlock {
    return new RecordBlock({
      bytes: this.bytes,
      words: this.#words,
      start: this.offsets[from]! / 4,
      end: this.offsets[to]! / 4,
      version: this.version,
      tsOut: false,
      metadata: undefined,
      segment: 0,
      offset: 0,
      length: to - from
    })
  }

  /** The same rows laid out as another version has them; made once. What that version cannot hold is cut. */
  inVersion(version: DbnVersion): RecordTable {
    const known = this.#versions.get(version)
    if (known !== undefined) return known
    const rtype = rtypeOfSchema(this.schema)
    const made =
      layoutOf(rtype, version) === layoutOf(rtype, this.version)
        ? new RecordTable({ ...this.#init(), version })
        : this.#relaid(version)
    this.#versions.set(version, made)
    return made
  }

  #init(): TableInit {
    const { schema, version, bytes, offsets, ids, times } = this
    return { schema, version, bytes, offsets, ids, times }
  }

  #relaid(version: DbnVersion): RecordTable {
    const offsets = new Uint32Array(this.length + 1)
    const bytes = new Uint8Array(this.length * MAX_RECORD_BYTES)
    for (let row = 0; row < this.length; row++) {
      const record = downgraded(decodeRecord(this.block(row, row + 1), this.offsets[row]! / 4), version)
      offsets[row + 1] = offsets[row]! + writeRecord(record, { version }, bytes, offsets[row]!)
    }
    return new RecordTable({ ...this.#init(), version, bytes: bytes.slice(0, offsets[this.length]), offsets })
  }
}

/** Gathers the records of one schema and sorts them. */
export class RecordTableBuilder {
  readonly schema: KnownSchema
  readonly #rtype: number
  #bytes = new Uint8Array(1 << 16)
  #length = 0
  #offsets = new Uint32Array(1 << 10)
  #rows = 0

  constructor(schema: KnownSchema) {
    this.schema = schema
    this.#rtype = rtypeOfSchema(schema)
  }

  /** Bytes gathered. */
  get length(): number {
    return this.#length
  }

  /** Adds the record at word `position` of a version 3 block, without its ts_out. */
  add(block: RecordBlock, position: number): void {
    const size = (block.words[position]! & 0xff) * 4 - (block.tsOut ? TS_OUT_BYTES : 0)
    this.#reserve(size)
    const at = this.#length
    this.#bytes.set(block.bytes.subarray(position * 4, position * 4 + size), at)
    this.#bytes[at] = size / 4
    // Bars of old files have a record type of their own.
    this.#bytes[at + 1] = this.#rtype
    this.#offsets[this.#rows++] = at
    this.#length += size
  }

  /** Adds records of another builder's kind that are encoded already. */
  addEncoded(bytes: Uint8Array): void {
    this.#reserve(bytes.length)
    this.#bytes.set(bytes, this.#length)
    this.#offsets[this.#rows++] = this.#length
    this.#length += bytes.length
  }

  build(): RecordTable {
    this.#reserve(0)
    this.#offsets[this.#rows] = this.#length
    const bytes = this.#bytes.slice(0, this.#length)
    const words = new Int32Array(bytes.buffer)
    const offsets = this.#offsets.slice(0, this.#rows + 1)
    const ids = new Uint32Array(this.#rows)
    const times = new BigUint64Array(this.#rows)
    const timeWord = indexTimeWords(3)[this.#rtype]!
    let isSorted = true
    for (let row = 0; row < this.#rows; row++) {
      const word = offsets[row]! / 4
      ids[row] = words[word + 1]! >>> 0
      times[row] = (BigInt(words[word + timeWord + 1]! >>> 0) << 32n) | BigInt(words[word + timeWord]! >>> 0)
      if (row > 0 && times[row]! < times[row - 1]!) isSorted = false
    }
    const init: TableInit = { schema: this.schema, version: 3, bytes, offsets, ids, times }
    return new RecordTable(isSorted ? init : sorted(init))
  }

  #reserve(size: number): void {
    if (this.#length + size > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(this.#length + size, this.#bytes.length * 2))
      grown.set(this.#bytes.subarray(0, this.#length))
      this.#bytes = grown
    }
    if (this.#rows + 1 < this.#offsets.length) return
    const grown = new Uint32Array(this.#offsets.length * 2)
    grown.set(this.#offsets)
    this.#offsets = grown
  }
}

/** The same rows in the order of their index time; rows of one time keep their order. */
const sorted = (init: TableInit): TableInit => {
  const order = Uint32Array.from(init.ids, (_, row) => row).sort((a, b) =>
    init.times[a]! < init.times[b]! ? -1 : init.times[a]! > init.times[b]! ? 1 : a - b
  )
  const bytes = new Uint8Array(init.bytes.length)
  const offsets = new Uint32Array(init.offsets.length)
  order.forEach((row, i) => {
    bytes.set(init.bytes.subarray(init.offsets[row]!, init.offsets[row + 1]!), offsets[i]!)
    offsets[i + 1] = offsets[i]! + init.offsets[row + 1]! - init.offsets[row]!
  })
  return {
    ...init,
    bytes,
    offsets,
    ids: order.map((row) => init.ids[row]!),
    times: BigUint64Array.from(order, (row) => init.times[row]!)
  }
}
