/**
 * The contract of `MarketStore` in the plainest way that can be right: lists and maps, every question answered by going
 * through all rows. It exists to show that the cards of the suite can be passed, and, with one rule exchanged at a time,
 * that each of them can be failed.
 */
import {
  ABSENT_I32,
  ABSENT_I64,
  type AppendClaim,
  type AppendResult,
  type BarBatch,
  BarFromTrades,
  type BarReadRequest,
  type BookBatch,
  barBuilder,
  batchContext,
  bookBuilder,
  type ConflictRequest,
  Coverage,
  Decimal,
  type FeedNote,
  type IngestSource,
  type Instrument,
  type InstrumentDetails,
  type Listing,
  type ListingClaim,
  type MarketBatch,
  MarketSchema,
  MarketStore,
  type QuoteBatch,
  quoteBuilder,
  type ReadRequest,
  type RevisionLook,
  type RowConflict,
  rowKind,
  StoreBadRequest,
  StoreError,
  StoreIncompatible,
  StoreInvalidData,
  StoreMigrations,
  type SymbolEntry,
  SymbolText,
  Timeframe,
  TimeRange,
  TradeBatch,
  tradeBuilder,
  UnixNanos
} from "@data-manager/core"
import { Effect, Layer, Stream } from "effect"
import * as BatchRow from "../src/BatchRow.ts"
import * as FeedModel from "../src/FeedModel.ts"
import type { StoreDatabase } from "../src/StoreCard.ts"
import { type LeaseRules, memoryLeases, soundLease } from "./MemoryLease.ts"

type Values = { readonly [column: string]: ReadonlyArray<bigint | number> }

/** A row as it is kept: `row` for identity, order and equality, `values` for reading it back. */
export interface Kept {
  readonly kind: MarketSchema.RowKind
  readonly row: BatchRow.BatchRow
  readonly values: Values
  readonly textId: string | undefined
}

/** A bar before it is written into columns. */
export interface ExactBar {
  readonly instrument: number
  readonly start: bigint
  readonly open: Decimal.Decimal
  readonly high: Decimal.Decimal
  readonly low: Decimal.Decimal
  readonly close: Decimal.Decimal
  readonly volume: Decimal.Decimal
  readonly tradeCount: bigint
}

const isAbsent = ({ values }: Kept, column: string): boolean =>
  values[column]?.[0] === (column === "tsRecv" ? ABSENT_I64 : ABSENT_I32)

const isSampled = ({ series }: BatchRow.BatchRow): boolean =>
  MarketSchema.is(series) && MarketSchema.clock(series) === "ts_recv"

/** What a store must get right; a broken store has one of these wrong. */
export const soundRules = {
  identity: BatchRow.identity,
  /** What the capture says may be absent on one side. */
  sameContent: (a: Kept, b: Kept): boolean => {
    const alike = (column: "tsRecv" | "tsInDelta") => isAbsent(a, column) || isAbsent(b, column)
    const venueText = ({ row }: Kept): string =>
      BatchRow.text({
        ...row,
        tsRecv: isSampled(row) || !alike("tsRecv") ? row.tsRecv : 0n,
        content: alike("tsInDelta") ? row.content.replace(/ delta \S+/, "") : row.content
      })
    return venueText(a) === venueText(b)
  },
  /** The stored row once another one of equal content has come. */
  completed: (stored: Kept, other: Kept): Kept => {
    const columns = ["tsRecv", "tsInDelta"].filter(
      (column) => isAbsent(stored, column) && !isAbsent(other, column)
    )
    if (columns.length === 0) return stored
    const values = { ...stored.values }
    for (const column of columns) values[column] = other.values[column]!
    return { ...stored, values }
  },
  /** What is kept of a row. */
  keep: (values: Values, _kind: MarketSchema.RowKind): Values => values,
  readOrder: (a: BatchRow.BatchRow, b: BatchRow.BatchRow): number =>
    sign(a.time - b.time) ||
    (a.isBar === true ? a.instrument - b.instrument : sign(a.tsRecv - b.tsRecv)) ||
    sign(a.key - b.key) ||
    a.instrument - b.instrument,
  inRange: (time: bigint, range: TimeRange.TimeRange): boolean => TimeRange.contains(range, time),
  sharesBatch: (dataset: string | undefined, next: string | undefined): boolean => dataset === next,
  /** The time under which replacing goes together. */
  replaceGroup: (row: BatchRow.BatchRow): string =>
    `${row.instrument} ${row.series} ${UnixNanos.floorMicros(row.time)}`,
  /** Whether a segment replaces the microsecond that the one before it ended in. */
  replacesAgain: false,
  countsConflict: (_kind: MarketSchema.RowKind): boolean => true,
  acceptsRow: (kept: Kept, known: boolean): string | undefined => {
    if (kept.row.time === ABSENT_I64) return "a row has no time"
    if (!known) return `instrument ${kept.row.instrument} is not registered`
    const publisher = kept.values.publisher?.[0] ?? 0
    return publisher > 32767 ? `publisher ${publisher} is beyond 15 bits` : undefined
  },
  acceptsSegment: (segment: number, next: number): boolean => segment === next,
  acceptsPiece: (from: bigint, position: bigint): boolean => from === position || position === 0n,
  isDone: (segment: number, next: number): boolean => segment < next,
  claimed: (range: TimeRange.TimeRange): TimeRange.TimeRange | undefined => TimeRange.inwardMicros(range),
  heldAfterMark: (held: Coverage.RangeSet, span: Coverage.CoverageSpan): Coverage.RangeSet =>
    span.state === "expired" ? Coverage.subtract(held, [span.range]) : held,
  barStart: (time: bigint, seconds: number): bigint => {
    const length = BigInt(seconds) * UnixNanos.PerSecond
    return time - (((time % length) + length) % length)
  },
  barOrder: (a: BatchRow.BatchRow, b: BatchRow.BatchRow): number =>
    sign(a.time - b.time) || sign(a.tsRecv - b.tsRecv) || sign(a.key - b.key),
  barInRange: (start: bigint, _seconds: number, range: TimeRange.TimeRange): boolean =>
    TimeRange.contains(range, start),
  volume: (total: Decimal.Decimal): Decimal.Decimal => total,
  filler: (before: ExactBar, start: bigint): ExactBar => ({
    ...before,
    start,
    open: before.close,
    high: before.close,
    low: before.close,
    volume: { mantissa: 0n, exponent: 0 },
    tradeCount: 0n
  }),
  /** The four prices as i64 mantissas at one exponent, where there is one. */
  atOneExponent: (
    prices: ReadonlyArray<Decimal.Decimal>
  ): { mantissas: Array<bigint>; exponent: number } | undefined => {
    const exponent = Math.min(...prices.map((price) => Decimal.normalize(price).exponent))
    const mantissas = prices.map((price) => Decimal.rescale(price.mantissa, price.exponent, exponent)!)
    return mantissas.every((m) => m >= -(2n ** 63n) && m < ABSENT_I64) ? { mantissas, exponent } : undefined
  },
  /** Whether a claim means an instrument that has had this text before. */
  sameInstrument: (
    claim: ListingClaim,
    listings: ReadonlyArray<Listing>,
    details: InstrumentDetails
  ): boolean => {
    const [was, is] = [details.expiration, claim.details?.expiration]
    if (was !== undefined && is !== undefined && was !== is) return false
    return listings.some(
      (each) => claim.valid.start - each.valid.end <= Year && each.valid.start - claim.valid.end <= Year
    )
  },
  namesNumber: (claim: ListingClaim, each: Listing): boolean =>
    each.nativeId === claim.nativeId && TimeRange.overlaps(each.valid, claim.valid),
  sameDataset: (claim: ListingClaim, each: Listing): boolean => each.dataset === claim.dataset,
  scales: (claim: ListingClaim): { priceScale: number; sizeScale: number } => ({
    priceScale:
      claim.details?.tickSize === undefined
        ? claim.defaultPriceScale
        : Decimal.scaleOf(claim.details.tickSize),
    sizeScale:
      claim.details?.lotSize === undefined ? claim.defaultSizeScale : Decimal.scaleOf(claim.details.lotSize)
  }),
  keepsScales: true,
  mergeDetails: (old: InstrumentDetails, told: InstrumentDetails): InstrumentDetails => ({
    ...old,
    ...Object.fromEntries(Object.entries(told).filter(([, value]) => value !== undefined))
  }),
  keepEntry: (entry: SymbolEntry): SymbolEntry => entry,
  marksExpired: true,
  /** What a live session holds of an instrument. */
  live: FeedModel.states,
  /** Whether what is taken out of what is held goes out of live sessions, too. */
  cutsLive: (_why: "expired" | "revised"): boolean => true,
  dropsOnDown: true,
  lateRows: (_row: BatchRow.BatchRow, _stored: Iterable<Kept>): boolean => true
}

