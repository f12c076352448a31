/** Replays a window of the store into a ring of its own. */
import {
  type DailyAvailability,
  Hub,
  HubPublication,
  type Instrument,
  MarketSchema,
  MarketStore,
  type Publication,
  Replay,
  type StoreError
} from "@data-manager/core"
import { RingInspection, ShmPublication } from "@data-manager/transport-shm"
import { type Duration, Effect, Schedule } from "effect"
import type { Action } from "../Action.ts"
import { loadConfig, withStore } from "../Database.ts"
import { CommandError, UsageError } from "../ExitCode.ts"
import { duration, grouped, plural, rate } from "../NumberText.ts"
import * as Output from "../Output.ts"
import { lineWriter } from "../Progress.ts"
import { type RingPlaceOptions, ringPlace } from "../RingPlace.ts"
import { candidates, checkRange } from "../RowRead.ts"
import type { Session } from "../Session.ts"
import { askedRange, lookUpAll } from "../SymbolLookup.ts"
import { isoFormatter, short } from "../TimeText.ts"

interface Options extends RingPlaceOptions {
  readonly names: ReadonlyArray<string>
  readonly symbols: ReadonlyArray<string>
  readonly start: bigint | undefined
  readonly end: bigint | undefined
  readonly schemas: ReadonlyArray<"quotes" | MarketSchema.MarketSchema>
  readonly speed: number | "max"
  readonly maxGap: Duration.Duration | undefined
  readonly ring: string | undefined
  readonly waitReaders: number | undefined
  readonly strict: boolean
}

/** Longest name of a ring, with what the files of quotes append. */
const longestName = 64 - "_quotes".length

/** Rows per read: a reader that asks not to be overtaken is waited for once per batch. */
const batchRows = 8_192
const blockMicros = 100_000

/** What is replayed, and where. */
interface Plan {
  readonly instruments: ReadonlyArray<Instrument>
  readonly window: Replay.ReplayWindow
  readonly name: string
  readonly dir: string | undefined
  readonly capacity: number
}

const ringOf = (session: Session, options: Options) =>
  Effect.gen(function* () {
    const { config } = yield* loadConfig(session)
    const { dir, name: live } = yield* ringPlace(session, options)
    const name = options.ring ?? `${live}-replay`
    if (name === live)
      return yield* new UsageError({
        message: `"${name}" is the ring of live data; a replay has one of its own: give another --ring, or none for ${live}-replay`
      })
    if (!/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(name) || name.length > longestName || name.endsWith("_quotes"))
      return yield* new UsageError({
        message: `"${name}" cannot name a ring: 1 to ${longestName} letters, digits, dashes or underscores, without _quotes at the end`
      })
    return { name, dir, capacity: config.realtime.shm.ringBufferCapacity }
  })

/** The schemas that are meant, out of those that are held; each named one is meant, held or not. */
const schemasOf = (
  wanted: Options["schemas"],
  days: ReadonlyArray<DailyAvailability>
): ReadonlyArray<MarketSchema.MarketSchema> => {
  const heldQuotes = candidates({ kind: "quotes" }).find((name) => days.some(({ schema }) => schema === name))
  return [...new Set(wanted.flatMap((name) => (name === "quotes" ? (heldQuotes ?? []) : name)))]
}

/** The window, its ends where they are left open those of what is held. */
const windowOf = (
  options: Options,
  instruments: ReadonlyArray<Instrument>
): Effect.Effect<Replay.ReplayWindow, StoreError | CommandError, MarketStore> =>
  Effect.gen(function* () {
    const store = yield* MarketStore
    const ids = instruments.map(({ id }) => id)
    const symbols = instruments.map(({ symbol }) => symbol).join(", ")
    const days = yield* store.availability({ instruments: ids })
    const schemas = schemasOf(options.schemas, days)
    const own = days.filter(({ schema }) => schemas.includes(schema))
    const [first, last] = [least(own.map((day) => day.first)), most(own.map((day) => day.last))]
    if (first === undefined || last === undefined)
      return yield* new CommandError({
        message: `nothing is held of ${symbols} in ${options.schemas.join(", ")}: fetch it with dm backfill, or look with dm coverage`
      })
    const range = { start: options.start ?? first, end: options.end ?? last + 1n }
    if (range.start > last || range.end <= first || range.start >= range.end)
      return yield* new CommandError({
        message: `nothing is held from ${short(range.start)} to ${short(range.end)}: rows of ${symbols} are from ${short(first)} to ${short(last)}`
      })
    return { instruments: ids, schemas, range }
  })

