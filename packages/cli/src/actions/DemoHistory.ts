/** Makes a synthetic trading day and sends it through everything: files, import, coverage, bars, a query. */
import { mkdtemp, open, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { type BarBatch, Coverage, MarketStore, TimeRange, UnixNanos } from "@data-manager/core"
import { SyntheticMarket } from "@data-manager/providers-databento/simulator"
import { Clock, Effect, Stream } from "effect"
import type { Action } from "../Action.ts"
import { candles } from "../Chart.ts"
import { demoDirectory, withStore } from "../Database.ts"
import type { FoundFile } from "../FilePattern.ts"
import { fileProblem } from "../FileProblem.ts"
import { type FileOutcome, outcomeNotes, outcomeTable } from "../ImportReport.ts"
import { bytes, duration, grouped, plural, rate, seconds } from "../NumberText.ts"
import * as Output from "../Output.ts"
import { progressWriter } from "../Progress.ts"
import * as RowRead from "../RowRead.ts"
import { barTable, candlesOf, tradeTable } from "../RowTable.ts"
import type { Session } from "../Session.ts"
import { lookUp } from "../SymbolLookup.ts"
import { table } from "../Table.ts"
import { short } from "../TimeText.ts"
import { runImport } from "./Import.ts"

/** What the history part is made of. */
export interface HistoryOptions {
  readonly trades: number | undefined
  readonly keep: boolean
}

const defaultTrades = 1_000_000

const heading = (session: Session, text: string): Effect.Effect<void> =>
  Output.writeLine(`\n${session.out.bold(text)}`)

const lines = (text: ReadonlyArray<string>): Effect.Effect<void> => Output.writeLine(text.join("\n"))

const timed = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const started = yield* Clock.currentTimeNanos
    const value = yield* effect
    return { value, elapsed: Number((yield* Clock.currentTimeNanos) - started) / 1e9 }
  })

/** A folder that is removed at the end, unless it is to be kept. */
const folder = (keep: boolean) =>
  Effect.acquireRelease(
    Effect.tryPromise({ try: () => mkdtemp(join(tmpdir(), "dm-demo-")), catch: fileProblem(tmpdir()) }),
    (path) => (keep ? Effect.void : Effect.promise(() => rm(path, { recursive: true, force: true })))
  )

/** Writes chunks to a new file, giving way between them so that Ctrl-C is heard. */
const writeFile = (path: string, chunks: Iterable<Uint8Array>, onBytes: (written: number) => void) =>
  Effect.acquireUseRelease(
    Effect.tryPromise({ try: () => open(path, "wx"), catch: fileProblem(path) }),
    (file) =>
      Effect.gen(function* () {
        let written = 0
        for (const chunk of chunks) {
          yield* Effect.tryPromise({ try: () => file.write(chunk), catch: fileProblem(path) })
          written += chunk.length
          onBytes(written)
        }
        return { path, bytes: written } satisfies FoundFile
      }),
    (file) => Effect.promise(() => file.close())
  )

const makeFiles = (session: Session, market: SyntheticMarket, directory: string) =>
  Effect.gen(function* () {
    const progress = progressWriter(session.watched)
    const day = market.date.toString()
    const name = (schema: string): string => join(directory, `synthetic-${day}.${schema}.dbn`)
    const definitions = yield* writeFile(name("definition"), [market.definitionFile()], () => {})
    const total = market.trades * 48
    const trades = yield* writeFile(name("trades"), market.tradeFile(), (written) =>
      progress.show({
        label: "making trades",
        rows: Math.floor(written / 48),
        bytesRead: written,
        bytesTotal: total,
        elapsedSeconds: 0
      })
    ).pipe(Effect.ensuring(Effect.sync(progress.clear)))
    return [definitions, trades]
  })