/** One of each rule. */
export type MemoryRules = typeof soundRules

const Year = 365n * UnixNanos.PerDay

const sign = (value: bigint): number => (value < 0n ? -1 : value > 0n ? 1 : 0)

interface Run {
  readonly id: bigint
  readonly source: IngestSource
  nextSegment: number
  rows: bigint
  completedAt: bigint | undefined
  /** Newest microsecond of the rows so far. */
  last: bigint | undefined
}

interface Known {
  instrument: Instrument
  details: InstrumentDetails
  named: boolean
}

/** A row that lost a conflict. */
interface SetAside {
  readonly kept: Kept
  readonly lost: "new" | "stored"
  readonly run: bigint
}

/** Everything that a database holds. */
export class MemoryState {
  readonly rules: MemoryRules
  applied = 0
  rows = new Map<string, Kept>()
  /** Trades that retention removed: their bars stay. */
  retired: Array<Kept> = []
  conflicts = new Map<string, SetAside>()
  runs: Array<Run> = []
  /** Position of each stream. */
  streams = new Map<string, bigint>()
  held = new Map<string, Coverage.RangeSet>()
  marks: Array<Coverage.CoverageSpan> = []
  /** Notes of feeds, as they came. */
  notes: Array<FeedNote> = []
  /** What was taken out of what sessions hold, by session, or session and instrument. */
  cut = new Map<string, Coverage.RangeSet>()
  /** Noted revisions by provider, dataset, schema and time. */
  revisions = new Map<string, string>()
  known: Array<Known> = []
  listings: Array<Listing> = []
  entries = new Map<string, SymbolEntry>()
  /** Those of the map, until it changes. */
  listed: ReadonlyArray<SymbolEntry> = []
  keyKinds = new Map<string, "sequenced" | "venue-id" | "text-hash">()

  constructor(rules: MemoryRules) {
    this.rules = rules
  }

  clear(): void {
    Object.assign(this, new MemoryState(this.rules), { applied: this.applied })
  }
}

const fail = (operation: string, detail: string): Effect.Effect<never, StoreError> =>
  Effect.fail(new StoreError({ operation, reason: new StoreInvalidData({ detail }) }))

const refuse = (operation: string, detail: string): Effect.Effect<never, StoreError> =>
  Effect.fail(new StoreError({ operation, reason: new StoreBadRequest({ detail }) }))

// ---------------------------------------------------------------------------------------------------------------------
// Rows

