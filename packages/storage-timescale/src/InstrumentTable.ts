/**
 * Instruments and listings in the database: registering what sources say (the rules are in `ListingBook`), loading it,
 * details.
 *
 * The scales of an instrument are decided when it is made and never change: rows are stored at them. Its details follow
 * the definition of the latest time; an earlier one only fills in what is missing.
 */
import {
  type AssetClass,
  Decimal,
  directory,
  type Instrument,
  type InstrumentDetails,
  type InstrumentId,
  type InstrumentTables,
  type Listing,
  type ListingClaim,
  type MarketStore,
  StoreBadRequest,
  StoreError,
  StoreInvalidData,
  SymbolText,
  TimeRange,
  UnixNanos
} from "@data-manager/core"
import { Effect } from "effect"
import { type BookClaim, type BookInstrument, type BookListing, ListingBook } from "./ListingBook.ts"
import { microsOf, type PgConnection, type PgPool, timestampParameter } from "./PgPool.ts"

const operation = "register listings"

/** Columns that `instrumentOf` reads; `i` is the instrument, `d` its dataset. */
export const instrumentColumns =
  "i.id, d.provider, d.name AS dataset, i.symbol, i.raw_symbol, i.price_scale, i.size_scale, i.asset_class, i.exchange"

/** A row of `instrumentColumns`. */
export interface InstrumentRow {
  readonly id: InstrumentId
  readonly provider: string
  readonly dataset: string
  readonly symbol: string
  readonly raw_symbol: string | null
  readonly price_scale: number
  readonly size_scale: number
  readonly asset_class: string
  readonly exchange: string | null
  readonly [column: string]: unknown
}

/** The instrument of a row. A nameless one shows its number: `#5602`. */
export const instrumentOf = (row: InstrumentRow): Instrument => ({
  id: row.id,
  provider: row.provider,
  dataset: row.dataset,
  rawSymbol: row.raw_symbol ?? SymbolText.parse(row.symbol).rawSymbol,
  symbol: row.symbol,
  priceScale: row.price_scale,
  sizeScale: row.size_scale,
  assetClass: row.asset_class as AssetClass,
  exchange: row.exchange ?? undefined
})

/** Details as they stand in the `details` column: decimals and times as text. */
interface StoredDetails {
  /** Start of the claim that the newest of them came with, ns. */
  readonly asOf?: string
  readonly assetClass?: string
  readonly exchange?: string
  readonly currency?: string
  readonly base?: string
  readonly underlying?: string
  readonly tickSize?: string
  readonly lotSize?: string
  readonly multiplier?: string
  readonly strike?: string
  readonly activation?: string
  readonly expiration?: string
  readonly metadata?: { readonly [key: string]: unknown }
}

/** What is kept of an instrument beside its place in the book. */
interface Entry {
  id: InstrumentId
  readonly provider: string
  readonly datasetName: string
  /** Text of a nameless one. */
  readonly fallback: string
  readonly priceScale: number
  readonly sizeScale: number
  details: StoredDetails
  /** Details in the table, as text that compares. */
  readonly stored: string
}

const decimalText = (value: Decimal.Decimal | undefined): string | undefined =>
  value === undefined ? undefined : Decimal.format(value)

const detailsOf = (details: InstrumentDetails | undefined): StoredDetails => {
  if (details === undefined) return {}
  const all: { readonly [K in keyof StoredDetails]: StoredDetails[K] | undefined } = {
    assetClass: details.assetClass === "unknown" ? undefined : details.assetClass,
    exchange: details.exchange,
    currency: details.currency,
    base: details.base,
    underlying: details.underlying,
    tickSize: decimalText(details.tickSize),
    lotSize: decimalText(details.lotSize),
    multiplier: decimalText(details.multiplier),
    strike: decimalText(details.strike),
    activation: details.activation?.toString(),
    expiration: details.expiration?.toString(),
    metadata: details.metadata
  }
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined))
}

/** The details of a later time go before; without any of their own nothing changes. */
const mergeDetails = (old: StoredDetails, details: StoredDetails, asOf: bigint): StoredDetails => {
  if (Object.keys(details).length === 0) return old
  const isLater = old.asOf === undefined || asOf >= BigInt(old.asOf)
  const metadata = isLater
    ? { ...old.metadata, ...details.metadata }
    : { ...details.metadata, ...old.metadata }
  const merged = isLater ? { ...old, ...details, asOf: asOf.toString() } : { ...details, ...old }
  return Object.keys(metadata).length === 0 ? merged : { ...merged, metadata }
}

