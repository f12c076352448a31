/** What a strategy's process is told, and what it tells in the end. */

/** What makes an endless market again. */
export interface MarketSeed {
  readonly symbols: number
  readonly seed: number
  readonly rate: number
  /** ns since the epoch, as text. */
  readonly since: string
}

export interface StrategyOptions {
  readonly dir: string
  readonly name: string
  readonly start?: "Latest" | "Oldest" | undefined
  readonly mode?: "park" | "linger" | "spin" | undefined
  /** Compare every trade with this market. */
  readonly market?: MarketSeed | undefined
  /** File that gets the moment of every batch, in the end. */
  readonly arrivals?: string | undefined
  /** File that gets the account after every piece. */
  readonly journal?: string | undefined
}

/** A break that the ring told of: behind which row of the market it came. */
export interface Covered {
  readonly what: "lost" | "gap" | "restart"
  readonly detail: string
  readonly behind: number
}

export interface StrategyAccount {
  rows: number
  polls: number
  /** Rows of the market that came, as they came, `[from, to)`. */
  ranges: Array<[from: number, to: number]>
  /** Rows that came although they, or later ones, had come. */
  repeated: number
  /** Rows that are not what was traded. */
  wrong: number
  /** Rows that the ring said were lost. */
  lost: number
  covered: Array<Covered>
  /** Where the ring goes on. */
  position: number
}

/** An account at the end. */
export interface StrategyReport extends StrategyAccount {
  readonly lag: number
  readonly ringLost: number
  readonly wrongFirst?: string | undefined
}

/** Holes between the ranges of an account that nothing told of: rows `[from, to)`. */
export const untold = ({
  covered,
  ranges
}: StrategyAccount): ReadonlyArray<readonly [from: number, to: number]> => {
  const told = new Set(covered.map(({ behind }) => behind))
  const holes: Array<readonly [number, number]> = []
  let end = ranges[0]?.[0] ?? 0
  for (const [from, to] of ranges) {
    if (from > end && !told.has(end)) holes.push([end, from])
    end = Math.max(end, to)
  }
  return holes
}

/** Rows between the first and the last one of an account that did not come. */
export const missed = ({ ranges }: StrategyAccount): number => {
  let rows = 0
  let end = ranges[0]?.[0] ?? 0
  for (const [from, to] of ranges) {
    rows += Math.max(0, from - end)
    end = Math.max(end, to)
  }
  return rows
}