const keptRows = (batch: MarketBatch, rules: MemoryRules): Array<Kept> => {
  const kind = rowKind(batch)
  return BatchRow.of(batch).map((row, i) => {
    const columns = Object.entries<BigInt64Array>(batch.columns as never).map(([name, view]) => {
      const lanes = batch.length === 0 ? 0 : view.length / batch.length
      return [name, [...view.subarray(i * lanes, (i + 1) * lanes)]] as const
    })
    const textId = batch._tag === "TradeBatch" ? batch.textIds?.[i] : undefined
    return { kind, row, values: rules.keep(Object.fromEntries(columns), kind), textId }
  })
}

const contextOf = (state: MemoryState, instrument: number | undefined) => {
  const known = state.known.find((each) => each.instrument.id === instrument)?.instrument
  return batchContext({
    provider: known?.provider ?? "",
    dataset: known?.dataset ?? "",
    instruments: new Map(state.known.map((each) => [each.instrument.id, each.instrument])),
    keyKind: state.keyKinds.get(known?.dataset ?? "") ?? "sequenced"
  })
}

const build = (state: MemoryState, kind: MarketSchema.RowKind, rows: ReadonlyArray<Kept>): MarketBatch => {
  const context = contextOf(state, rows[0]?.row.instrument)
  const make = { trades: tradeBuilder, quotes: quoteBuilder, bars: barBuilder, book: bookBuilder }[kind]
  const builder = make(context, rows.length)
  rows.forEach((kept, i) => {
    for (const [name, values] of Object.entries(kept.values))
      values.forEach((value, lane) => {
        ;(builder.columns as unknown as Record<string, Array<bigint | number>>)[name]![
          i * values.length + lane
        ] = value
      })
    builder.length = i + 1
  })
  const batch = builder.flush() as MarketBatch
  const named = rows.some((kept) => kept.textId !== undefined)
  return batch._tag === "TradeBatch" && named
    ? new TradeBatch(
        context,
        batch,
        batch.length,
        rows.map((kept) => kept.textId ?? "")
      )
    : batch
}

/** A row whose values have changed, as it would have come. */
const keptRow = (state: MemoryState, kept: Kept): Kept => ({
  ...kept,
  row: BatchRow.of(build(state, kept.kind, [kept]))[0]!
})

const find = (
  state: MemoryState,
  kind: MarketSchema.RowKind,
  request: Pick<ReadRequest, "instruments" | "range">,
  series?: string
): Array<Kept> =>
  [...state.rows.values()]
    .filter(
      ({ kind: each, row }) =>
        each === kind &&
        request.instruments.includes(row.instrument) &&
        (series === undefined || row.series === series) &&
        state.rules.inRange(row.time, request.range)
    )
    .sort((a, b) => state.rules.readOrder(a.row, b.row))

const read = <B extends MarketBatch>(
  state: MemoryState,
  kind: MarketSchema.RowKind,
  request: ReadRequest,
  series?: string
): Stream.Stream<B, StoreError> =>
  Stream.suspend(() => {
    const rows = find(state, kind, request, series)
    return Stream.fromIterable(portions(state, rows, request.batchRows ?? 65_536)).pipe(
      Stream.rechunk(1),
      Stream.mapEffect((part) => Effect.as(Effect.yieldNow, build(state, kind, part) as B))
    )
  })

/** At most `size` rows of one dataset each. */
const portions = (state: MemoryState, rows: ReadonlyArray<Kept>, size: number): Array<Array<Kept>> => {
  const datasets = new Map(state.known.map(({ instrument }) => [instrument.id, instrument.dataset]))
  const dataset = (kept: Kept | undefined) => datasets.get(kept?.row.instrument ?? 0)
  const parts: Array<Array<Kept>> = []
  for (const [i, kept] of rows.entries()) {
    const last = parts[parts.length - 1]
    if (
      last !== undefined &&
      last.length < size &&
      state.rules.sharesBatch(dataset(rows[i - 1]), dataset(kept))
    )
      last.push(kept)
    else parts.push([kept])
  }
  return parts
}

/**
 * Writes the rows of a batch; the counts of the result. Replacing goes by whole microseconds, except where an earlier
 * segment of the run has begun one (`last`): there rows are replaced by those of their key.
 */
const write = (
  state: MemoryState,
  rows: ReadonlyArray<Kept>,
  onConflict: "keep" | "replace",
  { id, last }: Run
) => {
  const { rules } = state
  const counts = { inserted: 0, duplicates: 0, conflicts: 0 }
  const before = new Map(state.rows)
  const setAside = (kept: Kept, lost: "new" | "stored") => {
    const key = `${rules.identity(kept.row)} ${lost} ${BatchRow.text(kept.row)}`
    if (rules.countsConflict(kept.kind) && !state.conflicts.has(key))
      state.conflicts.set(key, { kept, lost, run: id })
  }
  if (onConflict === "replace") {
    const whole = new Set(
      rows
        .filter(
          ({ row }) => last === undefined || UnixNanos.floorMicros(row.time) > last || rules.replacesAgain
        )
        .map(({ row }) => rules.replaceGroup(row))
    )
    const mineBy = new Map(rows.toReversed().map((kept) => [rules.identity(kept.row), kept]))
    for (const [identity, stored] of before) {
      const mine = mineBy.get(identity)
      if (mine === undefined ? !whole.has(rules.replaceGroup(stored.row)) : rules.sameContent(stored, mine))
        continue
      state.rows.delete(identity)
      setAside(stored, "stored")
    }
  }
  for (const kept of rows) {
    const identity = rules.identity(kept.row)
    const stored = state.rows.get(identity)
    if (stored === undefined) {
      if (!rules.lateRows(kept.row, state.rows.values())) continue
      state.rows.set(identity, kept)
      if (before.has(identity)) counts.conflicts += 1
      else counts.inserted += 1
    } else if (rules.sameContent(stored, kept)) {
      counts.duplicates += 1
      const completed = rules.completed(stored, kept)
      if (completed !== stored) state.rows.set(identity, keptRow(state, completed))
    } else {
      counts.conflicts += 1
      setAside(kept, "new")
    }
  }
  return counts
}