/** Characters that PostgreSQL cannot keep, or would give back as others. */
const unstorable = /[\0\p{Surrogate}]/u

/** JSON with sorted keys: equal for equal values. Throws on text that cannot be stored, cycles and bigints. */
const canonical = (value: unknown): string =>
  JSON.stringify(value, (_, each: unknown) => {
    if (typeof each === "string" && unstorable.test(each))
      throw new Error("a text holds a zero byte or half a character")
    if (each === null || typeof each !== "object" || Array.isArray(each)) return each
    const entries = Object.entries(each)
    if (entries.some(([key]) => unstorable.test(key)))
      throw new Error("a key holds a zero byte or half a character")
    return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)))
  })

const MaxScale = 18

/** Decimal places: those of the tick, where it is known (equities trade below it, so at least four). */
const priceScaleOf = (claim: ListingClaim): number =>
  scaleOf(claim.details?.tickSize, claim.defaultPriceScale, claim.details?.assetClass === "equity" ? 4 : 0)

const scaleOf = (step: Decimal.Decimal | undefined, fallback: number, least = 0): number => {
  if (step === undefined || step.mantissa <= 0n) return fallback
  return Math.min(MaxScale, Math.max(least, Decimal.scaleOf(step)))
}

const unitText = (scale: number): string => Decimal.text(1n, 0 - scale)

const invalid = (detail: string): StoreError =>
  new StoreError({ operation, reason: new StoreInvalidData({ detail: `${detail}; nothing was registered` }) })

const isStorable = (text: string): boolean => text !== "" && !unstorable.test(text)

const describe = (claim: ListingClaim): string =>
  `${claim.dataset}:${claim.rawSymbol ?? `#${claim.nativeId}`} in ${TimeRange.format(claim.valid)}`

/** Why a claim cannot be registered. */
const problemOf = (claim: ListingClaim): string | undefined => {
  if (!isStorable(claim.provider) || !isStorable(claim.dataset))
    return "provider and dataset must be plain text"
  if (claim.dataset.includes(":")) return "the name of a dataset has no colon: it ends there in a symbol"
  if (claim.rawSymbol === undefined && claim.nativeId === undefined)
    return "a listing needs a raw symbol or a native id"
  if (claim.rawSymbol !== undefined && !isStorable(claim.rawSymbol)) return "the raw symbol is not plain text"
  if (claim.nativeId !== undefined && !Number.isSafeInteger(claim.nativeId))
    return `the native id ${claim.nativeId} is not a whole number`
  if (TimeRange.isEmpty(claim.valid)) return "its time is empty"
  if (claim.valid.start < UnixNanos.Min || claim.valid.end > UnixNanos.Max + 1n)
    return "its time lies outside 64 bits of nanoseconds"
  for (const scale of [claim.defaultPriceScale, claim.defaultSizeScale])
    if (!Number.isInteger(scale) || scale < 0 || scale > MaxScale)
      return `a scale of ${scale} is not 0 to ${MaxScale}`
  const { tickSize, lotSize, multiplier, strike } = claim.details ?? {}
  for (const value of [tickSize, lotSize, multiplier, strike])
    if (value !== undefined && Math.abs(value.exponent) > 1000)
      return "a decimal of its details has over 1000 places"
  return undefined
}

/** Serialises registrations of all processes: "dminst" as a number. */
const RegistrationLock = 110_426_743_793_524n

