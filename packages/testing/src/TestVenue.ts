/**
 * A venue in memory, for tests of what stands behind a provider and of the provider suite itself: it has a tape, plays it
 * live to whoever listens, and fails on request. `TestProvider` reads it; there is no wire between the two.
 */
import type { MarketBatch, TimeRange } from "@data-manager/core"
import { batchContext, LocalInstruments } from "@data-manager/core"
import { Effect, Latch } from "effect"
import type { ProviderFault } from "./ProviderService.ts"
import { batchOf, makeTape, type TapeTrade } from "./TestTape.ts"

/** What the venue has and how it behaves. */
export interface TestVenueOptions {
  /** Default `TEST`. */
  readonly dataset?: string | undefined
  /** In index-clock (`tsRecv`) order; default 600 trades of A, B and C. */
  readonly tape?: ReadonlyArray<TapeTrade> | undefined
  /** Live trades are given out as `advance` allows; default: as fast as they are read. */
  readonly isManual?: boolean | undefined
}

/** 2026-01-05 14:30 UTC. */
export const TAPE_START = 1_767_623_400_000_000_000n

type HistoryFault = Extract<ProviderFault, { type: `history${string}` }>
type LiveFault = Exclude<ProviderFault, HistoryFault>

/** A venue. Mutable: faults, the position of the market, and who is connected. */
export class TestVenue {
  readonly dataset: string
  readonly tape: ReadonlyArray<TapeTrade>
  readonly symbols: ReadonlyArray<string>
  readonly range: TimeRange.TimeRange
  /** Connections and requests that are open, and requests for rows so far. */
  open = 0
  historyRequests = 0
  /** Live trades before this one have happened. */
  position = 0
  readonly #historyFaults: Array<HistoryFault> = []
  readonly #liveFaults: Array<LiveFault> = []
  #allowed: number
  readonly #moved = Latch.makeUnsafe(false)

  constructor(options: TestVenueOptions = {}) {
    this.dataset = options.dataset ?? "TEST"
    this.tape = options.tape ?? makeTape({ symbols: ["A", "B", "C"], trades: 600, start: TAPE_START })
    this.symbols = [...new Set(this.tape.map(({ symbol }) => symbol))].sort()
    const first = this.tape[0]?.tsRecv ?? TAPE_START
    const last = this.tape[this.tape.length - 1]?.tsRecv ?? TAPE_START
    this.range = { start: first - 1_000_000_000n, end: last + 1_000_000_000n }
    this.#allowed = options.isManual === true ? 0 : Number.POSITIVE_INFINITY
  }

  /** Arms a fault: of the next request for rows, or of the next live session. */
  readonly fault = (fault: ProviderFault): Effect.Effect<void> =>
    Effect.sync(() => {
      if (isOfHistory(fault)) this.#historyFaults.push(fault)
      else this.#liveFaults.push(fault)
    })

  /** Lets `trades` more live trades happen. */
  readonly advance = (trades: number): Effect.Effect<void> =>
    Effect.sync(() => {
      this.#allowed += trades
      this.#moved.openUnsafe()
    })

  /** Waits until the live trade at `index` may happen. */
  readonly untilAllowed = (index: number): Effect.Effect<void> =>
    Effect.suspend(() => {
      if (index < this.#allowed) return Effect.void
      this.#moved.closeUnsafe()
      return Effect.andThen(this.#moved.await, this.untilAllowed(index))
    })

  /** Live trades from `index` on that may happen now. */
  allowedFrom(index: number): number {
    return Math.max(0, Math.min(this.#allowed, this.tape.length) - index)
  }

  takeHistoryFault(): HistoryFault | undefined {
    return this.#historyFaults.shift()
  }

  takeLiveFault(): LiveFault | undefined {
    return this.#liveFaults.shift()
  }

  /** Trades of these symbols in `[start, end)` of the index clock. */
  between(symbols: ReadonlySet<string>, { start, end }: TimeRange.TimeRange): ReadonlyArray<TapeTrade> {
    return this.tape.filter(({ symbol, tsRecv }) => symbols.has(symbol) && start <= tsRecv && tsRecv < end)
  }

  /** The tape as batches that name their instruments. */
  rows(provider: string): ReadonlyArray<MarketBatch> {
    const { directory, register } = LocalInstruments.make()
    const instruments = Effect.runSync(
      Effect.orDie(register(this.symbols.map((symbol) => this.claimOf(provider, symbol))))
    )
    const ids = new Map(instruments.map(({ id, rawSymbol }) => [rawSymbol, id]))
    const context = batchContext({ provider, dataset: this.dataset, instruments: directory })
    return [batchOf(context, this.tape, (symbol) => ids.get(symbol)!)]
  }

  /** The listing of a symbol. */
  claimOf(provider: string, rawSymbol: string) {
    return {
      provider,
      dataset: this.dataset,
      rawSymbol,
      nativeId: this.symbols.indexOf(rawSymbol) + 1,
      valid: this.range,
      defaultPriceScale: 2,
      defaultSizeScale: 0
    }
  }
}

const isOfHistory = (fault: ProviderFault): fault is HistoryFault => fault.type.startsWith("history")
