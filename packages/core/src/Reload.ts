/**
 * Reload: recent rows back into a publication that has none, as after a reboot, before live ones. Who joins then finds the
 * newest rows of each symbol, and history in front of the live rows, all marked as a replay.
 *
 *     store: window, newest first  -+-> in memory, as many rows as the publication keeps -> published, oldest first
 *     spool: what is not stored yet-+                                                          then the live rows, held meanwhile
 *
 * No row comes twice: what is held, or waits in the spool, is left out of what the store gives.
 */
import { Clock, Duration, Effect, Stream } from "effect"
import type { InstrumentId } from "./Instrument.ts"
import type { InstrumentRegistry } from "./InstrumentRegistry.ts"
import { type MarketBatch, rowKind } from "./MarketBatch.ts"
import * as MarketSchema from "./MarketSchema.ts"
import type { MarketStore } from "./MarketStore.ts"
import { AllSymbols } from "./Provider.ts"
import type { Publication } from "./Publication.ts"
import { readWindow } from "./Replay.ts"
import { replayMarker } from "./ReplayMark.ts"
import { type MomentBatch, orderOf } from "./RowMerge.ts"
import type { StoreError } from "./StoreError.ts"
import * as SymbolText from "./SymbolText.ts"
import * as TimeRange from "./TimeRange.ts"
import type { TransportError } from "./TransportError.ts"
import * as UnixNanos from "./UnixNanos.ts"

/** How far a reload is. "cut-short": live rows were too many to be held back any longer; what was put back by then stays. */
export type ReloadState = "running" | "done" | "cut-short" | "failed"

/** What is put back. */
export interface ReloadOptions {
  readonly store: MarketStore["Service"]
  readonly publication: Publication["Service"]
  /** In the store's numbers. */
  readonly instruments: ReadonlyArray<InstrumentId>
  /** Schemas that may have rows; those of kinds that the publication takes and has none of are read. */
  readonly schemas: ReadonlyArray<MarketSchema.MarketSchema>
  /** The recent past, up to now. */
  readonly range: TimeRange.TimeRange
  /** Time that reading may take; what is there by then is put back. Default 20 seconds. */
  readonly timeout?: Duration.Input | undefined
  /** Rows that are not in the store yet, oldest first: from a spool. */
  readonly spooled?: ReadonlyArray<MarketBatch> | undefined
  /** Rows that are published afterwards, and may be in the store by now: asked once everything is read. */
  readonly held?: (() => ReadonlyArray<MarketBatch>) | undefined
  /** Asked before each batch: false ends the reload. */
  readonly isWanted?: (() => boolean) | undefined
}

/** What became of a reload. */
export interface ReloadResult {
  /** Rows put back from the store, and from what waited beside it. */
  readonly rows: number
  readonly spooledRows: number
  /** From when on the window is whole; its start, unless the publication keeps no more or the time was up. */
  readonly since: bigint
}

/** Kinds of rows that a publication keeps for those who come later, and has none of: what a reload is for. */
export const freshKinds = ({ kept, kinds }: Publication["Service"]): ReadonlyArray<MarketSchema.RowKind> =>
  kinds.filter((kind) => kept?.(kind)?.rows === 0)

/** Most rows that a publication keeps of a kind. */
const capacityOf = ({ kept }: Publication["Service"], kind: MarketSchema.RowKind): number =>
  kept?.(kind)?.capacity ?? 0

