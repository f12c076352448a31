/** Lists, adds, removes, switches and resolves symbols. */
import {
  type Instrument,
  InstrumentRegistry,
  type Listing,
  type MarketSchema,
  MarketStore,
  type SymbolEntry,
  SymbolText,
  type SymbolType,
  symbolTypeOf
} from "@data-manager/core"
import { Effect } from "effect"
import type { Action } from "../Action.ts"
import { withRegistry } from "../Database.ts"
import { UsageError } from "../ExitCode.ts"
import { plural } from "../NumberText.ts"
import * as Output from "../Output.ts"
import { checkRange } from "../RowRead.ts"
import type { Session } from "../Session.ts"
import { askedRange, lookUp, matchesPattern } from "../SymbolLookup.ts"
import { table } from "../Table.ts"
import { isoFormatter, short } from "../TimeText.ts"

interface Known {
  readonly symbol: string
  readonly provider: string
  readonly instrument: Instrument | undefined
  readonly listings: ReadonlyArray<Listing>
  readonly entry: SymbolEntry | undefined
}

/** Instruments known from data and entries of the registry, joined where the symbol is the same. */
const join = (
  instruments: Iterable<Instrument>,
  listings: ReadonlyArray<Listing>,
  entries: ReadonlyArray<SymbolEntry>
): ReadonlyArray<Known> => {
  const bySymbol = new Map(entries.map((entry) => [entry.symbol, entry]))
  const byInstrument = new Map<number, Array<Listing>>()
  for (const listing of listings) {
    const own = byInstrument.get(listing.instrument)
    if (own === undefined) byInstrument.set(listing.instrument, [listing])
    else own.push(listing)
  }
  const known: Array<Known> = [...instruments].map((instrument) => ({
    symbol: instrument.symbol,
    provider: instrument.provider,
    instrument,
    listings: byInstrument.get(instrument.id) ?? [],
    entry: bySymbol.get(instrument.symbol)
  }))
  const seen = new Set(known.map(({ symbol }) => symbol))
  for (const entry of entries)
    if (!seen.has(entry.symbol))
      known.push({
        symbol: entry.symbol,
        provider: entry.provider,
        instrument: undefined,
        listings: [],
        entry
      })
  return known.sort((a, b) => (a.symbol < b.symbol ? -1 : a.symbol > b.symbol ? 1 : 0))
}

const tracking = (entry: SymbolEntry | undefined): string => {
  if (entry === undefined) return "no"
  if (entry.removedAt !== undefined) return "removed"
  return entry.enabled ? "yes" : "disabled"
}

const validity = (listings: ReadonlyArray<Listing>): readonly [bigint, bigint] | undefined => {
  const [firstListing] = listings
  if (firstListing === undefined) return undefined
  return listings.reduce<readonly [bigint, bigint]>(
    ([from, to], { valid }) => [valid.start < from ? valid.start : from, valid.end > to ? valid.end : to],
    [firstListing.valid.start, firstListing.valid.end]
  )
}

const knownRow = ({ symbol, provider, instrument, listings, entry }: Known): ReadonlyArray<string> => {
  const valid = validity(listings)
  return [
    instrument === undefined ? "" : instrument.id.toString(),
    symbol,
    provider,
    instrument?.assetClass ?? entry?.assetClass ?? "",
    instrument?.exchange ?? entry?.exchange ?? "",
    tracking(entry),
    entry?.schemas.join(",") ?? "",
    valid === undefined ? "" : short(valid[0]),
    valid === undefined ? "" : short(valid[1])
  ]
}

const knownJson = ({ symbol, provider, instrument, listings, entry }: Known): object => {
  const iso = isoFormatter()
  return {
    symbol,
    provider,
    instrument:
      instrument === undefined
        ? null
        : {
            id: instrument.id,
            dataset: instrument.dataset,
            raw_symbol: instrument.rawSymbol,
            asset_class: instrument.assetClass,
            exchange: instrument.exchange ?? null,
            price_scale: instrument.priceScale,
            size_scale: instrument.sizeScale,
            listings: listings.map((listing) => ({
              raw_symbol: listing.rawSymbol,
              native_id: listing.nativeId ?? null,
              start: iso(listing.valid.start),
              end: iso(listing.valid.end)
            }))
          },
    entry: entry === undefined ? null : entryJson(entry)
  }
}

const entryJson = (entry: SymbolEntry): object => {
  const iso = isoFormatter()
  return {
    symbol: entry.symbol,
    provider: entry.provider,
    dataset: entry.dataset,
    stype_in: entry.stypeIn,
    schemas: entry.schemas,
    enabled: entry.enabled,
    source: entry.source,
    discovered_at: iso(entry.discoveredAt),
    removed_at: entry.removedAt === undefined ? null : iso(entry.removedAt),
    asset_class: entry.assetClass ?? null,
    exchange: entry.exchange ?? null
  }
}

interface ListOptions {
  readonly provider: string | undefined
  readonly symbols: ReadonlyArray<string>
  readonly removed: boolean
}

const wanted =
  (options: ListOptions) =>
  ({ symbol, provider, instrument }: Known): boolean =>
    (options.provider === undefined || provider === options.provider) &&
    (options.symbols.length === 0 ||
      options.symbols.some((pattern) =>
        matchesPattern(pattern, {
          symbol,
          rawSymbol: instrument?.rawSymbol ?? SymbolText.parse(symbol).rawSymbol
        })
      ))

