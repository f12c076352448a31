/**
 * The dictionary of a segment as instruments and batch contexts. Instrument ids of batches read from a ring are
 * dictionary indexes: local to the segment, with the symbol text beside them.
 */
import {
  type BatchContext,
  batchContext,
  type Instrument,
  type InstrumentDirectory
} from "@data-manager/core"
import type { NativeEntry } from "./NativeAddon.ts"
import { assetClasses, keyKinds } from "./RingLayout.ts"

/** Type codes of dictionary entries. */
export const EntryType = { instrument: 1, publisher: 2 } as const

interface MutableContext {
  readonly context: BatchContext
  readonly venues: Map<number, string>
}

const instrumentOf = (entry: NativeEntry): Instrument => ({
  id: entry.index,
  provider: entry.provider,
  dataset: entry.dataset,
  symbol: entry.symbol,
  rawSymbol: entry.symbol.slice(entry.dataset.length + 1),
  priceScale: entry.priceScale,
  sizeScale: entry.sizeScale,
  assetClass: assetClasses[entry.assetClass] ?? "unknown",
  exchange: entry.exchange === "" ? undefined : entry.exchange
})

/** Entries read so far, in order; grows, never changes. */
export class RingDictionary {
  readonly instruments: Array<Instrument | undefined> = []
  readonly #byId = new Map<number, Instrument>()
  readonly #directory: InstrumentDirectory = this.#byId
  readonly #contexts = new Map<number, MutableContext>()

  /** Number of entries read. */
  get size(): number {
    return this.instruments.length
  }

  get directory(): InstrumentDirectory {
    return this.#directory
  }

  /** Reads what is new. `entries` returns entries from an index on, some at a time. */
  refresh(entries: (from: number) => ReadonlyArray<NativeEntry | null>): void {
    for (let more = entries(this.size); more.length > 0; more = entries(this.size))
      for (const entry of more) this.#add(entry)
  }

  /** The context of a number; unknown ones show no instruments. */
  context(number: number): BatchContext {
    return this.#contexts.get(number)?.context ?? batchContext({ provider: "unknown", dataset: "unknown" })
  }

  /** Whether entries have told of a context. */
  hasContext(number: number): boolean {
    return this.#contexts.has(number)
  }

  /** A context that shows the instruments of this dictionary, for batches of no rows. */
  emptyContext(dataset: string): BatchContext {
    return batchContext({ provider: "unknown", dataset, instruments: this.#directory })
  }

  #add(entry: NativeEntry | null): void {
    if (entry === null) {
      this.instruments.push(undefined)
      return
    }
    const known = this.#contextOf(entry)
    if (entry.type === EntryType.publisher) {
      known.venues.set(entry.publisher, entry.symbol.slice(entry.dataset.length + 1))
      this.instruments.push(undefined)
      return
    }
    const instrument = instrumentOf(entry)
    this.instruments.push(instrument)
    this.#byId.set(entry.index, instrument)
  }

  #contextOf(entry: NativeEntry): MutableContext {
    const known = this.#contexts.get(entry.context)
    if (known !== undefined) return known
    const venues = new Map<number, string>()
    const context = batchContext({
      provider: entry.provider,
      dataset: entry.dataset,
      instruments: this.#directory,
      keyKind: keyKinds[entry.keyKind] ?? "sequenced",
      venueOf: (publisher) => venues.get(publisher)
    })
    const made = { context, venues }
    this.#contexts.set(entry.context, made)
    return made
  }
}