const least = (times: ReadonlyArray<bigint>): bigint | undefined =>
  times.reduce<bigint | undefined>((a, b) => (a === undefined || b < a ? b : a), undefined)
const most = (times: ReadonlyArray<bigint>): bigint | undefined =>
  times.reduce<bigint | undefined>((a, b) => (a === undefined || b > a ? b : a), undefined)

/** Holes that are named one by one. */
const namedHoles = 10

/** Says what of the window is not known to be complete; `--strict` refuses it. */
const checkHoles = (options: Options, { instruments, window }: Plan) =>
  Effect.gen(function* () {
    const found = yield* Replay.holes(yield* MarketStore, window)
    if (found.length === 0) return
    const symbolOf = new Map(instruments.map(({ id, symbol }) => [id, symbol]))
    const lines = found.flatMap(({ instrument, ranges, schema }) =>
      ranges.map(
        ({ start, end }) =>
          `${symbolOf.get(instrument)} ${schema} from ${short(start)} to ${short(end)} (${duration(end - start)})`
      )
    )
    const shown = [...lines.slice(0, namedHoles), ...(lines.length > namedHoles ? ["..."] : [])].join("\n  ")
    const what = `${plural(lines.length, "hole")} in the window, which dm backfill may fill:\n  ${shown}`
    if (options.strict) return yield* new CommandError({ message: what })
    yield* Output.note(`warning: ${what}`)
  })

/** The first row of the window, so that nobody waits for nothing. */
const checkRows = ({ instruments, window }: Plan) =>
  Effect.gen(function* () {
    const { schemas, range } = window
    const store = yield* MarketStore
    const first = yield* Replay.firstRow(store, window)
    if (first !== undefined) return
    const symbols = instruments.map(({ symbol }) => symbol).join(", ")
    return yield* new CommandError({
      message: `there are no rows of ${symbols} (${schemas.join(", ")}) from ${short(range.start)} to ${short(range.end)}`
    })
  })

/** Old files of the name hold rows of an earlier replay: they go, unless readers wait there for this one. */
const removeOld = ({ name, dir }: Plan): Effect.Effect<void> =>
  Effect.ignore(
    Effect.try(() => {
      for (const segment of [name, `${name}_quotes`])
        if (RingInspection.list(dir).includes(segment)) RingInspection.clean({ dir, name: segment })
    })
  )

const publicationOf = (plan: Plan) => {
  const kinds = new Set(plan.window.schemas.map(MarketSchema.kind))
  return Effect.andThen(
    removeOld(plan),
    ShmPublication.make({
      name: plan.name,
      dir: plan.dir,
      capacity: plan.capacity,
      kinds: (["trades", "quotes"] as const).filter((kind) => kinds.has(kind)),
      blockMicros
    })
  ).pipe(
    Effect.catchIf(
      (error) => error.reason._tag === "TransportNotConnected",
      (error) => Effect.fail(new CommandError({ message: `${error.message}: give another --ring` }))
    )
  )
}

const times = (speed: number): string => `${Number(speed.toPrecision(3))}x`

/** How a replay goes, in one line. */
const statusText = (status: Replay.ReplayStatus): string => {
  const { behind, elapsed, played, position, rows } = status
  const seconds = Number(elapsed) / 1e9
  return [
    position === undefined ? "no row yet" : short(position),
    `${grouped(rows)} rows`,
    ...(seconds > 0.5 ? [times(Number(played) / Number(elapsed)), rate(Number(rows), seconds)] : []),
    ...(behind > 10_000_000n ? [`behind by ${duration(behind)}`] : [])
  ].join("  ")
}

