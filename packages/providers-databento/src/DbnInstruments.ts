/**
 * Who the vendor's instrument numbers are: learns from headers, mapping records and definitions, registers what it learned,
 * and replaces numbers by the registry's ids in batches. The same for files, downloads and live sessions.
 */
import type { Instrument, ListingClaim, MarketBatch, RegisterListings, StoreError } from "@data-manager/core"
import { Effect } from "effect"
import { DefinitionClaims } from "./DefinitionClaims.ts"
import type { DbnMetadata } from "./dbn/DbnMetadata.ts"
import { decodeRecord } from "./dbn/DbnRecord.ts"
import { dayOfNanos } from "./dbn/IsoDate.ts"
import type { RecordBlock } from "./dbn/RecordBlock.ts"
import { Rtype } from "./dbn/Rtype.ts"
import { symbolIntervals } from "./dbn/SymbolMap.ts"
import { indexTimes } from "./IndexTime.ts"
import { daysClaim, mappingClaim } from "./MappingClaim.ts"
import { NativeInstrumentMap } from "./NativeInstrumentMap.ts"

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
      daysClaim(
        this.#dataset,
        interval.instrumentId,
        isNamed ? interval.symbol : undefined,
        interval.start,
        interval.end
      )
    )
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
      const claim = record.type === "symbol_mapping" ? mappingClaim(this.#dataset, record) : undefined
      if (claim !== undefined) this.#told.push(claim)
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
      .map(({ nativeId, day }) => daysClaim(this.#dataset, nativeId, undefined, day, day + 1))
    yield* this.learn(claims)
    unknown = this.#ids.assign(ids, times, unknown)
    if (unknown.length > 0) yield* Effect.die(new Error("a registered instrument id is still unknown"))
  })
}

/** Whether the texts of a header's mappings are raw symbols. */
export const isNaming = (metadata: DbnMetadata): boolean =>
  metadata.stypeOut === "raw_symbol" || metadata.stypeIn === "raw_symbol"