// ---------------------------------------------------------------------------------------------------------------------
// Bars

const priceOf = ({ values }: Kept): Decimal.Decimal => ({
  mantissa: values.price![0] as bigint,
  exponent: values.priceExponent![0] as number
})

const barOf = (rules: MemoryRules, instrument: number, start: bigint, trades: Array<Kept>): ExactBar => {
  trades.sort((a, b) => rules.barOrder(a.row, b.row))
  const prices = trades.map(priceOf)
  const sizes = trades
    .filter(({ values }) => values.size![0] !== ABSENT_I64)
    .map(({ values }) => ({
      mantissa: values.size![0] as bigint,
      exponent: values.sizeExponent![0] as number
    }))
  return {
    instrument,
    start,
    open: prices[0]!,
    high: prices.reduce((a, b) => (Decimal.compare(a, b) < 0 ? b : a)),
    low: prices.reduce((a, b) => (Decimal.compare(a, b) > 0 ? b : a)),
    close: prices[prices.length - 1]!,
    volume: rules.volume(sizes.reduce(Decimal.add, { mantissa: 0n, exponent: 0 })),
    tradeCount: BigInt(trades.length)
  }
}

const exactBars = (state: MemoryState, request: BarReadRequest, seconds: number): Array<ExactBar> => {
  const { rules } = state
  const groups = new Map<string, { instrument: number; start: bigint; trades: Array<Kept> }>()
  for (const kept of [...state.rows.values(), ...(seconds < 60 ? [] : state.retired)]) {
    if (kept.kind !== "trades" || !request.instruments.includes(kept.row.instrument)) continue
    if (kept.values.price![0] === ABSENT_I64) continue
    const start = rules.barStart(kept.row.time, seconds)
    const { instrument } = kept.row
    const group = groups.get(`${instrument} ${start}`) ?? { instrument, start, trades: [] }
    group.trades.push(kept)
    groups.set(`${instrument} ${start}`, group)
  }
  const bars = [...groups.values()]
    .filter(({ start }) => rules.barInRange(start, seconds, request.range))
    .map(({ instrument, start, trades }) => barOf(rules, instrument, start, trades))
    .sort((a, b) => a.instrument - b.instrument || sign(a.start - b.start))
  const step = BigInt(seconds) * UnixNanos.PerSecond
  const filled = bars.flatMap((bar, i) => {
    const next = bars[i + 1]
    const out = [bar]
    if (request.fill === true && next?.instrument === bar.instrument)
      for (let start = bar.start + step; start < next.start; start += step) out.push(rules.filler(bar, start))
    return out
  })
  return filled.sort((a, b) => sign(a.start - b.start) || a.instrument - b.instrument)
}

const barSchemas = MarketSchema.all.filter((each) => MarketSchema.kind(each) === "bars")

const readBars = (state: MemoryState, request: BarReadRequest): Stream.Stream<BarBatch, StoreError> => {
  if (request.schema !== undefined) {
    if (!barSchemas.includes(request.schema))
      return Stream.fromEffect(refuse("read bars", `offered are ${barSchemas}`))
    return MarketSchema.seconds(request.schema) === 0 && request.fill === true
      ? Stream.fromEffect(refuse("read bars", "session bars have no length"))
      : read(state, "bars", request, request.schema)
  }
  if (!Timeframe.is(request.timeframe))
    return Stream.fromEffect(refuse("read bars", `offered are ${Timeframe.all}, ${barSchemas}`))
  const seconds = Timeframe.seconds(request.timeframe)
  if (request.source === "provider") {
    const schema = barSchemas.find((each) => MarketSchema.seconds(each) === seconds)
    return schema === undefined ? Stream.empty : read(state, "bars", request, schema)
  }
  return Stream.suspend(() => {
    const bars = exactBars(state, request, seconds)
    const builder = barBuilder(contextOf(state, bars[0]?.instrument), bars.length)
    const { columns: c } = builder
    for (const [i, bar] of bars.entries()) {
      const prices = state.rules.atOneExponent([bar.open, bar.high, bar.low, bar.close])
      if (prices === undefined)
        return Stream.fromEffect(fail("read bars", "a bar's prices need more than 64 bits"))
      const [open, high, low, close] = prices.mantissas as [bigint, bigint, bigint, bigint]
      const volume = Decimal.normalize(bar.volume)
      Object.entries({ open, high, low, close }).forEach(([name, value]) => {
        c[name as "open"][i] = value
      })
      c.tsEvent[i] = bar.start
      c.priceExponent[i] = prices.exponent
      c.volumeLow[i] = BigInt.asUintN(64, volume.mantissa)
      c.volumeHigh[i] = volume.mantissa >> 64n
      c.volumeExponent[i] = volume.exponent
      c.tradeCount[i] = bar.tradeCount
      c.instrument[i] = bar.instrument
      c.seconds[i] = seconds
      c.source[i] = BarFromTrades
      builder.length = i + 1
    }
    const size = request.batchRows ?? 65_536
    const whole = builder.flush()
    const starts = Array.from({ length: Math.ceil(whole.length / size) }, (_, i) => i * size)
    return Stream.fromIterable(starts.map((from) => whole.slice(from, from + size)))
  })
}

// ---------------------------------------------------------------------------------------------------------------------
// Instruments

