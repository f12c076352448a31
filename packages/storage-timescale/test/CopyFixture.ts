/** COPY bytes captured from the server and decoders over them, for the tests of reading. */
import type { BatchContext, Instrument, MarketSchema } from "@data-manager/core"
import { Effect } from "effect"
import { ProviderBarRows, RollupBarRows } from "../src/BarRows.ts"
import { CopyDecoder } from "../src/CopyDecoder.ts"
import type { CopySink } from "../src/CopyOut.ts"
import { BookRows, QuoteRows, TradeRows } from "../src/ReadRows.ts"
import { type ReadableRows, type ReadInstrument, ReadInstruments } from "../src/RowColumns.ts"
import type { StoreFixture } from "./StoreFixture.ts"

/** The bytes of `COPY (select) TO STDOUT (FORMAT binary)`. */
export const capture = async (store: StoreFixture, select: string): Promise<Uint8Array> => {
  const pieces: Array<Uint8Array> = []
  const sink: CopySink = {
    write: (bytes, start, end) => {
      pieces.push(Uint8Array.from(new Uint8Array(bytes.buffer, bytes.byteOffset + start, end - start)))
    }
  }
  await store.run(
    store.writer.pool.withConnection("capture", (connection) =>
      connection.copyInto(`COPY (${select}) TO STDOUT (FORMAT binary)`, sink)
    )
  )
  return Buffer.concat(pieces)
}

/** Instruments of one dataset at these scales, as a decoder needs them. */
export const lookup = (
  instruments: ReadonlyArray<readonly [id: number, price: number, size: number]>,
  context: Pick<BatchContext, "provider" | "dataset">
): ReadInstruments => {
  const all = instruments.map(([id, priceScale, sizeScale]): readonly [number, ReadInstrument] => {
    const instrument: Instrument = {
      id,
      ...context,
      rawSymbol: `S${id}`,
      symbol: `${context.dataset}:S${id}`,
      priceScale,
      sizeScale,
      assetClass: "unknown"
    }
    return [id, { instrument, priceExponent: 0 - priceScale, sizeExponent: 0 - sizeScale, dataset: 0 }]
  })
  return new ReadInstruments(new Map(all))
}

/** The bytes as a decoder takes them, cut at these places. */
export const feed = (sink: CopySink, bytes: Uint8Array, cuts: ReadonlyArray<number> = []): void => {
  let start = 0
  for (const end of [...cuts, bytes.length]) {
    // A copy of its own for each piece: nothing may be kept from the one before.
    const piece = Uint8Array.from(bytes.subarray(start, end))
    sink.write(new DataView(piece.buffer), 0, piece.length)
    piece.fill(0xee)
    start = end
  }
}

/** Decodes a whole COPY. */
export const decode = <R extends ReadableRows>(
  rows: R,
  bytes: Uint8Array,
  cuts?: ReadonlyArray<number>
): R => {
  const decoder = new CopyDecoder(rows)
  feed(decoder, bytes, cuts)
  decoder.finish()
  return rows
}

/** Every column of decoded rows as text, to compare two decodings. */
export const columnsText = (rows: ReadableRows & { readonly columns: object }): string =>
  Object.entries<object>(rows.columns)
    .map(([name, values]) => {
      const column = values as Int32Array
      const lanes = rows instanceof BookRows ? (rows.layout[name as "price"]?.lanes ?? 1) : 1
      return `${name}: ${column.subarray(0, rows.length * lanes).join(" ")}`
    })
    .concat(rows.texts === undefined ? [] : [`texts: ${rows.texts.join("|")}`])
    .join("\n")

/** A decoder of each kind. */
export const decoders = {
  trade: (instruments: ReadInstruments, exact = true, texts = true) =>
    new TradeRows(instruments, 8, exact, texts),
  quote: (instruments: ReadInstruments, schema: MarketSchema.MarketSchema = "mbp-1") =>
    new QuoteRows(instruments, 8, schema, true),
  book: (instruments: ReadInstruments, schema: MarketSchema.MarketSchema = "mbp-10") =>
    new BookRows(instruments, 8, schema, true),
  bar: (instruments: ReadInstruments) => new ProviderBarRows(instruments, 8, 60, true),
  rollup: (instruments: ReadInstruments) => new RollupBarRows(instruments, 8, 60)
} as const

/** Runs an effect that is expected to fail and gives the error. */
export const failureOf = <A, E>(store: StoreFixture, effect: Effect.Effect<A, E>): Promise<E> =>
  store.run(Effect.flip(effect)) as Promise<E>