export const list = (session: Session, options: ListOptions): Action =>
  withRegistry(
    session,
    Effect.gen(function* () {
      const store = yield* MarketStore
      const registry = yield* InstrumentRegistry
      const { instruments, listings } = yield* store.loadInstruments()
      const entries = yield* registry.entries({ removed: options.removed })
      const known = join(instruments.values(), listings, entries).filter(wanted(options))
      if (session.json) {
        yield* Output.writeLine(JSON.stringify({ symbols: known.map(knownJson) }))
        return
      }
      if (known.length === 0) {
        yield* Output.note("no symbols; dm import FILE... brings instruments, dm symbols add collects one")
        return
      }
      const lines = table(
        [
          { header: "id", align: "right" },
          { header: "symbol" },
          { header: "provider" },
          { header: "asset_class" },
          { header: "exchange" },
          { header: "collected" },
          { header: "schemas" },
          { header: "valid from" },
          { header: "until" }
        ],
        known.map(knownRow),
        session.out
      )
      yield* Output.writeLine(lines.join("\n"))
      yield* Output.note(plural(known.length, "symbol"))
    })
  )

interface AddOptions {
  readonly symbol: string
  readonly provider: string
  readonly stypeIn: SymbolType | "auto"
  readonly schemas: ReadonlyArray<MarketSchema.MarketSchema>
  readonly disabled: boolean
}

const entryLine = (entry: SymbolEntry): string => {
  const schemas = entry.schemas.length === 0 ? "default schemas" : entry.schemas.join(", ")
  return `${entry.symbol} (${entry.provider}, ${entry.stypeIn}, ${schemas})`
}

export const add = (session: Session, options: AddOptions): Action =>
  Effect.gen(function* () {
    const { dataset, rawSymbol } = SymbolText.parse(options.symbol)
    if (dataset === undefined || rawSymbol.trim() === "")
      return yield* new UsageError({
        message: `"${options.symbol}" does not name its dataset; write DATASET:SYMBOL, such as GLBX.MDP3:ES.FUT`
      })
    const entry = yield* withRegistry(
      session,
      InstrumentRegistry.use((registry) =>
        registry.add({
          symbol: options.symbol,
          provider: options.provider,
          dataset,
          stypeIn: options.stypeIn === "auto" ? symbolTypeOf(rawSymbol) : options.stypeIn,
          schemas: [...new Set(options.schemas)],
          enabled: !options.disabled
        })
      )
    )
    yield* Output.writeLine(
      session.json
        ? JSON.stringify(entryJson(entry))
        : `${entry.enabled ? "collects" : "knows, but does not collect,"} ${entryLine(entry)}`
    )
  })

export const remove = (session: Session, options: { readonly symbol: string }): Action =>
  Effect.gen(function* () {
    const entry = yield* withRegistry(
      session,
      InstrumentRegistry.use((registry) => registry.remove(options.symbol))
    )
    yield* Output.writeLine(
      session.json ? JSON.stringify(entryJson(entry)) : `no longer collects ${entry.symbol}; its data stays`
    )
  })

interface EnableOptions {
  readonly symbol: string
  readonly enabled: boolean
}

export const setEnabled = (session: Session, options: EnableOptions): Action =>
  Effect.gen(function* () {
    const entry = yield* withRegistry(
      session,
      InstrumentRegistry.use((registry) => registry.setEnabled(options.symbol, options.enabled))
    )
    yield* Output.writeLine(
      session.json
        ? JSON.stringify(entryJson(entry))
        : `${entry.enabled ? "collects" : "knows, but does not collect,"} ${entryLine(entry)}`
    )
  })

interface ResolveOptions {
  readonly names: ReadonlyArray<string>
  readonly start: bigint | undefined
  readonly end: bigint | undefined
}

export const resolve = (session: Session, options: ResolveOptions): Action =>
  Effect.gen(function* () {
    yield* checkRange(options.start, options.end)
    yield* withRegistry(
      session,
      Effect.gen(function* () {
        const store = yield* MarketStore
        const found: Array<Instrument> = []
        for (const name of options.names)
          found.push(yield* lookUp(name, askedRange(options.start, options.end)))
        const { listings } = yield* store.loadInstruments([...new Set(found.map(({ dataset }) => dataset))])
        const known = found.map((instrument) => ({
          symbol: instrument.symbol,
          provider: instrument.provider,
          instrument,
          listings: listings.filter((listing) => listing.instrument === instrument.id),
          entry: undefined
        }))
        if (session.json) {
          const document = known.map((one, i) => ({ text: options.names[i], ...knownJson(one) }))
          yield* Output.writeLine(JSON.stringify({ resolved: document }))
          return
        }
        const lines = table(
          [
            { header: "text" },
            { header: "instrument", align: "right" },
            { header: "symbol" },
            { header: "provider" },
            { header: "native_id", align: "right" },
            { header: "valid from" },
            { header: "until" }
          ],
          known.flatMap(({ instrument, listings: own, symbol, provider }, i) =>
            own.map((listing) => [
              options.names[i]!,
              `#${instrument.id}`,
              symbol,
              provider,
              listing.nativeId?.toString() ?? "",
              short(listing.valid.start),
              short(listing.valid.end)
            ])
          ),
          session.out
        )
        yield* Output.writeLine(lines.join("\n"))
      })
    )
  })