const register = (state: MemoryState, claim: ListingClaim): Instrument => {
  const { rules } = state
  const mine = state.listings.filter((each) => rules.sameDataset(claim, each))
  const owner = (listing: Listing | undefined) =>
    state.known.find((each) => each.instrument.id === listing?.instrument)
  const byText = state.known.filter(
    (each) =>
      each.named &&
      claim.rawSymbol === each.instrument.rawSymbol &&
      mine.some((listing) => listing.instrument === each.instrument.id) &&
      rules.sameInstrument(
        claim,
        mine.filter((listing) => listing.instrument === each.instrument.id),
        each.details
      )
  )
  const byNumber =
    claim.nativeId === undefined
      ? undefined
      : owner(
          mine.find(
            (each) => rules.namesNumber(claim, each) && (claim.rawSymbol === undefined || !owner(each)!.named)
          )
        )
  const known = byText[0] ?? byNumber ?? create(state, claim)
  if (claim.rawSymbol !== undefined && !known.named) name(state, known, claim)
  known.details = rules.mergeDetails(known.details, claim.details ?? {})
  known.instrument = {
    ...known.instrument,
    ...(rules.keepsScales ? {} : rules.scales(claim)),
    assetClass: known.details.assetClass ?? "unknown",
    exchange: known.details.exchange
  }
  extend(state, known.instrument, claim)
  return known.instrument
}

const create = (state: MemoryState, claim: ListingClaim): Known => {
  const rawSymbol = claim.rawSymbol ?? `#${claim.nativeId}`
  const instrument: Instrument = {
    id: state.known.length + 1,
    provider: claim.provider,
    dataset: claim.dataset,
    rawSymbol,
    symbol: SymbolText.make(claim.dataset, rawSymbol),
    assetClass: "unknown",
    ...state.rules.scales(claim)
  }
  const known = { instrument, details: {}, named: claim.rawSymbol !== undefined }
  state.known.push(known)
  return known
}

const name = (state: MemoryState, known: Known, claim: ListingClaim): void => {
  const rawSymbol = claim.rawSymbol!
  known.named = true
  known.instrument = { ...known.instrument, rawSymbol, symbol: SymbolText.make(claim.dataset, rawSymbol) }
  state.listings = state.listings.map((each) =>
    each.instrument === known.instrument.id ? { ...each, rawSymbol } : each
  )
}

/** Adds the time of a claim to the listings of its text, as far as it is not there yet. */
const extend = (state: MemoryState, instrument: Instrument, claim: ListingClaim): void => {
  const same = (each: Listing) => each.dataset === claim.dataset && each.rawSymbol === instrument.rawSymbol
  const taken = Coverage.ranges(state.listings.filter(same).map((each) => each.valid))
  const mine = (each: Listing) =>
    same(each) &&
    each.instrument === instrument.id &&
    (each.nativeId === claim.nativeId || claim.nativeId === undefined)
  const number = claim.nativeId ?? state.listings.find(mine)?.nativeId
  const exact = (each: Listing) => mine(each) && each.nativeId === number
  const free = Coverage.subtract([claim.valid], taken)
  const valid = Coverage.union(Coverage.ranges(state.listings.filter(exact).map((each) => each.valid)), free)
  state.listings = [
    ...state.listings.filter((each) => !exact(each)),
    ...valid.map((range) => ({
      instrument: instrument.id,
      dataset: claim.dataset,
      rawSymbol: instrument.rawSymbol,
      nativeId: number,
      valid: range
    }))
  ]
}

// ---------------------------------------------------------------------------------------------------------------------
// Service

const coverageKey = (instrument: number, schema: MarketSchema.MarketSchema) => `${instrument} ${schema}`

const claimCoverage = (state: MemoryState, claims: ReadonlyArray<Coverage.CoverageClaim>): void => {
  for (const { instrument, schema, range } of claims) {
    const whole = state.rules.claimed(range)
    if (whole === undefined) continue
    const key = coverageKey(instrument, schema)
    state.held.set(key, Coverage.union(state.held.get(key) ?? [], [whole]))
  }
}

/** Held time whose revision is another one than was noted is missing from here on. */
const noteRevisions = (state: MemoryState, look: RevisionLook): void => {
  const { provider, dataset, schema } = look
  const ids = state.known.filter(
    ({ instrument: one }) => one.provider === provider && one.dataset === dataset
  )
  for (const { range, revision } of look.revisions) {
    const time = `${provider} ${dataset} ${schema} ${range.start} ${range.end}`
    const noted = state.revisions.get(time)
    state.revisions.set(time, revision)
    if (noted === undefined || noted === revision) continue
    const isOf = (span: ReturnType<typeof liveSpans>[number]) =>
      span.provider === provider && span.dataset === dataset && span.schema === schema
    for (const span of cutLive(state, "revised", range, isOf))
      state.marks.push({ ...span, state: "missing", cause: Coverage.Revised })
    for (const { instrument } of ids) {
      const key = coverageKey(instrument.id, schema)
      const held = state.held.get(key) ?? []
      state.held.set(key, Coverage.subtract(held, [range]))
      for (const lost of Coverage.intersect(held, [range]))
        state.marks.push({
          instrument: instrument.id,
          schema,
          state: "missing",
          range: lost,
          cause: Coverage.Revised
        })
    }
  }
}

const startOf = (state: MemoryState, session: string) =>
  state.notes.find((note) => note._tag === "SessionStarted" && note.session === session) as
    | Extract<FeedNote, { readonly _tag: "SessionStarted" }>
    | undefined

/** Every instrument of every session of a schema, with what it says. */
const liveSpans = (state: MemoryState) =>
  [...new Set(state.notes.map((note) => note.session))].flatMap((session) => {
    const { dataset, provider, schema } = startOf(state, session)!
    const mine = FeedModel.ofSession(state.notes, session)
    const ids = new Set(mine.flatMap((note) => (note._tag === "InstrumentsJoined" ? note.instruments : [])))
    return [...ids].map((instrument) => {
      const key = `${session} ${instrument}`
      const { held, missing } = state.rules.live(mine, instrument)
      const cut = Coverage.union(state.cut.get(session) ?? [], state.cut.get(key) ?? [])
      const left = Coverage.subtract(held, cut)
      const gaps = mine.flatMap((note) =>
        note._tag === "RowsMissing" && (note.instruments?.includes(instrument) ?? true)
          ? Coverage.intersect(missing, Coverage.ranges([FeedModel.outward(note.range)])).map((range) => ({
              range,
              cause: note.cause
            }))
          : []
      )
      return { session, key, provider, dataset, schema, instrument, held: left, gaps }
    })
  })

