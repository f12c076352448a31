/**
 * Who the vendor's instrument numbers are: learns from headers, mapping records and definitions, registers what it learned,
 * and replaces numbers by the registry's ids in batches. The same for files, downloads and live sessions.
 */
import {
  ABSENT_I64,
  type Instrument,
  type ListingClaim,
  type MarketBatch,
  type RegisterListings,
  type StoreError
} from "@data-manager/core"
import { Effect } from "effect"
import { DEFAULT_PRICE_SCALE, DEFAULT_SIZE_SCALE, DefinitionClaims } from "./DefinitionClaims.ts"
import type { DbnMetadata } from "./dbn/DbnMetadata.ts"
import { decodeRecord, type SymbolMappingRecord } from "./dbn/DbnRecord.ts"
import { dayOfNanos, NANOS_PER_DAY } from "./dbn/IsoDate.ts"
import type { RecordBlock } from "./dbn/RecordBlock.ts"
import { Rtype } from "./dbn/Rtype.ts"
import { UNDEF_TIMESTAMP } from "./dbn/Sentinel.ts"
import { symbolIntervals } from "./dbn/SymbolMap.ts"
import { NativeInstrumentMap } from "./NativeInstrumentMap.ts"

/** Id of this provider in registries, runs and batches. */
export const PROVIDER_ID = "databento"

/** Claims registered in one transaction: what is asked, looked up and written for more would make the largest heap of all. */
export const CLAIMS_PER_REGISTRATION = 2_000

/** Instruments of one header's mappings; `instruments[i]` is that of `claims[i]`. */
export interface MappedInstruments {
  readonly claims: ReadonlyArray<ListingClaim>
  readonly instruments: ReadonlyArray<Instrument>
}

/** Instruments of one dataset as one stream of records tells them. */
export class DbnInstruments {
  readonly #dataset: string
  readonly #register: RegisterListings
  readonly #ids = new NativeInstrumentMap()
  readonly #directory = new Map<number, Instrument>()
  readonly #definitions: DefinitionClaims
  /** Mappings told by gateway records, waiting to be registered. */
  #told: Array<ListingClaim> = []

  constructor(dataset: string, register: RegisterListings) {
    this.#dataset = dataset
    this.#register = register
    this.#definitions = new DefinitionClaims(dataset)
  }

  /** What is registered so far; grows. For the context of batches. */
  get directory(): ReadonlyMap<number, Instrument> {
    return this.#directory
  }

  /** Definitions seen. */
  get definitions(): number {
    return this.#definitions.count
  }

  /** What the mappings of a header say. Throws `DbnError` where they cannot be used. */
  claimsOf(metadata: DbnMetadata): ReadonlyArray<ListingClaim> {
    const isNamed = isNaming(metadata)
    return symbolIntervals(metadata).map((interval) =>
      // The text of a parent or continuous request is no raw symbol: the number stands alone until something names it.
      this.claim(interval.instrumentId, interval.start, interval.end, isNamed ? interval.symbol : undefined)
    )
  }

  /** A number on the days `[startDay, endDay)` since the epoch, with its name where it is known. */
  claim(nativeId: number, startDay: number, endDay: number, rawSymbol?: string): ListingClaim {
    return {
      provider: PROVIDER_ID,
      dataset: this.#dataset,
      rawSymbol,
      nativeId,
      valid: { start: BigInt(startDay) * NANOS_PER_DAY, end: BigInt(endDay) * NANOS_PER_DAY },
      defaultPriceScale: DEFAULT_PRICE_SCALE,
      defaultSizeScale: DEFAULT_SIZE_SCALE
    }
  }