const registerListings = (
  pool: PgPool,
  claims: ReadonlyArray<ListingClaim>
): Effect.Effect<ReadonlyArray<Instrument>, StoreError> =>
  Effect.gen(function* () {
    for (const claim of claims) {
      const problem = problemOf(claim)
      if (problem !== undefined) return yield* Effect.fail(invalid(`listing ${describe(claim)}: ${problem}`))
    }
    const details = yield* Effect.try({
      try: () => claims.map((claim) => JSON.parse(canonical(detailsOf(claim.details))) as StoredDetails),
      catch: (cause) => invalid(`details are not JSON (${String(cause)})`)
    })
    if (claims.length === 0) return []
    return yield* pool.transaction(operation, (connection) =>
      Effect.gen(function* () {
        yield* connection.query("SELECT pg_advisory_xact_lock($1)", [RegistrationLock])
        const datasets = yield* datasetIds(connection, claims)
        let current: ListingClaim | undefined
        const book = new ListingBook<Entry>((claim) => newEntry(current!, claim))
        yield* loadBook(connection, book, claims, datasets)
        const instruments = claims.map((claim, i) => {
          current = claim
          const instrument = book.claim({
            dataset: datasets.get(datasetKey(claim))!,
            rawSymbol: claim.rawSymbol,
            nativeId: claim.nativeId,
            from: UnixNanos.floorMicros(claim.valid.start),
            to: UnixNanos.ceilMicros(claim.valid.end),
            expiration: claim.details?.expiration
          })
          const entry = instrument.value
          entry.details = mergeDetails(entry.details, details[i]!, claim.valid.start)
          return instrument
        })
        yield* insertInstruments(
          connection,
          [...book.instruments].filter((each) => each.isNew)
        )
        yield* updateInstruments(connection, [...book.instruments].filter(isChanged))
        yield* writeListings(connection, [...book.listings])
        return instruments.map(toInstrument)
      })
    )
  })

const datasetKey = (of: { readonly provider: string; readonly dataset: string }): string =>
  `${of.provider}\0${of.dataset}`

const datasetIds = Effect.fnUntraced(function* (
  connection: PgConnection,
  claims: ReadonlyArray<ListingClaim>
) {
  const asked = [...new Map(claims.map((claim) => [datasetKey(claim), claim])).values()]
  const parameters = [asked.map((claim) => claim.provider), asked.map((claim) => claim.dataset)]
  yield* connection.query(
    `INSERT INTO datasets (provider, name)
     SELECT a.provider, a.name FROM unnest($1::text[], $2::text[]) a(provider, name)
     WHERE NOT EXISTS (SELECT FROM datasets d WHERE d.provider = a.provider AND d.name = a.name)
     ON CONFLICT DO NOTHING`,
    parameters
  )
  const rows = yield* connection.query<{
    readonly id: number
    readonly provider: string
    readonly dataset: string
  }>(
    `SELECT d.id, d.provider, d.name AS dataset FROM datasets d
     JOIN unnest($1::text[], $2::text[]) a(provider, name) ON d.provider = a.provider AND d.name = a.name`,
    parameters
  )
  return new Map(rows.map((row) => [datasetKey(row), row.id]))
})

const newEntry = (claim: ListingClaim, book: BookClaim): Entry => ({
  id: 0,
  provider: claim.provider,
  datasetName: claim.dataset,
  fallback: `#${book.nativeId}`,
  priceScale: priceScaleOf(claim),
  sizeScale: scaleOf(claim.details?.lotSize, claim.defaultSizeScale),
  details: {},
  stored: ""
})

interface ListingRow {
  readonly id: bigint
  readonly dataset_id: number
  readonly raw_symbol: string | null
  readonly native_id: bigint | null
  readonly instrument_id: InstrumentId
  readonly valid_from: bigint
  readonly valid_to: bigint
  readonly [column: string]: unknown
}

const listingColumns = `l.id, l.dataset_id, l.raw_symbol, l.native_id, l.instrument_id,
  ${microsOf("l.valid_from")} AS valid_from, ${microsOf("l.valid_to")} AS valid_to`