const showImport = (session: Session, files: ReadonlyArray<FoundFile>) =>
  Effect.gen(function* () {
    yield* heading(session, "Import")
    const options = {
      dataset: undefined,
      dbnVersion: undefined,
      tsOut: false,
      replace: false,
      bulk: false,
      again: false
    }
    const { outcomes, elapsed } = yield* runImport(session, files, options)
    const named = outcomes.map(
      (outcome): FileOutcome => ({
        ...outcome,
        summary: { ...outcome.summary, path: outcome.summary.path.replace(/^.*\//, "") }
      })
    )
    yield* lines([...outcomeTable(named, session.out), ...outcomeNotes(named, elapsed)])
    return outcomes.find(({ error }) => error !== undefined)?.error
  })

const showCoverage = (session: Session, dataset: string) =>
  Effect.gen(function* () {
    const store = yield* MarketStore
    const { instruments } = yield* store.loadInstruments([dataset])
    const spans = yield* store.coverage({ schema: "trades", states: ["held"] })
    const days = yield* store.availability({})
    const rows = days
      .filter((day) => day.schema === "trades" && instruments.has(day.instrument))
      .sort((a, b) => (b.rows > a.rows ? 1 : b.rows < a.rows ? -1 : 0))
    yield* heading(session, `Coverage: ${plural(rows.length, "symbol")}, the most active`)
    yield* lines(
      table(
        [
          { header: "symbol" },
          { header: "held from" },
          { header: "to" },
          { header: "time", align: "right" },
          { header: "trades", align: "right" }
        ],
        rows.slice(0, 5).map((day) => {
          const own = spans.filter((span) => span.instrument === day.instrument)
          const held = Coverage.ranges(own.map(({ range }) => range))
          return [
            instruments.get(day.instrument)!.symbol,
            held.length === 0 ? "" : short(held[0]!.start),
            held.length === 0 ? "" : short(held.at(-1)!.end),
            duration(Coverage.duration(held)),
            grouped(day.rows)
          ]
        }),
        session.out
      )
    )
    const [busiest] = rows
    return busiest === undefined ? undefined : instruments.get(busiest.instrument)
  })

const showBars = (session: Session, symbol: string, day: TimeRange.TimeRange) =>
  Effect.gen(function* () {
    const instrument = yield* lookUp(symbol, day)
    const selection = { kind: "bars", timeframe: "5m", source: "trades", fill: false } as const
    const read = RowRead.read(selection, "trades", [instrument.id], day)
    const { value, elapsed } = yield* timed(Stream.runCollect(read))
    const bars = value as ReadonlyArray<BarBatch>
    const count = bars.reduce((sum, batch) => sum + batch.length, 0)
    yield* heading(session, `Bars: ${symbol}, 5 minutes, ${plural(count, "bar")} in ${seconds(elapsed)}`)
    const format = (price: number): string => price.toFixed(2)
    yield* lines(candles(candlesOf(bars), { columns: session.columns, rows: 12 }, format, session.out))
    const tail = bars.at(-1)
    if (tail !== undefined)
      yield* lines(["", ...barTable([tail.slice(Math.max(0, tail.length - 3))], session.out)])
  })

const showQuery = (session: Session, symbol: string, day: TimeRange.TimeRange) =>
  Effect.gen(function* () {
    const instrument = yield* lookUp(symbol, day)
    const store = yield* MarketStore
    const last = yield* store.lastTrades([instrument.id], 3)
    let rows = 0
    const { elapsed } = yield* timed(
      Stream.runForEach(store.readTrades({ instruments: [instrument.id], range: day }), (batch) =>
        Effect.sync(() => {
          rows += batch.length
        })
      )
    )
    yield* heading(
      session,
      `Query: every trade of ${symbol} read into columns: ${plural(rows, "row")} in ${seconds(elapsed)} (${rate(rows, elapsed)})`
    )
    yield* lines(tradeTable(last, session.out))
  })

const showNext = (session: Session, symbol: string, directory: string, date: string) => {
  const dm = `dm --data-dir ${directory}`
  return Effect.gen(function* () {
    yield* heading(session, "Try next")
    yield* lines([
      `  ${dm} query bars ${symbol} --start ${date} --timeframe 15m`,
      `  ${dm} query trades ${symbol} --start ${date}T14:30 --end ${date}T14:31 --json`,
      `  ${dm} export trades ${symbol} -o trades.csv.zst`,
      `  ${dm} coverage`,
      `  dm import YOUR-FILES.dbn.zst     into your own database: dm init, dm status`
    ])
  })
}

const dateText = (date: number): string => {
  const digits = date.toString()
  return `${digits.slice(0, 4)}-${digits.slice(4, 6)}-${digits.slice(6)}`
}

const tour = (
  session: Session,
  market: SyntheticMarket,
  files: ReadonlyArray<FoundFile>,
  directory: string
) =>
  Effect.gen(function* () {
    const failed = yield* showImport(session, files)
    if (failed !== undefined) return yield* Effect.fail(failed)
    const busiest = yield* showCoverage(session, market.dataset)
    if (busiest === undefined) return
    const date = dateText(market.date)
    const start = UnixNanos.parse(date)!
    const day = TimeRange.make(start, start + UnixNanos.PerDay)!
    yield* showBars(session, busiest.symbol, day)
    yield* showQuery(session, busiest.symbol, day)
    yield* showNext(session, busiest.symbol, directory, date)
  })

/** The history part of the demo, in the database of a session. */
export const demoHistory = (session: Session, options: HistoryOptions): Action =>
  Effect.scoped(
    Effect.gen(function* () {
      const market = new SyntheticMarket({ trades: options.trades ?? defaultTrades })
      yield* Output.writeLine(
        `A synthetic trading day: ${grouped(market.trades)} trades of ${plural(market.instruments.length, "symbol")} on ` +
          `${plural(market.publishers.length, "venue")}, ${dateText(market.date)}, ${market.dataset}`
      )
      const directory = yield* folder(options.keep)
      const { value: files, elapsed } = yield* timed(makeFiles(session, market, directory))
      const size = files.reduce((sum, file) => sum + file.bytes, 0)
      const dataDir = session.dataDir ?? demoDirectory()
      yield* Output.writeLine(`made ${bytes(size)} of DBN in ${seconds(elapsed)}; database in ${dataDir}`)
      yield* withStore(session, tour(session, market, files, dataDir))
      if (options.keep) yield* Output.note(`the DBN files are in ${directory}`)
    })
  )
