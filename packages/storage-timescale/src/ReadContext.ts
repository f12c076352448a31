/** What a read knows before its first row: the instruments asked for, their datasets and the venues of publishers. */
import {
  type BatchContext,
  type Instrument,
  type InstrumentId,
  StoreBadRequest,
  StoreError,
  type TradeKey
} from "@data-manager/core"
import { Effect } from "effect"
import { type InstrumentRow, instrumentColumns, instrumentOf } from "./InstrumentTable.ts"
import type { PgPool } from "./PgPool.ts"
import { type ReadInstrument, ReadInstruments } from "./RowColumns.ts"

/** The instruments of a read. */
export interface ReadContext {
  readonly ids: ReadonlyArray<InstrumentId>
  readonly instruments: ReadonlyMap<InstrumentId, ReadInstrument>
  /** One batch context per dataset, in the order of `ReadInstrument.dataset`. */
  readonly contexts: ReadonlyArray<BatchContext>
}

/** An instrument lookup for one decoder; it remembers the last one, so decoders do not share it. */
export const lookup = (context: ReadContext): ReadInstruments => new ReadInstruments(context.instruments)

interface Row extends InstrumentRow {
  readonly dataset_id: number
  readonly key_kind: TradeKey.TradeKeyKind
}

interface Publisher {
  readonly dataset_id: number
  readonly id: number
  readonly venue: string
  readonly [column: string]: unknown
}

const refuse = (operation: string, detail: string): StoreError =>
  new StoreError({ operation, reason: new StoreBadRequest({ detail }) })

/** Loads the instruments of these ids; an id that the store does not know fails. */
export const load = (
  pool: PgPool,
  operation: string,
  asked: ReadonlyArray<InstrumentId>
): Effect.Effect<ReadContext, StoreError> =>
  Effect.gen(function* () {
    const ids = [...new Set(asked)].sort((a, b) => a - b)
    const odd = ids.find((id) => !Number.isInteger(id) || id < 0 || id > 0x7fffffff)
    if (odd !== undefined) return yield* Effect.fail(refuse(operation, `${odd} is not an instrument id`))
    const rows = yield* pool.query<Row>(
      `SELECT ${instrumentColumns}, i.dataset_id, d.key_kind
       FROM instruments i JOIN datasets d ON d.id = i.dataset_id WHERE i.id = ANY($1::int4[])`,
      [ids]
    )
    const known = new Set(rows.map((row) => row.id))
    const unknown = ids.filter((id) => !known.has(id))
    if (unknown.length > 0)
      return yield* Effect.fail(refuse(operation, `the store has no instrument ${list(unknown)}`))
    const datasets = [...new Set(rows.map((row) => row.dataset_id))]
    const publishers = yield* pool.query<Publisher>(
      "SELECT dataset_id, id, venue FROM publishers WHERE dataset_id = ANY($1::int4[])",
      [datasets]
    )
    return assemble(ids, rows, datasets, publishers)
  })

const list = (ids: ReadonlyArray<number>): string =>
  ids
    .slice(0, 5)
    .map((id) => `#${id}`)
    .join(", ") + (ids.length > 5 ? ` and ${ids.length - 5} more` : "")

const assemble = (
  ids: ReadonlyArray<InstrumentId>,
  rows: ReadonlyArray<Row>,
  datasets: ReadonlyArray<number>,
  publishers: ReadonlyArray<Publisher>
): ReadContext => {
  const directory = new Map<InstrumentId, Instrument>()
  const instruments = new Map<InstrumentId, ReadInstrument>()
  for (const row of rows) {
    const instrument = instrumentOf(row)
    directory.set(row.id, instrument)
    instruments.set(row.id, {
      instrument,
      priceExponent: 0 - instrument.priceScale,
      sizeExponent: 0 - instrument.sizeScale,
      dataset: datasets.indexOf(row.dataset_id)
    })
  }
  const contexts = datasets.map((dataset): BatchContext => {
    const first = rows.find((row) => row.dataset_id === dataset)!
    // Publishers are u16; the table keeps the int2 of the same bits.
    const venues = new Map(
      publishers.filter((p) => p.dataset_id === dataset).map((p) => [p.id & 0xffff, p.venue])
    )
    return {
      provider: first.provider,
      dataset: first.dataset,
      instruments: directory,
      keyKind: first.key_kind,
      venueOf: (publisher) => venues.get(publisher)
    }
  })
  return { ids, instruments, contexts }
}