const lateText = ({ batches, sumBehind, worstBehind }: Replay.ReplayStatus): string => {
  const millis = (nanos: bigint) => `${(Number(nanos) / 1e6).toFixed(1)} ms`
  return `late by ${millis(batches === 0n ? 0n : sumBehind / batches)} on average, ${millis(worstBehind)} at worst`
}

const summary = (
  session: Session,
  plan: Plan,
  options: Options,
  status: Replay.ReplayStatus,
  isWhole: boolean
) => {
  const { batches, cut, elapsed, played, position, rows, sumBehind, worstBehind } = status
  const reached = elapsed === 0n ? 0 : Number(played) / Number(elapsed)
  if (session.json) {
    const iso = isoFormatter()
    return Output.writeLine(
      JSON.stringify({
        ring: plan.name,
        complete: isWhole,
        rows: Number(rows),
        batches: Number(batches),
        last: position === undefined ? null : iso(position),
        market_seconds: Number(played) / 1e9,
        cut_seconds: Number(cut) / 1e9,
        seconds: Number(elapsed) / 1e9,
        speed: reached,
        mean_late_ms: batches === 0n ? 0 : Number(sumBehind / batches) / 1e6,
        worst_late_ms: Number(worstBehind) / 1e6
      })
    )
  }
  const parts = [
    `${isWhole ? "replayed" : "interrupted after"} ${plural(rows, "row")} of ${duration(played)} in ${duration(elapsed)} (${times(reached)})`,
    ...(cut > 0n ? [`${duration(cut)} of silence cut`] : []),
    ...(options.speed === "max" ? [] : [lateText(status)])
  ]
  return Output.note(parts.join("; "))
}

const publish = (
  session: Session,
  options: Options,
  plan: Plan,
  publication: Publication["Service"]
): Effect.Effect<void, StoreError | CommandError, MarketStore> =>
  Effect.gen(function* () {
    const hub = Hub.make()
    const { instruments, window, name } = plan
    const { directory } = yield* (yield* MarketStore).loadInstruments([])
    const publishing = yield* HubPublication.attach(hub, publication, directory)
    const { maxGap, speed, waitReaders } = options
    const store = yield* MarketStore
    const replay = yield* Replay.make({ ...window, store, hub, speed, maxGap, batchRows })
    const { start, end } = window.range
    yield* Output.note(
      `replay of ${plural(instruments.length, "symbol")} (${window.schemas.join(", ")}) from ${short(start)} to ${short(end)}, ` +
        `${speed === "max" ? "as fast as possible" : times(speed)}, in ring ${name}: dm tail ${name}`
    )
    if (waitReaders !== undefined) {
      yield* Output.note(`waiting for ${plural(waitReaders, "reader")}`)
      yield* Replay.awaitReaders(publication, waitReaders)
    }
    const line = lineWriter(session.watched)
    yield* Effect.forkScoped(
      Effect.repeat(
        Effect.sync(() => line.show(() => statusText(replay.status()))),
        Schedule.spaced("200 millis")
      )
    )
    yield* replay.run.pipe(
      Effect.ensuring(Effect.sync(line.clear)),
      Effect.onInterrupt(() => summary(session, plan, options, replay.status(), false))
    )
    yield* summary(session, plan, options, replay.status(), true)
    const { failures, lastError } = publishing.status()
    if (failures > 0n)
      return yield* new CommandError({
        message: `${plural(failures, "publish call")} could not be published: ${lastError}`
      })
  }).pipe(Effect.scoped)

export const replay = (session: Session, options: Options): Action =>
  Effect.gen(function* () {
    yield* checkRange(options.start, options.end)
    const texts = [...options.names, ...options.symbols]
    if (texts.length === 0)
      return yield* new UsageError({ message: "name at least one symbol, as an argument or with --symbols" })
    const ring = yield* ringOf(session, options)
    const work = Effect.gen(function* () {
      const instruments = yield* lookUpAll(texts, askedRange(options.start, options.end))
      const plan: Plan = { ...ring, instruments, window: yield* windowOf(options, instruments) }
      yield* checkRows(plan)
      yield* checkHoles(options, plan)
      yield* publish(session, options, plan, yield* publicationOf(plan))
    })
    yield* withStore(session, Effect.scoped(work))
  })
