/** Runs a simulator until it is interrupted. */
import { closeSync, openSync, writeSync } from "node:fs"
import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { UnixNanos } from "@data-manager/core"
import {
  addFile,
  Catalogue,
  CatalogueBuilder,
  DatabentoSimulator,
  EndlessMarket,
  recentDay,
  type SentStretch,
  type SimulatorError,
  SyntheticMarket
} from "@data-manager/providers-databento/simulator"
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { Clock, Effect, Schedule, type Scope } from "effect"
import type { Action } from "../Action.ts"
import { CommandError } from "../ExitCode.ts"
import { expand } from "../FilePattern.ts"
import { fileProblem, problemText } from "../FileProblem.ts"
import { plural } from "../NumberText.ts"
import * as Output from "../Output.ts"
import type { Session } from "../Session.ts"

interface Options {
  readonly livePort: number | undefined
  readonly httpPort: number | undefined
  readonly data: ReadonlyArray<string>
  readonly synthetic: boolean
  readonly recent: boolean
  readonly trades: number | undefined
  readonly symbols: number | undefined
  readonly seed: number | undefined
  readonly endless: boolean
  readonly since: bigint | undefined
  readonly record: string | undefined
  readonly rate: number | undefined
  readonly liveFrom: bigint | undefined
  readonly shared: boolean
  readonly key: string | undefined
  readonly tls: boolean
}

const defaultTrades = 100_000

const commandError = (error: SimulatorError): CommandError => new CommandError({ message: error.message })

const loadCatalogue = (options: Options, cwd: string): Effect.Effect<Catalogue, CommandError> =>
  Effect.gen(function* () {
    const builder = new CatalogueBuilder()
    const { files, problems } = yield* expand(options.data, cwd)
    if (problems[0] !== undefined) return yield* problems[0]
    for (const file of files)
      yield* addFile(builder, file.path).pipe(
        Effect.mapError(commandError),
        Effect.provide(NodeFileSystem.layer)
      )
    const day = options.recent ? recentDay(BigInt(yield* Clock.currentTimeMillis) * 1_000_000n) : {}
    if (options.synthetic || options.data.length === 0)
      yield* Effect.try({
        try: () => {
          const { seed, symbols, trades = defaultTrades } = options
          return builder.addSynthetic(new SyntheticMarket({ ...day, trades, symbols, seed }))
        },
        catch: (cause) => new CommandError({ message: `sim databento: ${problemText(cause)}` })
      })
    const catalogue = builder.build()
    if (catalogue.datasets.size === 0)
      return yield* new CommandError({ message: "sim databento: there is no market data in these files" })
    return catalogue
  })

const endlessRate = 1000

/** The endless market that was asked for, where one was. */
const endlessMarket = (options: Options): Effect.Effect<EndlessMarket | undefined, CommandError> =>
  Effect.gen(function* () {
    const { data, endless, rate = endlessRate, record, seed, since, symbols, trades } = options
    const refused = (detail: string) => new CommandError({ message: `sim databento: ${detail}` })
    if (!endless)
      return record === undefined && since === undefined
        ? undefined
        : yield* refused("--record and --since are for --endless")
    if (options.synthetic || data.length > 0 || trades !== undefined || options.liveFrom !== undefined)
      return yield* refused("--endless goes without --synthetic, --data, --trades and --live-from")
    const begin = since ?? (yield* Clock.currentTimeNanos)
    return yield* Effect.try({
      try: () => new EndlessMarket({ rate, seed, symbols, since: begin }),
      catch: (cause) => refused(problemText(cause))
    })
  })

/** Writes stretches to a file as they are sent; what an earlier run wrote stays. */
const recorder = (path: string): Effect.Effect<(sent: SentStretch) => void, CommandError, Scope.Scope> =>
  Effect.gen(function* () {
    const file = yield* Effect.acquireRelease(
      Effect.try({ try: () => openSync(path, "a"), catch: fileProblem(path) }),
      (open) => Effect.sync(() => closeSync(open))
    )
    const lines: Array<string> = []
    const write = Effect.sync(() => void (lines.length > 0 && writeSync(file, lines.splice(0).join(""))))
    yield* Effect.addFinalizer(() => write)
    yield* Effect.forkScoped(Effect.repeat(write, Schedule.spaced("100 millis")))
    return ({ row, rows, session }) => {
      lines.push(`${session} ${row} ${rows} ${process.hrtime.bigint()}\n`)
    }
  })

/** The authority in a file that is removed at the end. */
const authorityFile = (pem: string): Effect.Effect<string, CommandError, Scope.Scope> =>
  Effect.gen(function* () {
    const folder = yield* Effect.acquireRelease(
      Effect.tryPromise({ try: () => mkdtemp(join(tmpdir(), "dm-sim-")), catch: fileProblem(tmpdir()) }),
      (path) => Effect.promise(() => rm(path, { recursive: true, force: true }))
    )
    const path = join(folder, "ca.pem")
    yield* Effect.tryPromise({ try: () => writeFile(path, pem), catch: fileProblem(path) })
    return path
  })

const summary = (catalogue: Catalogue): string =>
  [...catalogue.datasets.values()]
    .map((it) => {
      const schemas = it.schemas.map((schema) => `${it.tables.get(schema)?.length} ${schema}`).join(", ")
      return `${it.name}: ${plural(it.symbols.rawSymbols().length, "symbol")}; ${schemas}`
    })
    .join("\n")

const endlessSummary = ({ day, step }: EndlessMarket): string =>
  `${day.dataset}: ${plural(day.instruments.length, "symbol")}; a trade every ${step} ns, for ever`

/** What makes the same market again. */
const told = ({ day, since }: EndlessMarket, { rate = endlessRate, seed = 1 }: Options) => ({
  dataset: day.dataset,
  symbols: day.instruments.length,
  seed,
  rate,
  since: UnixNanos.toIso(since)
})

export const simDatabento = (session: Session, options: Options): Action =>
  Effect.scoped(
    Effect.gen(function* () {
      const endless = yield* endlessMarket(options)
      const catalogue =
        endless === undefined
          ? yield* loadCatalogue(options, session.cwd)
          : new Catalogue([endless.dataset()])
      const onSent = options.record === undefined ? undefined : yield* recorder(options.record)
      const simulator = yield* DatabentoSimulator.make({
        catalogue,
        key: options.key,
        live: {
          port: options.livePort,
          rate: options.rate,
          liveFrom: options.liveFrom,
          onSent,
          market: options.shared ? "shared" : "private"
        },
        http: { port: options.httpPort },
        tls: options.tls
      }).pipe(Effect.mapError(commandError))
      const { live, http, key, authority } = simulator
      const ca_file = authority === undefined ? null : yield* authorityFile(authority)
      const ready = { live_port: live.port, http_port: http.port, key, ca_file }
      yield* Output.note(endless === undefined ? summary(catalogue) : endlessSummary(endless))
      yield* Output.writeLine(
        JSON.stringify(endless === undefined ? ready : { ...ready, ...told(endless, options) })
      )
      return yield* Effect.never
    })
  )