/** Takes ranges out of what sessions hold; gives what was held of them. */
const cutLive = (
  state: MemoryState,
  why: "expired" | "revised",
  gone: TimeRange.TimeRange,
  wanted: (span: ReturnType<typeof liveSpans>[number]) => boolean
) => {
  if (!state.rules.cutsLive(why)) return []
  return liveSpans(state)
    .filter(wanted)
    .flatMap(({ key, instrument, schema, held }) => {
      const ranges = Coverage.intersect(held, [gone])
      state.cut.set(key, Coverage.union(state.cut.get(key) ?? [], ranges))
      return ranges.map((range) => ({ instrument, schema, range }))
    })
}

/** Why the notes cannot be taken, or undefined. */
const refusalOf = (state: MemoryState, notes: ReadonlyArray<FeedNote>): string | undefined => {
  const known = new Map<string, string>()
  const kindOf = ({ dataset, provider, schema }: NonNullable<ReturnType<typeof startOf>>) =>
    `${provider} ${dataset} ${schema}`
  for (const note of notes) {
    const before = startOf(state, note.session)
    const kind = known.get(note.session) ?? (before === undefined ? undefined : kindOf(before))
    if (note._tag !== "SessionStarted") {
      if (kind === undefined) return `there is no feed session ${note.session}`
    } else if (kind !== undefined && kind !== kindOf(note)) return `${note.session} is of ${kind}`
    else known.set(note.session, kindOf(note))
  }
  return undefined
}

const openSessions = (state: MemoryState) =>
  [...new Set(state.notes.map((note) => note.session))]
    .filter((key) => !state.notes.some((note) => note._tag === "SessionEnded" && note.session === key))
    .sort()
    .map((session) => {
      const { at, dataset, provider, schema } = startOf(state, session)!
      const mine = FeedModel.ofSession(state.notes, session)
      const ids = new Set(mine.flatMap((note) => (note._tag === "InstrumentsJoined" ? note.instruments : [])))
      const isIn = (id: number) => FeedModel.collected(mine, id).at(-1)?.end === MostMicros
      const times = mine.flatMap((note) => (note._tag === "Watermark" ? [note.at] : []))
      const startedAt = UnixNanos.ceilMicros(at) * UnixNanos.PerMicro
      const watermark = times.reduce((a, b) => (a > b ? a : b), startedAt)
      return {
        session,
        provider,
        dataset,
        schema,
        startedAt,
        watermark: UnixNanos.floorMicros(watermark) * UnixNanos.PerMicro,
        instruments: [...ids].filter(isIn).length,
        notedAt: 1n
      }
    })

/** Where the time of an instrument ends that has not left. */
const MostMicros = UnixNanos.floorMicros(UnixNanos.Max) * UnixNanos.PerMicro

const allSpans = (state: MemoryState): Array<Coverage.CoverageSpan> => [
  ...[...state.held].flatMap(([key, set]) => {
    const [instrument, schema] = key.split(" ") as [string, MarketSchema.MarketSchema]
    return set.map((range) => ({ instrument: Number(instrument), schema, state: "held" as const, range }))
  }),
  ...liveSpans(state).flatMap(({ gaps, held, instrument, schema }) => [
    ...held.map((range) => ({ instrument, schema, state: "held" as const, range })),
    ...gaps.map((gap) => ({ instrument, schema, state: "missing" as const, ...gap }))
  ]),
  ...state.marks
]

/** What moves the ledger on; undefined where the piece is there, text where it does not follow. */
const stepOf = (
  state: MemoryState,
  { segment, stream }: AppendClaim,
  run: Run
): (() => void) | string | undefined => {
  if (stream === undefined) {
    if (state.rules.isDone(segment, run.nextSegment)) return undefined
    if (!state.rules.acceptsSegment(segment, run.nextSegment))
      return `segment ${segment} does not follow ${run.nextSegment - 1}`
    return () => {
      run.nextSegment = segment + 1
    }
  }
  const position = state.streams.get(stream.name) ?? 0n
  if (stream.from >= stream.to) return "an empty piece"
  if (stream.to <= position) return undefined
  if (!state.rules.acceptsPiece(stream.from, position)) return `a piece from ${stream.from} after ${position}`
  return () => state.streams.set(stream.name, stream.to)
}

/** One append in one piece, without letting other fibers run. */
export const appendAtOnce = (
  state: MemoryState,
  batch: MarketBatch,
  claim: AppendClaim
): Effect.Effect<AppendResult, StoreError> =>
  Effect.suspend((): Effect.Effect<AppendResult, StoreError> => {
    const run = state.runs.find((each) => each.id === claim.run)
    if (run === undefined) return refuse("append", `there is no run ${claim.run}`)
    const step = stepOf(state, claim, run)
    if (typeof step === "string") return refuse("append", step)
    if (step === undefined) return Effect.succeed({ inserted: 0, duplicates: 0, conflicts: 0, skipped: true })
    const rows = keptRows(batch, state.rules)
    for (const kept of rows) {
      const known = state.known.some((each) => each.instrument.id === kept.row.instrument)
      const wrong = state.rules.acceptsRow(kept, known)
      if (wrong !== undefined) return fail("append", wrong)
    }
    const refusal = refusalOf(state, claim.feed ?? [])
    if (refusal !== undefined) return refuse("append", refusal)
    state.notes.push(...(claim.feed ?? []))
    const counts = write(state, rows, claim.onConflict ?? "keep", run)
    for (const { row } of rows) {
      const micros = UnixNanos.floorMicros(row.time)
      if (run.last === undefined || run.last < micros) run.last = micros
    }
    state.keyKinds.set(batch.context.dataset, batch.context.keyKind)
    claimCoverage(state, claim.coverage ?? [])
    step()
    run.rows += BigInt(batch.length)
    return Effect.succeed({ ...counts, skipped: false })
  })

