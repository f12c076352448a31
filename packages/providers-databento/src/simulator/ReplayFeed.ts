/** The history that the requests of a session ask for, schema by schema, up to the moment of its start. */
import type { KnownSchema } from "../dbn/DbnSchema.ts"
import { entryOf } from "./MapEntry.ts"
import { FeedCursor, firstSentAt, RecordFeed } from "./RecordFeed.ts"
import type { RecordTable } from "./RecordTable.ts"
import type { InstrumentFilter } from "./Selection.ts"

/** A part of a replay: from `start` (ns since the epoch) on, inclusive, what the filter accepts. */
export interface ReplayRequest {
  readonly schema: KnownSchema
  readonly start: bigint
  readonly filter: InstrumentFilter
}

/** What is to go wrong with a replay. */
export interface ReplayFaults {
  /** Leaves every so-manieth record out. */
  readonly omitEvery: number | undefined
  /** How many records at the end of each schema come once more. */
  readonly repeated: number
}

/** A schema whose replay is over. */
export interface FinishedReplay {
  readonly schema: KnownSchema
  /** Undefined where there are no records of the schema at all. */
  readonly cursor: FeedCursor | undefined
  /** Rows to send once more. */
  readonly repeated: ReadonlyArray<number>
}

/** Clocks of venue and capture differ by less than this. */
const CLOCK_MARGIN = 60_000_000_000n

/** Replay begins at a ts_event, for sampled quotes, whose ts_event is that of an older trade, at a ts_recv. */
const replayTime = (table: RecordTable, row: number): bigint =>
  /^c?bbo-/.test(table.schema) ? table.times[row]! : table.eventTime(row)

/** Replays of several schemas at once. */
export class ReplayFeed {
  readonly feed = new RecordFeed()
  readonly #faults: ReplayFaults
  /** Schemas that were not told to be finished: their cursor and the last rows sent. */
  readonly #open = new Map<KnownSchema, { cursor: FeedCursor | undefined; rows: Array<number> }>()

  /** Everything before `end`; `tableOf` gives the records of a schema. */
  constructor(
    requests: Iterable<ReplayRequest>,
    end: bigint,
    tableOf: (schema: KnownSchema) => RecordTable | undefined,
    faults: ReplayFaults
  ) {
    this.#faults = faults
    const bySchema = new Map<KnownSchema, Array<ReplayRequest>>()
    for (const request of requests) entryOf(bySchema, request.schema, () => []).push(request)
    for (const [schema, list] of bySchema) {
      const table = tableOf(schema)
      const cursor = table === undefined ? undefined : this.#cursor(table, list, end)
      if (cursor !== undefined) this.feed.add(cursor)
      this.#open.set(schema, { cursor, rows: [] })
    }
  }

  /** Every schema was told to be finished. */
  get isDone(): boolean {
    return this.#open.size === 0
  }

  /** The next row of a cursor is being sent. */
  sending(cursor: FeedCursor): void {
    const open = this.#open.get(cursor.table.schema)
    if (open === undefined || this.#faults.repeated === 0) return
    open.rows.push(cursor.row)
    if (open.rows.length > this.#faults.repeated) open.rows.shift()
  }

  /** Schemas that are finished now; each is told once. */
  finished(): ReadonlyArray<FinishedReplay> {
    const list: Array<FinishedReplay> = []
    for (const [schema, { cursor, rows }] of this.#open) {
      if (cursor !== undefined && !cursor.isDone) continue
      this.#open.delete(schema)
      list.push({ schema, cursor, repeated: rows })
    }
    return list
  }

  #cursor(table: RecordTable, list: ReadonlyArray<ReplayRequest>, end: bigint): FeedCursor {
    const until = firstSentAt(table, end)
    const from = list.reduce((row, it) => Math.min(row, table.firstAt(it.start - CLOCK_MARGIN)), until)
    const { omitEvery } = this.#faults
    let count = 0
    return new FeedCursor(table, from, until, (row) => {
      const time = replayTime(table, row)
      const isAsked = list.some(
        (it) => it.start <= time && it.filter.accepts(table.ids[row]!, table.times[row]!)
      )
      return isAsked && (omitEvery === undefined || ++count % omitEvery !== 0)
    })
  }
}
