/** Bars that can be read: those made from trades (`bars_1m`, `bars_1h`, `bars_1d`) and the provider's own (`bar`). */
import { BarFromProvider, BarFromTrades, BarLayout, Decimal, UnixNanos } from "@data-manager/core"
import { CopyFormatError } from "./CopyDecoder.ts"
import * as Field from "./CopyField.ts"
import { exactFields, type RowSelection } from "./ReadRows.ts"
import { alignExact, type Cell, type ReadInstruments, RowColumns, Unrepresentable } from "./RowColumns.ts"

/** Where bars made from trades are read, wherever they are kept. */
export type BarRelation = "bars_1m" | "bars_1h" | "bars_1d"

/** How bars made from trades are selected. */
export const rollupSelection = (table: BarRelation): RowSelection => ({
  table,
  time: "bucket",
  hasRest: false,
  ties: ["t.instrument_id"],
  fields: () => [
    "t.instrument_id",
    "t.bucket",
    "t.open",
    "t.high",
    "t.low",
    "t.close",
    "t.trade_count",
    "t.volume"
  ]
})

/** How the provider's bars are selected. */
export const providerBarSelection: RowSelection = {
  table: "bar",
  time: "ts",
  hasRest: true,
  ties: ["t.ts_ns", "t.instrument_id", "t.publisher::int4 & 65535"],
  fields: ({ exact }) => [
    "t.ts_ns::int4 | (t.publisher::int4 & 65535) << 10",
    "t.instrument_id",
    "t.ts",
    "t.open",
    "t.high",
    "t.low",
    "t.close",
    "t.trade_count",
    "t.volume",
    ...exactFields(exact, "bar_exact", ["schema", "publisher"], ["open", "high", "low", "close"])
  ]
}

/** What the two kinds of bars share: order, volume, constant columns. */
abstract class BarColumns extends RowColumns<typeof BarLayout> {
  readonly #seconds: number
  readonly #source: number

  constructor(instruments: ReadInstruments, capacity: number, seconds: number, source: number) {
    super(BarLayout, instruments, capacity)
    this.#seconds = seconds
    this.#source = source
  }

  get time(): Int32Array {
    return this.words.tsEvent
  }

  ties(a: number, b: number): number {
    const { publisher, instrument } = this.columns
    return instrument[a]! - instrument[b]! || publisher[a]! - publisher[b]!
  }

  position(row: number): string {
    const { tsEvent, publisher, instrument } = this.columns
    const rest = UnixNanos.nanosOfMicro(tsEvent[row]!)
    return this.#source === BarFromProvider
      ? `${rest}, ${instrument[row]}, ${publisher[row]}`
      : `${instrument[row]}`
  }

  /** Columns that do not depend on the values. */
  protected begin(i: number, id: number, publisher: number): void {
    const { columns } = this
    const instrument = this.instruments.of(id)
    columns.instrument[i] = id
    columns.priceExponent[i] = instrument.priceExponent
    columns.volumeExponent[i] = instrument.sizeExponent
    columns.seconds[i] = this.#seconds
    columns.source[i] = this.#source
    columns.publisher[i] = publisher
  }

  /** A volume: nearly always a whole number of the instrument's smallest size within 2^53. */
  protected volume(bytes: DataView, at: number, i: number): number {
    const { columns, words } = this
    const value = Field.scaledNumeric(bytes, at, -columns.volumeExponent[i]!)
    if (value >= 0) {
      Field.storeDouble(value, words.volumeLow, i)
      words.volumeHigh[2 * i] = 0
      words.volumeHigh[2 * i + 1] = 0
    } else this.#wideVolume(bytes, at, i)
    return Field.skip(bytes, at)
  }

  #wideVolume(bytes: DataView, at: number, i: number): void {
    const exact = Field.decimal(bytes, at)
    if (exact === undefined) throw new CopyFormatError("a bar has no volume")
    const { mantissa, exponent } = fitVolume(exact, this.columns.volumeExponent[i]!)
    this.columns.volumeExponent[i] = exponent
    this.columns.volumeLow[i] = BigInt.asUintN(64, mantissa)
    this.columns.volumeHigh[i] = mantissa >> 64n
  }
}

