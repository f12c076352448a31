/** Runs a simulator until it is interrupted. */
import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import {
  addFile,
  type Catalogue,
  CatalogueBuilder,
  DatabentoSimulator,
  recentDay,
  type SimulatorError,
  SyntheticMarket
} from "@data-manager/providers-databento/simulator"
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { Clock, Effect, type Scope } from "effect"
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
        try: () =>
          builder.addSynthetic(new SyntheticMarket({ ...day, trades: options.trades ?? defaultTrades })),
        catch: (cause) => new CommandError({ message: `sim databento: ${problemText(cause)}` })
      })
    const catalogue = builder.build()
    if (catalogue.datasets.size === 0)
      return yield* new CommandError({ message: "sim databento: there is no market data in these files" })
    return catalogue
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

export const simDatabento = (session: Session, options: Options): Action =>
  Effect.scoped(
    Effect.gen(function* () {
      const catalogue = yield* loadCatalogue(options, session.cwd)
      const simulator = yield* DatabentoSimulator.make({
        catalogue,
        key: options.key,
        live: {
          port: options.livePort,
          rate: options.rate,
          liveFrom: options.liveFrom,
          market: options.shared ? "shared" : "private"
        },
        http: { port: options.httpPort },
        tls: options.tls
      }).pipe(Effect.mapError(commandError))
      const { live, http, key, authority } = simulator
      const ca_file = authority === undefined ? null : yield* authorityFile(authority)
      yield* Output.note(summary(catalogue))
      yield* Output.writeLine(JSON.stringify({ live_port: live.port, http_port: http.port, key, ca_file }))
      return yield* Effect.never
    })
  )
