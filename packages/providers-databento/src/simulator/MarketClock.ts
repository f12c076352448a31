/** Where the simulated market is: which records of a dataset have happened when a session starts. */
import type { SimulatedDataset } from "./Catalogue.ts"

/** The time at which sessions join. */
export interface MarketClock {
  /** Records sent before this time (ns since the epoch) are history for a session that starts now. */
  now(dataset: SimulatedDataset): bigint
  /** A session was sent everything up to `time`. */
  reached(dataset: SimulatedDataset, time: bigint): void
  /** Moves the market on although nobody listens; what happens meanwhile can only be replayed. */
  advanceTo(dataset: string, time: bigint): void
}

const later = (a: bigint, b: bigint): bigint => (a > b ? a : b)

/**
 * Every session has the market for itself: it starts at `liveFrom`, by default at the first record of the dataset, so that
 * every session sees everything.
 */
export class PrivateMarket implements MarketClock {
  readonly #moved = new Map<string, bigint>()
  readonly #liveFrom: bigint | undefined

  constructor(liveFrom: bigint | undefined) {
    this.#liveFrom = liveFrom
  }

  now(dataset: SimulatedDataset): bigint {
    return this.#moved.get(dataset.name) ?? this.#liveFrom ?? dataset.firstTime
  }

  reached(): void {}

  advanceTo(dataset: string, time: bigint): void {
    this.#moved.set(dataset, time)
  }
}

/** One market for all: a session starts where the furthest one is, and has to ask for replay to see what was before. */
export class SharedMarket implements MarketClock {
  readonly #reached = new Map<string, bigint>()
  readonly #liveFrom: bigint | undefined

  constructor(liveFrom: bigint | undefined) {
    this.#liveFrom = liveFrom
  }

  now(dataset: SimulatedDataset): bigint {
    const reached = this.#reached.get(dataset.name)
    const begin = this.#liveFrom ?? dataset.firstTime
    return reached === undefined ? begin : later(begin, reached + 1n)
  }

  reached(dataset: SimulatedDataset, time: bigint): void {
    this.advanceTo(dataset.name, time)
  }

  advanceTo(dataset: string, time: bigint): void {
    this.#reached.set(dataset, later(this.#reached.get(dataset) ?? 0n, time))
  }
}
