/** Acme's trades: the fields of one, and how they become batches. History and live data write them alike. */
import {
  ABSENT_I64,
  type Batch,
  batchContext,
  Decimal,
  directory,
  type Instrument,
  Side,
  tradeBuilder
} from "@data-manager/core"

/** Acme has one dataset. */
export const Dataset = "ACME.SPOT"

/** Bytes that are not of Acme's protocol. Its text never repeats them: they may be anything. */
export class NotAcme extends Error {
  override readonly name = "NotAcme"
}

/** One line of JSON as an object. */
export const parseLine = (line: string): { readonly [field: string]: unknown } => {
  try {
    const value: unknown = JSON.parse(line)
    if (typeof value === "object" && value !== null) return value as { readonly [field: string]: unknown }
  } catch {
    // Told below.
  }
  throw new NotAcme(`a line of ${line.length} characters is not a JSON object`)
}

/** An integer, which Acme writes as text: JSON numbers are rounded beyond 2^53. */
export const integer = (value: unknown, field: string): bigint => {
  if (typeof value === "string" && /^-?\d{1,19}$/.test(value)) return BigInt(value)
  throw new NotAcme(`the field "${field}" is no integer in quotes`)
}

const decimal = (value: unknown, field: string): Decimal.Decimal => {
  const parsed = typeof value === "string" ? Decimal.parse(value) : undefined
  if (parsed === undefined) throw new NotAcme(`the field "${field}" is no decimal in quotes`)
  return parsed
}

const sides = new Map<unknown, number>([
  ["buy", Side.Buy],
  ["sell", Side.Sell],
  ["none", Side.None]
])

const LongestLine = 65_536

/** Cuts bytes into lines, wherever the chunks end. */
export class LineReader {
  readonly #decoder = new TextDecoder()
  #rest = ""

  /** The lines that this chunk completes. */
  push(chunk: Uint8Array): ReadonlyArray<string> {
    const lines = (this.#rest + this.#decoder.decode(chunk, { stream: true })).split("\n")
    this.#rest = lines.pop() ?? ""
    // What never ends a line must not fill the memory.
    if (this.#rest.length > LongestLine) throw new NotAcme("a line does not end")
    return lines.filter((line) => line !== "")
  }

  /** Whether the last line is whole. */
  get isBetweenLines(): boolean {
    return this.#rest === ""
  }
}

/** Gathers trades into batches of one stream. */
export class TradeIntake {
  readonly #ids: ReadonlyMap<unknown, number>
  readonly #builder: ReturnType<typeof tradeBuilder>

  constructor(provider: string, instruments: ReadonlyArray<Instrument>, batchRows: number) {
    this.#ids = new Map(instruments.map(({ id, rawSymbol }) => [rawSymbol, id]))
    // Acme numbers the trades of a symbol without holes: those ids are the keys, whatever a request begins with.
    const context = batchContext({
      provider,
      dataset: Dataset,
      keyKind: "venue-id",
      instruments: directory(instruments)
    })
    this.#builder = tradeBuilder(context, batchRows)
  }

  get isFull(): boolean {
    return this.#builder.isFull
  }

  /** Adds `{ symbol, id, time, price, size, side }`. */
  add(trade: { readonly [field: string]: unknown }): void {
    const { columns: c, length: row } = this.#builder
    const instrument = this.#ids.get(trade.symbol)
    const price = decimal(trade.price, "price")
    const size = decimal(trade.size, "size")
    const side = sides.get(trade.side)
    if (instrument === undefined) throw new NotAcme("a trade of a symbol that was not asked for")
    if (side === undefined) throw new NotAcme('the field "side" is neither buy nor sell nor none')
    c.instrument[row] = instrument
    c.tsEvent[row] = integer(trade.time, "time")
    // Acme tells its own clock alone, and history has to equal what was live: no time of capture is made up.
    c.tsRecv[row] = ABSENT_I64
    c.tradeKey[row] = integer(trade.id, "id")
    c.price[row] = price.mantissa
    c.priceExponent[row] = price.exponent
    c.size[row] = size.mantissa
    c.sizeExponent[row] = size.exponent
    c.side[row] = side
    this.#builder.length = row + 1
  }

  /** What was gathered since the last time: one batch, or none. */
  take(): ReadonlyArray<Batch> {
    return this.#builder.length === 0 ? [] : [{ _tag: "Batch", batch: this.#builder.flush() }]
  }
}