const conflictsOf = (state: MemoryState, request: ConflictRequest): Array<RowConflict> =>
  [...state.conflicts.values()]
    .filter(
      ({ kept: { row } }) =>
        (request.instruments === undefined || request.instruments.includes(row.instrument)) &&
        (request.schema === undefined || request.schema === row.series) &&
        (request.range === undefined || state.rules.inRange(row.time, request.range))
    )
    .map(({ kept, lost, run }) => {
      const stored = state.rows.get(state.rules.identity(kept.row))
      return {
        instrument: kept.row.instrument,
        schema: kept.row.series as MarketSchema.MarketSchema,
        lost,
        setAside: build(state, kept.kind, [kept]),
        stored: stored === undefined ? undefined : build(state, stored.kind, [stored]),
        run,
        source: state.runs.find((each) => each.id === run)!.source,
        detectedAt: 1n
      }
    })

const beginRun = (state: MemoryState, source: IngestSource): Run => {
  const before = state.runs.find((each) => each.source.fingerprint === source.fingerprint)
  if (source.fingerprint !== undefined && before !== undefined) return { ...before }
  const run: Run = {
    id: BigInt(state.runs.length + 1),
    source,
    nextSegment: 0,
    rows: 0n,
    completedAt: undefined,
    last: undefined
  }
  state.runs.push(run)
  return { ...run }
}

/** No session of trades holds anything before, whoever joins it later. */
const retireLive = (state: MemoryState, gone: TimeRange.TimeRange): void => {
  for (const span of cutLive(state, "expired", gone, ({ schema }) => schema === "trades"))
    state.marks.push({ ...span, state: "expired" })
  for (const note of state.notes)
    if (note._tag === "SessionStarted" && note.schema === "trades" && state.rules.cutsLive("expired"))
      state.cut.set(note.session, [gone])
}

const expire = (state: MemoryState, before: bigint): { readonly partitions: number } => {
  // Partitions of years: the whole ones before.
  const edge = UnixNanos.parse(`${UnixNanos.toDate(before).slice(0, 4)}-01-01`)!
  const old = [...state.rows].filter(([, kept]) => kept.kind === "trades" && kept.row.time < edge)
  for (const [identity, kept] of old) {
    state.rows.delete(identity)
    state.retired.push(kept)
  }
  if (old.length > 0) retireLive(state, { start: UnixNanos.Min, end: edge })
  if (old.length > 0 && state.rules.marksExpired)
    for (const [key, set] of state.held) {
      const [instrument, schema] = key.split(" ") as [string, MarketSchema.MarketSchema]
      if (schema !== "trades") continue
      for (const range of Coverage.intersect(set, [{ start: UnixNanos.Min, end: edge }])) {
        state.marks.push({ instrument: Number(instrument), schema, state: "expired", range })
        state.held.set(key, Coverage.subtract(state.held.get(key)!, [range]))
      }
    }
  return { partitions: new Set(old.map(([, kept]) => UnixNanos.toDate(kept.row.time).slice(0, 4))).size }
}

const availability = (
  state: MemoryState,
  { instruments, range }: Parameters<MarketStore["Service"]["availability"]>[0]
) => {
  const days = new Map<
    string,
    { instrument: number; schema: MarketSchema.MarketSchema; day: bigint; times: Array<bigint> }
  >()
  for (const { row } of state.rows.values()) {
    if (instruments !== undefined && !instruments.includes(row.instrument)) continue
    const day = UnixNanos.startOfDay(row.time)
    if (range !== undefined && !TimeRange.overlaps(range, { start: day, end: day + UnixNanos.PerDay }))
      continue
    const key = `${row.instrument} ${row.series} ${day}`
    const schema = row.series as MarketSchema.MarketSchema
    const entry = days.get(key) ?? { instrument: row.instrument, schema, day, times: [] }
    entry.times.push(row.time)
    days.set(key, entry)
  }
  return [...days.values()].map(({ times, ...day }) => {
    times.sort((a, b) => sign(a - b))
    return { ...day, rows: BigInt(times.length), first: times[0]!, last: times[times.length - 1]! }
  })
}

/** Lets other fibers run before and does `body` in one piece. */
const atOnce = <A>(body: () => A): Effect.Effect<A> => Effect.andThen(Effect.yieldNow, Effect.sync(body))