/** Puts into the book every listing that the claims can meet. */
const loadBook = Effect.fnUntraced(function* (
  connection: PgConnection,
  book: ListingBook<Entry>,
  claims: ReadonlyArray<ListingClaim>,
  datasets: ReadonlyMap<string, number>
) {
  const ids = claims.map((claim) => datasets.get(datasetKey(claim))!)
  const named = claims.flatMap((claim, i) =>
    claim.rawSymbol === undefined ? [] : [[ids[i]!, claim.rawSymbol] as const]
  )
  const numbered = claims.flatMap((claim, i) =>
    claim.nativeId === undefined ? [] : [[ids[i]!, claim.nativeId] as const]
  )
  const met = yield* connection.query<ListingRow>(
    `SELECT ${listingColumns} FROM listings l WHERE l.id IN (
       SELECT x.id FROM (SELECT DISTINCT * FROM unnest($1::int4[], $2::text[])) a(dataset, raw)
         JOIN listings x ON x.dataset_id = a.dataset AND x.raw_symbol = a.raw
       UNION ALL
       SELECT x.id FROM (SELECT DISTINCT * FROM unnest($3::int4[], $4::int8[])) a(dataset, native)
         JOIN listings x ON x.dataset_id = a.dataset AND x.native_id = a.native)`,
    [
      named.map(([id]) => id),
      named.map(([, raw]) => raw),
      numbered.map(([id]) => id),
      numbered.map(([, n]) => n)
    ]
  )
  // An instrument met by its number brings the other times of its text and of itself along.
  const rows = yield* connection.query<ListingRow>(
    `SELECT ${listingColumns} FROM listings l WHERE l.id IN (
       SELECT y.id FROM listings x JOIN listings y ON y.dataset_id = x.dataset_id AND y.raw_symbol = x.raw_symbol
         WHERE x.id = ANY ($1::int8[])
       UNION ALL
       SELECT y.id FROM listings x JOIN listings y ON y.instrument_id = x.instrument_id WHERE x.id = ANY ($1::int8[])
       UNION ALL
       SELECT unnest($1::int8[])) ORDER BY l.id`,
    [met.map((row) => row.id)]
  )
  const instruments = yield* loadEntries(connection, [...new Set(rows.map((row) => row.instrument_id))])
  for (const row of rows)
    book.load({
      id: row.id,
      instrument: instruments.get(row.instrument_id)!,
      rawSymbol: row.raw_symbol ?? undefined,
      nativeId: row.native_id === null ? undefined : Number(row.native_id),
      from: row.valid_from,
      to: row.valid_to
    })
})

const loadEntries = (connection: PgConnection, ids: ReadonlyArray<InstrumentId>) =>
  Effect.map(
    connection.query<InstrumentRow & { readonly dataset_id: number; readonly details: StoredDetails }>(
      `SELECT ${instrumentColumns}, i.dataset_id, i.details
       FROM instruments i JOIN datasets d ON d.id = i.dataset_id WHERE i.id = ANY ($1::int4[])`,
      [ids]
    ),
    (rows) =>
      new Map(
        rows.map((row): readonly [InstrumentId, BookInstrument<Entry>] => {
          const { expiration } = row.details
          const value: Entry = {
            id: row.id,
            provider: row.provider,
            datasetName: row.dataset,
            fallback: SymbolText.parse(row.symbol).rawSymbol,
            priceScale: row.price_scale,
            sizeScale: row.size_scale,
            details: row.details,
            stored: canonical(row.details)
          }
          return [
            row.id,
            {
              dataset: row.dataset_id,
              rawSymbol: row.raw_symbol ?? undefined,
              expiration: expiration === undefined ? undefined : BigInt(expiration),
              value,
              isNew: false,
              isRenamed: false
            }
          ]
        })
      )
  )

const isChanged = (instrument: BookInstrument<Entry>): boolean =>
  !instrument.isNew &&
  (instrument.isRenamed || canonical(instrument.value.details) !== instrument.value.stored)

const symbolOf = ({ rawSymbol, value }: BookInstrument<Entry>): string =>
  SymbolText.make(value.datasetName, rawSymbol ?? value.fallback)

const timeText = (nanos: string | undefined): string | null =>
  nanos === undefined ? null : timestampParameter(BigInt(nanos))

/** Columns that follow from name and details, as parallel arrays. */
const changingColumns = (instruments: ReadonlyArray<BookInstrument<Entry>>) => {
  const details = instruments.map((instrument) => instrument.value.details)
  return [
    instruments.map((instrument) => instrument.value.id),
    instruments.map(symbolOf),
    instruments.map((instrument) => instrument.rawSymbol ?? null),
    details.map((each) => each.assetClass ?? "unknown"),
    details.map((each) => each.exchange ?? null),
    details.map((each) => timeText(each.activation)),
    details.map((each) => timeText(each.expiration)),
    details.map((each) => JSON.stringify(each))
  ]
}

const changingList =
  "unnest($1::int4[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[]"