/** Puts recent rows back. Nothing is published before everything is read. */
export const reload = (options: ReloadOptions): Effect.Effect<ReloadResult, StoreError | TransportError> =>
  Effect.gen(function* () {
    const { publication, range, spooled = [] } = options
    const begun = yield* Clock.currentTimeMillis
    const patience = Duration.toMillis(Duration.fromInputUnsafe(options.timeout ?? "20 seconds"))
    let [rows, spooledRows, since] = [0, 0, range.start]
    for (const kind of freshKinds(publication)) {
      const left = Math.max(0, begun + patience - (yield* Clock.currentTimeMillis))
      const found = yield* newestRows(options, kind, left)
      if (found.since > since) since = found.since
      const waiting = spooled.filter((batch) => isRecent(batch, kind, range.start))
      const later = identities([...waiting, ...(options.held?.() ?? [])], kind)
      const stored = found.batches.flatMap((batch) => without(batch, later))
      rows += yield* publishAll(options, stored, true)
      spooledRows += yield* publishAll(options, waiting, false)
    }
    return { rows, spooledRows, since }
  })

/** The first piece that is read; each further one is twice as long. */
const FirstPiece = 60n * UnixNanos.PerSecond

/** The newest rows of a kind, oldest first, as many as the publication keeps. Read from the end on, so that time can be up. */
const newestRows = (
  { instruments, publication, range, schemas, store }: ReloadOptions,
  kind: MarketSchema.RowKind,
  patience: number
): Effect.Effect<{ readonly batches: ReadonlyArray<MomentBatch>; readonly since: bigint }, StoreError> =>
  Effect.suspend(() => {
    const own = schemas.filter((schema) => MarketSchema.kind(schema) === kind)
    let batches: ReadonlyArray<MomentBatch> = []
    let room = own.length === 0 || instruments.length === 0 ? 0 : capacityOf(publication, kind)
    let [end, length] = [range.end, FirstPiece]
    const readPieces = Effect.gen(function* () {
      while (room > 0 && end > range.start) {
        const start = end - length > range.start ? end - length : range.start
        const piece = readWindow(store, { instruments, schemas: own, range: { start, end } })
        const found = yield* lastRows(piece, room)
        batches = [...found, ...batches]
        room -= found.reduce((sum, batch) => sum + batch.length, 0)
        end = start
        length *= 2n
      }
    })
    return Effect.map(Effect.timeoutOption(readPieces, patience), () => {
      const first = batches[0]
      const isFull = room === 0 && first !== undefined
      return { batches, since: isFull ? orderOf(first).time[0]! : end }
    })
  })

/** The last rows of a stream, holding little more than them. */
const lastRows = (
  rows: Stream.Stream<MomentBatch, StoreError>,
  count: number
): Effect.Effect<ReadonlyArray<MomentBatch>, StoreError> =>
  Effect.suspend(() => {
    const kept: Array<MomentBatch> = []
    let total = 0
    const keep = (batch: MomentBatch): void => {
      kept.push(batch)
      total += batch.length
      while (total - kept[0]!.length >= count) total -= kept.shift()!.length
    }
    return Effect.map(
      Stream.runForEach(rows, (batch) => Effect.sync(() => keep(batch))),
      () => {
        const excess = total - count
        return excess > 0 ? [kept[0]!.slice(excess) as MomentBatch, ...kept.slice(1)] : kept
      }
    )
  })

const isMoment = (batch: MarketBatch): batch is MomentBatch => batch._tag !== "BarBatch"

/** Whether a batch is of a kind and has rows of a time or later. */
const isRecent = (batch: MarketBatch, kind: MarketSchema.RowKind, since: bigint): batch is MomentBatch => {
  if (!isMoment(batch) || rowKind(batch) !== kind) return false
  const { time } = orderOf(batch)
  for (let i = 0; i < batch.length; i++) if (time[i]! >= since) return true
  return false
}

/** Rows by what makes them the same in live data and in a store: symbol, schema, microsecond and key. */
interface Identities {
  readonly rows: ReadonlySet<string>
  /** Of the earliest of them. */
  readonly first: bigint
}

const identityOf = (batch: MomentBatch, micros: bigint, key: bigint, row: number): string =>
  `${batch.symbolAt(row)} ${batch._tag === "TradeBatch" ? 0 : batch.columns.schema[row]} ${micros} ${key}`