/** A volume in 128 bits and an i8 exponent: at the exponent wanted where that is possible, else at its own. */
export const fitVolume = (volume: Decimal.Decimal, wanted: number): Decimal.Decimal => {
  const { mantissa, exponent } = Decimal.normalize(volume)
  for (const target of [Math.min(wanted, exponent), Math.min(127, exponent)]) {
    if (target < -128 || exponent - target > 200) continue
    const scaled = mantissa * Decimal.pow10(exponent - target)
    if (BigInt.asIntN(128, scaled) === scaled) return { mantissa: scaled, exponent: target }
  }
  throw new Unrepresentable("the volume of a bar needs more than 128 bits")
}

/** Bars made from trades. */
export class RollupBarRows extends BarColumns {
  readonly fields = 8

  constructor(instruments: ReadInstruments, capacity: number, seconds: number) {
    super(instruments, capacity, seconds, BarFromTrades)
  }

  decode(bytes: DataView, start: number): void {
    const i = this.nextRow()
    const { words } = this
    this.begin(i, Field.int32(bytes, start), 0)
    const open = Field.time(bytes, start + 8, 0, words.tsEvent, i)
    const high = Field.skip(bytes, open)
    const low = Field.skip(bytes, high)
    const close = Field.skip(bytes, low)
    this.#prices(bytes, i, open, high, low, close)
    const at = Field.int64(bytes, Field.skip(bytes, close), words.tradeCount, i)
    this.volume(bytes, at, i)
    this.length = i + 1
  }

  /** Prices are NUMERIC: whole numbers at the instrument's scale, except where a trade's price was not. */
  #prices(bytes: DataView, i: number, open: number, high: number, low: number, close: number): void {
    const { columns, words } = this
    const exponent = columns.priceExponent[i]!
    const o = Field.scaledNumeric(bytes, open, -exponent)
    const h = Field.scaledNumeric(bytes, high, -exponent)
    const l = Field.scaledNumeric(bytes, low, -exponent)
    const c = Field.scaledNumeric(bytes, close, -exponent)
    if (Number.isNaN(o + h + l + c)) {
      const cell = (column: Int32Array, at: number): Cell => {
        const exact = Field.decimal(bytes, at)
        if (exact === undefined) throw new CopyFormatError("a bar has no price")
        return { words: column, at: i, exact }
      }
      columns.priceExponent[i] = alignExact(exponent, [
        cell(words.open, open),
        cell(words.high, high),
        cell(words.low, low),
        cell(words.close, close)
      ])
      return
    }
    Field.storeDouble(o, words.open, i)
    Field.storeDouble(h, words.high, i)
    Field.storeDouble(l, words.low, i)
    Field.storeDouble(c, words.close, i)
  }
}

/** The provider's own bars. */
export class ProviderBarRows extends BarColumns {
  readonly fields: number
  readonly #exact: boolean

  constructor(instruments: ReadInstruments, capacity: number, seconds: number, exact: boolean) {
    super(instruments, capacity, seconds, BarFromProvider)
    this.#exact = exact
    this.fields = 9 + (exact ? 4 : 0)
  }

  decode(bytes: DataView, start: number): void {
    const i = this.nextRow()
    const { words } = this
    const attributes = Field.int32(bytes, start)
    this.begin(i, Field.int32(bytes, start + 8), attributes >>> 10)
    let at = Field.time(bytes, start + 16, attributes & 1023, words.tsEvent, i)
    at = Field.int64OrAbsent(bytes, at, words.open, i)
    at = Field.int64OrAbsent(bytes, at, words.high, i)
    at = Field.int64OrAbsent(bytes, at, words.low, i)
    at = Field.int64OrAbsent(bytes, at, words.close, i)
    at = Field.int64OrAbsent(bytes, at, words.tradeCount, i)
    at = this.volume(bytes, at, i)
    if (this.#exact) this.#decodeExact(bytes, at, i)
    this.length = i + 1
  }

  #decodeExact(bytes: DataView, start: number, i: number): void {
    const { words, columns } = this
    let at = start
    const cells = [words.open, words.high, words.low, words.close].map((column): Cell => {
      const exact = Field.decimal(bytes, at)
      at = Field.skip(bytes, at)
      return { words: column, at: i, exact }
    })
    columns.priceExponent[i] = alignExact(columns.priceExponent[i]!, cells)
  }
}