const insertInstruments = Effect.fnUntraced(function* (
  connection: PgConnection,
  instruments: ReadonlyArray<BookInstrument<Entry>>
) {
  if (instruments.length === 0) return
  const ids = yield* connection.query<{ readonly id: number }>(
    "SELECT nextval(pg_get_serial_sequence('instruments', 'id'))::int4 AS id FROM generate_series(1, $1::int4)",
    [instruments.length]
  )
  instruments.forEach((instrument, i) => {
    instrument.value.id = ids[i]!.id
  })
  yield* connection.query(
    `INSERT INTO instruments (id, symbol, raw_symbol, asset_class, exchange, activation, expiration, details,
       dataset_id, price_scale, size_scale, price_unit, size_unit)
     OVERRIDING SYSTEM VALUE
     SELECT id, symbol, raw, class, exchange, activation::timestamptz, expiration::timestamptz, details::jsonb,
       dataset, price_scale, size_scale, price_unit::numeric, size_unit::numeric
     FROM ${changingList}, $9::int4[], $10::int2[], $11::int2[], $12::text[], $13::text[])
       v(id, symbol, raw, class, exchange, activation, expiration, details,
         dataset, price_scale, size_scale, price_unit, size_unit)`,
    [
      ...changingColumns(instruments),
      instruments.map((instrument) => instrument.dataset),
      instruments.map((instrument) => instrument.value.priceScale),
      instruments.map((instrument) => instrument.value.sizeScale),
      instruments.map((instrument) => unitText(instrument.value.priceScale)),
      instruments.map((instrument) => unitText(instrument.value.sizeScale))
    ]
  )
})

const updateInstruments = (
  connection: PgConnection,
  instruments: ReadonlyArray<BookInstrument<Entry>>
): Effect.Effect<unknown, StoreError> =>
  instruments.length === 0
    ? Effect.void
    : connection.query(
        `UPDATE instruments i SET symbol = v.symbol, raw_symbol = v.raw, asset_class = v.class, exchange = v.exchange,
           activation = v.activation::timestamptz, expiration = v.expiration::timestamptz, details = v.details::jsonb
         FROM ${changingList}) v(id, symbol, raw, class, exchange, activation, expiration, details)
         WHERE i.id = v.id`,
        changingColumns(instruments)
      )

/** Values of listing columns, as parallel arrays. */
const listingValues = (listings: ReadonlyArray<BookListing<Entry>>) => [
  listings.map((listing) => listing.rawSymbol ?? null),
  listings.map((listing) => listing.nativeId ?? null),
  listings.map((listing) => timestampParameter(listing.from * UnixNanos.PerMicro)),
  listings.map((listing) => timestampParameter(listing.to * UnixNanos.PerMicro))
]

const writeListings = Effect.fnUntraced(function* (
  connection: PgConnection,
  listings: ReadonlyArray<BookListing<Entry>>
) {
  const removed = listings.filter((listing) => listing.isRemoved && listing.id !== undefined)
  const changed = listings.filter(
    (listing) => listing.isChanged && !listing.isRemoved && listing.id !== undefined
  )
  const added = listings.filter((listing) => !listing.isRemoved && listing.id === undefined)
  if (removed.length > 0)
    yield* connection.query("DELETE FROM listings WHERE id = ANY ($1::int8[])", [
      removed.map((each) => each.id)
    ])
  if (changed.length > 0)
    yield* connection.query(
      `UPDATE listings l SET raw_symbol = v.raw, native_id = v.native, valid_from = v.valid_from::timestamptz,
         valid_to = v.valid_to::timestamptz
       FROM unnest($1::int8[], $2::text[], $3::int8[], $4::text[], $5::text[]) v(id, raw, native, valid_from, valid_to)
       WHERE l.id = v.id`,
      [changed.map((each) => each.id), ...listingValues(changed)]
    )
  if (added.length > 0)
    yield* connection.query(
      `INSERT INTO listings (dataset_id, instrument_id, raw_symbol, native_id, valid_from, valid_to)
       SELECT dataset, instrument, raw, native, valid_from::timestamptz, valid_to::timestamptz
       FROM unnest($1::int4[], $2::int4[], $3::text[], $4::int8[], $5::text[], $6::text[])
         v(dataset, instrument, raw, native, valid_from, valid_to)`,
      [
        added.map((each) => each.instrument.dataset),
        added.map((each) => each.instrument.value.id),
        ...listingValues(added)
      ]
    )
})