/** The store over a state. */
export const memoryStore = (state: MemoryState): MarketStore["Service"] => ({
  capabilities: {
    edition: "postgresql",
    serverVersion: "memory",
    embedded: true,
    partitioning: "range",
    compression: false,
    continuousAggregates: false,
    bulkProfile: false,
    notes: []
  },
  beginRun: (source) => atOnce(() => beginRun(state, source)),
  completeRun: (id) =>
    Effect.suspend(() => {
      const run = state.runs.find((each) => each.id === id)
      if (run === undefined) return refuse("complete run", `there is no run ${id}`)
      run.completedAt = 1n
      return Effect.void
    }),
  streamPosition: (name) => atOnce(() => state.streams.get(name) ?? 0n),
  append: (batch, claim) => Effect.andThen(Effect.yieldNow, appendAtOnce(state, batch, claim)),
  claimCoverage: (claims) => atOnce(() => claimCoverage(state, claims)),
  markCoverage: (spans) =>
    atOnce(() => {
      for (const span of spans) {
        const key = coverageKey(span.instrument, span.schema)
        const held = state.held.get(key)
        if (held !== undefined) state.held.set(key, state.rules.heldAfterMark(held, span))
        if (span.state === "expired")
          cutLive(
            state,
            "expired",
            span.range,
            ({ instrument, schema }) => instrument === span.instrument && schema === span.schema
          )
        state.marks.push(span)
      }
    }),
  noteFeed: (notes) =>
    Effect.suspend(() => {
      const refusal = refusalOf(state, notes)
      if (refusal !== undefined) return refuse("note feed", refusal)
      state.notes.push(...notes)
      return Effect.void
    }),
  openFeedSessions: atOnce(() => openSessions(state)),
  noteRevisions: (look) => atOnce(() => noteRevisions(state, look)),
  coverage: (request) =>
    atOnce(() =>
      allSpans(state).filter(
        (span) =>
          (request.instruments === undefined || request.instruments.includes(span.instrument)) &&
          (request.schema === undefined || request.schema === span.schema) &&
          (request.range === undefined || TimeRange.overlaps(request.range, span.range)) &&
          (request.states === undefined || request.states.includes(span.state))
      )
    ),
  readTrades: (request) => read<TradeBatch>(state, "trades", request),
  readQuotes: (request) => read<QuoteBatch>(state, "quotes", request, request.schema),
  readBars: (request) => readBars(state, request),
  readBook: (request) => read<BookBatch>(state, "book", request, request.schema),
  lastTrades: (instruments, count) =>
    atOnce(() => {
      const range = { start: UnixNanos.Min, end: ABSENT_I64 }
      const rows = instruments.flatMap((id) =>
        find(state, "trades", { instruments: [id], range }).slice(-count)
      )
      rows.sort((a, b) => state.rules.readOrder(a.row, b.row))
      return portions(state, rows, 65_536).map((part) => build(state, "trades", part) as TradeBatch)
    }),
  conflicts: (request) => Stream.suspend(() => Stream.fromIterable(conflictsOf(state, request))),
  availability: (request) => atOnce(() => availability(state, request)),
  registerListings: (claims) =>
    atOnce(() => {
      const ids = claims.map((claim) => register(state, claim).id)
      return ids.map((id) => state.known.find((each) => each.instrument.id === id)!.instrument)
    }),
  loadInstruments: (datasets) =>
    atOnce(() => {
      const wanted = (dataset: string) => datasets === undefined || datasets.includes(dataset)
      const mine = state.known.map((each) => each.instrument).filter((each) => wanted(each.dataset))
      const instruments = new Map(mine.map((each) => [each.id, each]))
      return {
        instruments,
        listings: state.listings.filter((each) => wanted(each.dataset)),
        directory: instruments
      }
    }),
  instrumentDetails: (id) => atOnce(() => state.known.find((each) => each.instrument.id === id)?.details),
  symbolEntries: atOnce(() => state.listed),
  putSymbolEntries: (entries) =>
    atOnce(() => {
      for (const entry of entries)
        state.entries.set(`${entry.provider} ${entry.symbol}`, state.rules.keepEntry(entry))
      state.listed = [...state.entries.values()]
    }),
  expireTrades: (before) => atOnce(() => expire(state, before)),
  statistics: atOnce(() => ({
    databaseBytes: BigInt(state.rows.size + 1),
    tables: [{ table: "rows", rows: BigInt(state.rows.size), bytes: 0n, partitions: 0 }],
    conflicts: BigInt(state.conflicts.size),
    runs: {
      completed: BigInt(state.runs.filter((run) => run.completedAt !== undefined).length),
      open: BigInt(state.runs.filter((run) => run.completedAt === undefined).length)
    }
  }))
})

const migrationNames = ["initial", "second"]

const memoryMigrations = (state: MemoryState): StoreMigrations["Service"] => {
  const status = atOnce(() =>
    migrationNames.map((each, i) => ({
      version: i + 1,
      name: each,
      appliedAt: i < state.applied ? 1n : undefined,
      drifted: false
    }))
  )
  const move = (to: number) =>
    Effect.andThen(
      atOnce(() => {
        if (to < state.applied && state.rules.dropsOnDown) state.clear()
        state.applied = to
      }),
      status
    )
  return {
    status,
    up: (to = migrationNames.length) => move(Math.max(state.applied, to)),
    down: (to = state.applied - 1) => move(Math.min(state.applied, to))
  }
}

/** A new database, with one rule or the store around it exchanged. */
export const memoryDatabase = (
  rules: Partial<MemoryRules> = {},
  wrap: (store: MarketStore["Service"], state: MemoryState) => MarketStore["Service"] = (store) => store,
  wrapMigrations: (
    migrations: StoreMigrations["Service"],
    state: MemoryState
  ) => StoreMigrations["Service"] = (migrations) => migrations,
  leaseRules: Partial<LeaseRules> = {}
): Effect.Effect<StoreDatabase> =>
  Effect.sync(() => {
    const state = new MemoryState({ ...soundRules, ...rules })
    const store = Layer.effect(
      MarketStore,
      Effect.suspend(() =>
        state.applied === migrationNames.length
          ? Effect.succeed(wrap(memoryStore(state), state))
          : Effect.fail(
              new StoreError({
                operation: "open store",
                reason: new StoreIncompatible({ detail: "the schema is old", hint: "migrate up" })
              })
            )
      )
    )
    return {
      migrations: Layer.sync(StoreMigrations, () => wrapMigrations(memoryMigrations(state), state)),
      store,
      leases: memoryLeases(store, { ...soundLease, ...leaseRules })
    }
  })
