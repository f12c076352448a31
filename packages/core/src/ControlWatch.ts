/**
 * What can only be told by looking at a service again and again: rows per second, when rows were dropped, and counts that do
 * not go back when a feed ends.
 */
import type { LiveServiceStatus } from "./LiveService.ts"
import * as UnixNanos from "./UnixNanos.ts"

/** Counts of feeds of one provider, dataset and schema, over all feeds that there ever were. */
export interface FeedTotals {
  readonly provider: string
  readonly dataset: string
  readonly schema: string
  rows: bigint
  gaps: bigint
}

/** A look at a feed. */
interface Seen {
  readonly at: bigint
  readonly rows: bigint
  readonly gaps: bigint
}

/** Rates are those of the last seconds. */
const RateTime = 10n * UnixNanos.PerSecond

/** Looks at a service. */
export class ControlWatch {
  /** Looks of each feed by its name, oldest first, as far back as rates go. */
  #feeds = new Map<string, Array<Seen>>()
  readonly #totals = new Map<string, FeedTotals>()
  #dropped = 0n
  #droppedAt: bigint | undefined

  /** Takes note of a status at a time, ns. */
  look(status: LiveServiceStatus, at: bigint): void {
    const feeds = new Map<string, Array<Seen>>()
    for (const { gaps, name, provider, rows, selection } of status.feeds) {
      const seen = this.#feeds.get(name) ?? []
      const last = seen[seen.length - 1] ?? { at, rows: 0n, gaps: 0n }
      const totals = this.#totalsOf(provider, selection.dataset, selection.schema)
      totals.rows += rows - last.rows
      totals.gaps += gaps - last.gaps
      feeds.set(name, [...seen.filter((each) => at - each.at <= RateTime), { at, rows, gaps }])
    }
    this.#feeds = feeds
    const dropped = status.dropped.overflow + status.dropped["disk-full"]
    if (dropped > this.#dropped) this.#droppedAt = at
    this.#dropped = dropped
  }

  #totalsOf(provider: string, dataset: string, schema: string): FeedTotals {
    const key = `${provider}\n${dataset}\n${schema}`
    const known = this.#totals.get(key) ?? { provider, dataset, schema, rows: 0n, gaps: 0n }
    this.#totals.set(key, known)
    return known
  }

  /** Rows per second of a feed, over the last seconds. */
  rate(name: string): number {
    const seen = this.#feeds.get(name) ?? []
    const [first, last] = [seen[0], seen[seen.length - 1]]
    if (first === undefined || last === undefined || last.at <= first.at) return 0
    return (Number(last.rows - first.rows) * Number(UnixNanos.PerSecond)) / Number(last.at - first.at)
  }

  /** When rows were dropped last; undefined where none were. */
  get droppedAt(): bigint | undefined {
    return this.#droppedAt
  }

  get totals(): ReadonlyArray<FeedTotals> {
    return [...this.#totals.values()]
  }
}