const toInstrument = (instrument: BookInstrument<Entry>): Instrument => {
  const { value } = instrument
  return {
    id: value.id,
    provider: value.provider,
    dataset: value.datasetName,
    rawSymbol: instrument.rawSymbol ?? value.fallback,
    symbol: symbolOf(instrument),
    priceScale: value.priceScale,
    sizeScale: value.sizeScale,
    assetClass: (value.details.assetClass ?? "unknown") as AssetClass,
    exchange: value.details.exchange
  }
}

const loadInstruments = (
  pool: PgPool,
  datasets?: ReadonlyArray<string>
): Effect.Effect<InstrumentTables, StoreError> =>
  pool.transaction("load instruments", (connection) =>
    Effect.gen(function* () {
      yield* connection.script("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
      const among = "($1::text[] IS NULL OR d.name = ANY ($1))"
      const rows = yield* connection.query<InstrumentRow>(
        `SELECT ${instrumentColumns} FROM instruments i JOIN datasets d ON d.id = i.dataset_id WHERE ${among}`,
        [datasets ?? null]
      )
      const listed = yield* connection.query<ListingRow>(
        `SELECT ${listingColumns} FROM listings l JOIN datasets d ON d.id = l.dataset_id WHERE ${among}
         ORDER BY l.dataset_id, l.raw_symbol, l.valid_from`,
        [datasets ?? null]
      )
      const instruments = new Map(rows.map((row) => [row.id, instrumentOf(row)]))
      const listings = listed.flatMap((row) => listingOf(row, instruments.get(row.instrument_id)))
      return { instruments, listings, directory: directory(instruments.values()) }
    })
  )

const listingOf = (row: ListingRow, instrument: Instrument | undefined): ReadonlyArray<Listing> => {
  if (instrument === undefined) return []
  const start = row.valid_from * UnixNanos.PerMicro
  const end = row.valid_to * UnixNanos.PerMicro
  return [
    {
      instrument: row.instrument_id,
      dataset: instrument.dataset,
      rawSymbol: row.raw_symbol ?? `#${row.native_id}`,
      nativeId: row.native_id === null ? undefined : Number(row.native_id),
      valid: {
        start: start < UnixNanos.Min ? UnixNanos.Min : start,
        end: end > UnixNanos.Max ? UnixNanos.Max : end
      }
    }
  ]
}

const decimalOf = (text: string | undefined): Decimal.Decimal | undefined =>
  text === undefined ? undefined : Decimal.parse(text)

const timeOf = (text: string | undefined): bigint | undefined =>
  text === undefined ? undefined : BigInt(text)

const instrumentDetails = (
  pool: PgPool,
  id: InstrumentId
): Effect.Effect<InstrumentDetails | undefined, StoreError> =>
  Number.isInteger(id) && id >= 0 && id <= 0x7fffffff
    ? Effect.map(
        pool.query<{ readonly details: StoredDetails }>("SELECT details FROM instruments WHERE id = $1", [
          id
        ]),
        ([row]) => (row === undefined ? undefined : publicDetails(row.details))
      )
    : Effect.fail(
        new StoreError({
          operation: "read instrument details",
          reason: new StoreBadRequest({ detail: `${id} is not an instrument id` })
        })
      )

const publicDetails = (stored: StoredDetails): InstrumentDetails => {
  const details: InstrumentDetails = {
    assetClass: stored.assetClass as AssetClass | undefined,
    exchange: stored.exchange,
    currency: stored.currency,
    base: stored.base,
    underlying: stored.underlying,
    tickSize: decimalOf(stored.tickSize),
    lotSize: decimalOf(stored.lotSize),
    multiplier: decimalOf(stored.multiplier),
    strike: decimalOf(stored.strike),
    activation: timeOf(stored.activation),
    expiration: timeOf(stored.expiration),
    metadata: stored.metadata
  }
  return Object.fromEntries(Object.entries(details).filter(([, value]) => value !== undefined))
}

/** The instrument part of a `MarketStore`. */
export type InstrumentPart = Pick<
  MarketStore["Service"],
  "registerListings" | "loadInstruments" | "instrumentDetails"
>

/** Instruments in the database behind a pool. */
export const make = (pool: PgPool): InstrumentPart => ({
  registerListings: (claims) => registerListings(pool, claims),
  loadInstruments: (datasets) => loadInstruments(pool, datasets),
  instrumentDetails: (id) => instrumentDetails(pool, id)
})
