/** Shows which times are held, as ranges or as rows per day. */
import {
  Coverage,
  type DailyAvailability,
  type MarketSchema,
  MarketStore,
  type TimeRange,
  UnixNanos
} from "@data-manager/core"
import { Clock, Effect } from "effect"
import type { Action } from "../Action.ts"
import { withStore } from "../Database.ts"
import { narrowed, type Selected, type SelectionOptions, select } from "../InstrumentSelection.ts"
import { duration, grouped, plural } from "../NumberText.ts"
import * as Output from "../Output.ts"
import { checkRange } from "../RowRead.ts"
import type { Session } from "../Session.ts"
import { table } from "../Table.ts"
import { isoFormatter, short } from "../TimeText.ts"

interface Options extends SelectionOptions {
  readonly schema: MarketSchema.MarketSchema | undefined
  readonly daily: boolean
}

const spansOf = (options: Options, selected: Selected) =>
  Effect.gen(function* () {
    const store = yield* MarketStore
    const spans = yield* store.coverage({
      instruments: selected.ids,
      schema: options.schema,
      range: selected.range
    })
    const now = BigInt(yield* Clock.currentTimeMillis) * UnixNanos.PerMilli
    return spans
      .filter(({ instrument }) => selected.instruments.has(instrument))
      .map((span) => ({ ...span, state: Coverage.stateAt(span, now) }))
  })

/** Spans of one instrument, schema and state. */
interface Group {
  readonly symbol: string
  readonly schema: MarketSchema.MarketSchema
  readonly state: Coverage.CoverageState
  readonly ranges: Coverage.RangeSet
  readonly causes: ReadonlyArray<string>
}

const groupSpans = (
  spans: ReadonlyArray<Coverage.CoverageSpan>,
  selected: Selected
): ReadonlyArray<Group> => {
  const groups = new Map<string, Array<Coverage.CoverageSpan>>()
  for (const span of spans) {
    const key = `${span.instrument} ${span.schema} ${span.state}`
    const group = groups.get(key)
    if (group === undefined) groups.set(key, [span])
    else group.push(span)
  }
  const clip = (range: TimeRange.TimeRange): Coverage.RangeSet =>
    selected.range === undefined ? [range] : Coverage.intersect([range], [selected.range])
  return [...groups.values()]
    .map((group) => ({
      symbol: selected.instruments.get(group[0]!.instrument)!.symbol,
      schema: group[0]!.schema,
      state: group[0]!.state,
      ranges: Coverage.ranges(group.flatMap(({ range }) => clip(range))),
      causes: [...new Set(group.flatMap(({ cause }) => (cause === undefined ? [] : [cause])))]
    }))
    .sort((a, b) => (a.symbol < b.symbol ? -1 : a.symbol > b.symbol ? 1 : a.schema < b.schema ? -1 : 1))
}

/** Ranges shown one by one for a few symbols; a summary per symbol for many. */
const mostDetailed = 20

const groupRows = (group: Group, detailed: boolean): ReadonlyArray<ReadonlyArray<string>> => {
  const { symbol, schema, state, ranges, causes } = group
  if (ranges.length === 0) return []
  const row = (first: TimeRange.TimeRange, last: TimeRange.TimeRange, held: bigint, count: number) => [
    symbol,
    schema,
    state,
    short(first.start),
    short(last.end),
    duration(held),
    grouped(count),
    causes.join(", ")
  ]
  return detailed && ranges.length <= 50
    ? ranges.map((range) => row(range, range, range.end - range.start, 1))
    : [row(ranges[0]!, ranges.at(-1)!, Coverage.duration(ranges), ranges.length)]
}

const printGroups = (groups: ReadonlyArray<Group>, session: Session): Effect.Effect<void> => {
  const detailed = groups.length <= mostDetailed
  const colors = {
    held: session.out.green,
    missing: session.out.red,
    none: session.out.dim,
    expired: session.out.dim
  }
  const rows = groups.flatMap((group) => groupRows(group, detailed))
  const lines = table(
    [
      { header: "symbol" },
      { header: "schema" },
      {
        header: "state",
        paint: (cell, row) => colors[(rows[row]?.[2] ?? "none") as Coverage.CoverageState](cell)
      },
      { header: "from" },
      { header: "to" },
      { header: "time", align: "right" },
      { header: "ranges", align: "right" },
      { header: "cause" }
    ],
    rows,
    session.out
  )
  return Output.writeLine(lines.join("\n"))
}

const printGroupsJson = (groups: ReadonlyArray<Group>): Effect.Effect<void> => {
  const iso = isoFormatter()
  const document = groups.map(({ symbol, schema, state, ranges, causes }) => ({
    symbol,
    schema,
    state,
    ranges: ranges.map(({ start, end }) => ({ start: iso(start), end: iso(end) })),
    causes
  }))
  return Output.writeLine(JSON.stringify({ coverage: document }))
}

const daysOf = (options: Options, selected: Selected) =>
  Effect.gen(function* () {
    const store = yield* MarketStore
    const days = yield* store.availability({
      instruments: selected.ids,
      range: selected.range
    })
    return days
      .filter((day) => selected.instruments.has(day.instrument))
      .filter((day) => options.schema === undefined || day.schema === options.schema)
      .map((day) => ({ ...day, symbol: selected.instruments.get(day.instrument)!.symbol }))
      .sort((a, b) =>
        a.symbol < b.symbol ? -1 : a.symbol > b.symbol ? 1 : a.day < b.day ? -1 : a.day > b.day ? 1 : 0
      )
  })

type Day = DailyAvailability & { readonly symbol: string }

const printDays = (days: ReadonlyArray<Day>, session: Session): Effect.Effect<void> => {
  if (session.json) {
    const iso = isoFormatter()
    const document = days.map((day) => ({
      symbol: day.symbol,
      schema: day.schema,
      date: UnixNanos.toDate(day.day),
      rows: day.rows.toString(),
      first: iso(day.first),
      last: iso(day.last)
    }))
    return Output.writeLine(JSON.stringify({ days: document }))
  }
  const lines = table(
    [
      { header: "symbol" },
      { header: "schema" },
      { header: "date" },
      { header: "rows", align: "right" },
      { header: "first" },
      { header: "last" }
    ],
    days.map((day) => [
      day.symbol,
      day.schema,
      UnixNanos.toDate(day.day),
      grouped(day.rows),
      short(day.first).slice(11),
      short(day.last).slice(11)
    ]),
    session.out
  )
  return Output.writeLine(lines.join("\n"))
}

const emptyNote = (selected: Selected, options: Options): string =>
  selected.instruments.size === 0 && !narrowed(options)
    ? "nothing is held yet; dm import FILE... loads data"
    : `nothing is held of ${narrowed(options) ? "these symbols" : `these ${plural(selected.instruments.size, "instrument")}`} in this range`

export const coverage = (session: Session, options: Options): Action =>
  Effect.gen(function* () {
    yield* checkRange(options.start, options.end)
    yield* withStore(
      session,
      Effect.gen(function* () {
        const selected = yield* select(options)
        if (options.daily) {
          const days = yield* daysOf(options, selected)
          if (days.length === 0) yield* Output.note(emptyNote(selected, options))
          if (days.length > 0 || session.json) yield* printDays(days, session)
          return
        }
        const groups = groupSpans(yield* spansOf(options, selected), selected)
        if (groups.length === 0) yield* Output.note(emptyNote(selected, options))
        if (session.json) yield* printGroupsJson(groups)
        else if (groups.length > 0) yield* printGroups(groups, session)
      })
    )
  })