const identities = (batches: ReadonlyArray<MarketBatch>, kind: MarketSchema.RowKind): Identities => {
  const rows = new Set<string>()
  let first = UnixNanos.Max
  for (const batch of batches) {
    if (!isMoment(batch) || rowKind(batch) !== kind) continue
    const { key, time } = orderOf(batch)
    for (let i = 0; i < batch.length; i++) {
      rows.add(identityOf(batch, UnixNanos.floorMicros(time[i]!), key[i]!, i))
      if (time[i]! < first) first = time[i]!
    }
  }
  return { rows, first: UnixNanos.floorMicros(first) * UnixNanos.PerMicro }
}

/** The rows of a batch that are not among those, as runs of it. */
const without = (batch: MomentBatch, { first, rows }: Identities): ReadonlyArray<MomentBatch> => {
  const { key, time } = orderOf(batch)
  const runs: Array<MomentBatch> = []
  let begin = 0
  for (let i = 0; i < batch.length; i++) {
    if (time[i]! < first || !rows.has(identityOf(batch, UnixNanos.floorMicros(time[i]!), key[i]!, i)))
      continue
    if (i > begin) runs.push(batch.slice(begin, i))
    begin = i + 1
  }
  if (begin === 0) return [batch]
  if (begin < batch.length) runs.push(batch.slice(begin))
  return runs
}

/** Publishes rows, marked. Those of the store and those beside it number instruments in ways of their own: a mark each. */
const publishAll = (
  { isWanted = () => true, publication, range }: ReloadOptions,
  batches: ReadonlyArray<MomentBatch>,
  isStored: boolean
): Effect.Effect<number, TransportError> =>
  Effect.gen(function* () {
    const mark = replayMarker({ cause: "reload", range, speed: 0 })
    let rows = 0
    for (const batch of batches) {
      if (!isWanted()) break
      const { position } = yield* publication.publish(mark(batch))
      if (isStored) yield* publication.markDurable(rowKind(batch), position)
      rows += batch.length
      // Sockets are read in between.
      yield* Effect.yieldNow
    }
    return rows
  })

/** Instruments of what is collected, in the store's numbers, and schemas that they may have rows of. */
export interface Collected {
  readonly instruments: ReadonlyArray<InstrumentId>
  readonly schemas: ReadonlyArray<MarketSchema.MarketSchema>
}

/**
 * What a registry collects, as far as the store knows it: symbols of a venue by name; of a dataset of which more than that is
 * collected (a parent, a continuous contract, everything) all that are listed in the range.
 */
export const collected = (
  store: MarketStore["Service"],
  registry: InstrumentRegistry["Service"],
  range: TimeRange.TimeRange,
  defaultSchemas: ReadonlyArray<MarketSchema.MarketSchema>
): Effect.Effect<Collected, StoreError> =>
  Effect.gen(function* () {
    const entries = yield* registry.entries({ enabled: true })
    const named = new Set<string>()
    const whole = new Set<string>()
    for (const { dataset, stypeIn, symbol } of entries) {
      const { rawSymbol } = SymbolText.parse(symbol)
      if (stypeIn === "raw_symbol" && rawSymbol !== AllSymbols) named.add(SymbolText.make(dataset, rawSymbol))
      else whole.add(dataset)
    }
    const datasets = [...new Set(entries.map(({ dataset }) => dataset))]
    const { listings } = yield* store.loadInstruments(datasets)
    const instruments = listings
      .filter(
        ({ dataset, rawSymbol }) => whole.has(dataset) || named.has(SymbolText.make(dataset, rawSymbol))
      )
      .filter(({ valid }) => TimeRange.overlaps(valid, range))
      .map(({ instrument }) => instrument)
    const schemas = entries.flatMap((entry) => (entry.schemas.length === 0 ? defaultSchemas : entry.schemas))
    return { instruments: [...new Set(instruments)], schemas: [...new Set(schemas)] }
  })