  /** Registers claims and learns which instrument each number means on which days. */
  readonly learn = Effect.fnUntraced(
    { self: this },
    function* (this: DbnInstruments, claims: ReadonlyArray<ListingClaim>) {
      const instruments: Array<Instrument> = []
      for (let from = 0; from < claims.length; from += CLAIMS_PER_REGISTRATION)
        instruments.push(...(yield* this.#register(claims.slice(from, from + CLAIMS_PER_REGISTRATION))))
      for (const [i, claim] of claims.entries()) {
        const instrument = instruments[i]!
        this.#directory.set(instrument.id, instrument)
        if (claim.nativeId !== undefined)
          this.#ids.add(
            claim.nativeId,
            dayOfNanos(claim.valid.start),
            dayOfNanos(claim.valid.end - 1n) + 1,
            instrument.id
          )
      }
      return instruments
    }
  )

  /** Looks at a record that is no row: definitions and mappings teach, from the next `assign` on. */
  note(block: RecordBlock, position: number): void {
    const rtype = (block.words[position]! >>> 8) & 0xff
    if (rtype === Rtype.instrumentDef) {
      const record = decodeRecord(block, position)
      if (record.type === "instrument_def") this.#definitions.add(record)
    } else if (rtype === Rtype.symbolMapping) {
      const record = decodeRecord(block, position)
      if (record.type === "symbol_mapping") this.#tell(record)
    }
  }

  /** Registers the definitions that wait, if they are more than `above`. */
  registerDefinitions(above: number): Effect.Effect<void, StoreError> {
    return this.#definitions.size > above ? Effect.asVoid(this.learn(this.#definitions.drain())) : Effect.void
  }

  /** Replaces the vendor's numbers in a batch, which nobody else has seen yet, by ids; registers what was learned before. */
  readonly assign = Effect.fnUntraced({ self: this }, function* (this: DbnInstruments, batch: MarketBatch) {
    yield* this.registerDefinitions(0)
    const told = this.#told
    this.#told = []
    yield* this.learn(told)
    const ids = batch.columns.instrument
    const times = indexTimes(batch)
    let unknown = this.#ids.assign(ids, times)
    if (unknown.length === 0) return
    const claims = this.#ids
      .unknownOf(ids, times, unknown)
      // A number that no mapping explains, on one day.
      .map(({ nativeId, day }) => this.claim(nativeId, day, day + 1))
    yield* this.learn(claims)
    unknown = this.#ids.assign(ids, times, unknown)
    if (unknown.length > 0) yield* Effect.die(new Error("a registered instrument id is still unknown"))
  })

  #tell(record: SymbolMappingRecord): void {
    if (record.stypeOutSymbol === "") return
    const day = dayOfNanos(record.tsEvent === UNDEF_TIMESTAMP ? 0n : record.tsEvent)
    const defined =
      record.startTs !== UNDEF_TIMESTAMP && record.endTs !== UNDEF_TIMESTAMP && record.startTs < record.endTs
    const startDay = defined ? Math.min(day, dayOfNanos(record.startTs)) : day
    const endDay = defined ? Math.max(day, dayOfNanos(record.endTs - 1n)) + 1 : day + 1
    this.#told.push(this.claim(record.instrumentId, startDay, endDay, record.stypeOutSymbol))
  }
}

/** Whether the texts of a header's mappings are raw symbols. */
export const isNaming = (metadata: DbnMetadata): boolean =>
  metadata.stypeOut === "raw_symbol" || metadata.stypeIn === "raw_symbol"

/** Words of each row's index time: `tsRecv` where the kind has it. */
const indexTimes = (batch: MarketBatch): Int32Array => {
  if (batch._tag === "BarBatch") return batch.words.tsEvent
  const { tsRecv } = batch.words
  for (let row = 0; row < batch.length; row++)
    if (isAbsent(tsRecv, row)) {
      // Rare enough to pay a copy: rows without a receive time are dated by their event time.
      const times = BigInt64Array.from(batch.columns.tsRecv, (time, i) =>
        time === ABSENT_I64 ? batch.columns.tsEvent[i]! : time
      )
      return new Int32Array(times.buffer)
    }
  return tsRecv
}

const isAbsent = (words: Int32Array, row: number): boolean =>
  words[2 * row + 1] === 0x7fffffff && words[2 * row] === -1

const indexTimeAt = (batch: MarketBatch, row: number): bigint => {
  const received = batch._tag === "BarBatch" ? ABSENT_I64 : batch.columns.tsRecv[row]!
  return received === ABSENT_I64 ? batch.columns.tsEvent[row]! : received
}

/** Index time of a batch's last row, nanoseconds; undefined in an empty batch. */
export const lastIndexTime = (batch: MarketBatch): bigint | undefined => {
  return batch.length === 0 ? undefined : indexTimeAt(batch, batch.length - 1)
}

/** The rows of a batch in index-time order that are not before `start`; shares the memory. */
export const rowsFrom = <B extends MarketBatch>(batch: B, start: bigint): B => {
  const isBefore = (row: number): boolean => indexTimeAt(batch, row) < start
  if (batch.length === 0 || !isBefore(0)) return batch
  let [low, high] = [0, batch.length]
  while (low < high) {
    const middle = (low + high) >>> 1
    if (isBefore(middle)) low = middle + 1
    else high = middle
  }
  return batch.slice(low) as B
}
