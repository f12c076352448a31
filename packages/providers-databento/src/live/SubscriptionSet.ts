/** Which symbols a stream wants, and which ones the running session sends all the same. */
import { AllSymbols, MarketSchema, type SymbolType } from "@data-manager/core"
import { type LiveSubscription, MAX_SYMBOLS_PER_LINE } from "./LiveRequest.ts"

interface Wanted {
  readonly schema: MarketSchema.MarketSchema
  readonly stypeIn: SymbolType
  readonly symbols: Set<string>
  /** Removed, but sent until the next session. */
  readonly removed: Set<string>
}

/** Schemas of which the gateway drops records for slow readers; of others it does not. */
const skippable: ReadonlyArray<MarketSchema.MarketSchema> = [
  "mbp-1",
  "mbp-10",
  "cmbp-1",
  "bbo-1s",
  "bbo-1m",
  "cbbo-1s",
  "cbbo-1m"
]

/** Vendor ids that are left out. */
export interface MutedIds {
  readonly has: (id: number) => boolean
}

/** The subscriptions of one stream; one request per schema and kind of symbol. */
export class SubscriptionSet {
  readonly #wanted = new Map<string, Wanted>()

  /** What to ask for in a new session. */
  get all(): ReadonlyArray<LiveSubscription> {
    return [...this.#wanted.values()]
      .filter(({ symbols }) => symbols.size > 0)
      .map(({ schema, stypeIn, symbols }) => ({ schema, stypeIn, symbols: [...symbols] }))
  }

  get schemas(): ReadonlyArray<MarketSchema.MarketSchema> {
    return [...new Set(this.all.map(({ schema }) => schema))]
  }

  /** Schemas that may have lost records where the gateway says so. */
  get skippable(): ReadonlyArray<MarketSchema.MarketSchema> {
    const concerned = this.schemas.filter((schema) => skippable.includes(schema))
    return concerned.length > 0 ? concerned : this.schemas
  }

  get hasRemoved(): boolean {
    return [...this.#wanted.values()].some(({ removed }) => removed.size > 0)
  }

  /** Lines that a session sends for a schema. */
  linesOf(schema: MarketSchema.MarketSchema): number {
    return this.all
      .filter((subscription) => subscription.schema === schema)
      .reduce((lines, { symbols }) => lines + Math.ceil(symbols.length / MAX_SYMBOLS_PER_LINE), 0)
  }

  /** Why a subscription cannot stand beside those that are there. */
  problem({ schema, stypeIn, symbols }: LiveSubscription): string | undefined {
    const other = schema === "tbbo" ? "mbp-1" : schema === "mbp-1" ? "tbbo" : undefined
    if (other !== undefined && [...this.#wanted.values()].some((wanted) => wanted.schema === other))
      return `${schema} beside ${other}: their records look alike, use two streams`
    const present = this.#wanted.get(`${schema}/${stypeIn}`)?.symbols
    return present?.has(AllSymbols) === true && !symbols.includes(AllSymbols)
      ? `${schema} of ${AllSymbols} is subscribed: single symbols can be neither added nor removed`
      : undefined
  }

  /** Adds symbols; gives those that the running session does not send yet. */
  add({ schema, stypeIn, symbols }: LiveSubscription): ReadonlyArray<string> {
    const key = `${schema}/${stypeIn}`
    const wanted = this.#wanted.get(key) ?? { schema, stypeIn, symbols: new Set(), removed: new Set() }
    this.#wanted.set(key, wanted)
    const missing = [...new Set(symbols)].filter(
      (symbol) => !wanted.symbols.has(symbol) && !wanted.removed.has(symbol)
    )
    for (const symbol of symbols) {
      wanted.symbols.add(symbol)
      wanted.removed.delete(symbol)
    }
    return missing
  }

  /** Removes symbols; those that were never wanted are no matter. */
  remove({ schema, stypeIn, symbols }: LiveSubscription): void {
    const wanted = this.#wanted.get(`${schema}/${stypeIn}`)
    if (wanted === undefined) return
    for (const symbol of symbols) if (wanted.symbols.delete(symbol)) wanted.removed.add(symbol)
  }

  /** A new session sends what is wanted and nothing else. */
  restart(): void {
    for (const { removed } of this.#wanted.values()) removed.clear()
  }

  /** Vendor ids to leave out, by schema code: those of removed symbols that no other symbol of the schema asks for. */
  muted(idsOf: (symbol: string) => ReadonlySet<number>): ReadonlyMap<number, MutedIds> {
    const muted = new Map<number, MutedIds>()
    for (const schema of new Set([...this.#wanted.values()].map((wanted) => wanted.schema))) {
      const same = [...this.#wanted.values()].filter((wanted) => wanted.schema === schema)
      const removed = new Set(same.flatMap((wanted) => [...wanted.removed]))
      const kept = new Set(same.flatMap((wanted) => [...wanted.symbols]))
      if (removed.size === 0 || kept.has(AllSymbols)) continue
      const keptIds = idsOfAll(kept, idsOf)
      const removedIds = idsOfAll(removed, idsOf)
      const isAll = removed.has(AllSymbols)
      muted.set(MarketSchema.code(schema), {
        has: (id) => (isAll || removedIds.has(id)) && !keptIds.has(id)
      })
    }
    return muted
  }
}

const idsOfAll = (
  symbols: ReadonlySet<string>,
  idsOf: (symbol: string) => ReadonlySet<number>
): ReadonlySet<number> => new Set([...symbols].flatMap((symbol) => [...idsOf(symbol)]))
