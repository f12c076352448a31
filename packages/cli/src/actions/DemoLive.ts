/**
 * The live part of the demo, as processes of their own: a simulator of the vendor, the service, and a strategy on its ring. At
 * the end what was sent is compared with what is stored.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { MarketStore, UnixNanos } from "@data-manager/core"
import { EmbeddedServer } from "@data-manager/storage-timescale/embedded"
import { Effect, type Scope, Stream } from "effect"
import type { Action } from "../Action.ts"
import { serviceStatus } from "../ControlClient.ts"
import { withStore } from "../Database.ts"
import { CommandError } from "../ExitCode.ts"
import { fileProblem } from "../FileProblem.ts"
import { grouped, plural } from "../NumberText.ts"
import * as Output from "../Output.ts"
import type { Session } from "../Session.ts"

/** What the live part is made of. */
export interface LiveOptions {
  readonly seconds: number | undefined
  readonly rate: number | undefined
  readonly keep: boolean
}

const defaultSeconds = 10
const defaultRate = 5_000
const Symbols = 500

/** How long a process may take to begin, and to end. Milliseconds. */
const StartPatience = 60_000
const EndPatience = 20_000

interface Place {
  readonly folder: string
  readonly dataDir: string
  readonly config: string
  readonly record: string
}

const place = (keep: boolean): Effect.Effect<Place, CommandError, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.tryPromise({
      try: async () => {
        const folder = await mkdtemp(join(tmpdir(), "dm-demo-"))
        // Started by root, the database runs as somebody else, who has to get to its folder.
        await chmod(folder, 0o711)
        return folder
      },
      catch: fileProblem(tmpdir())
    }),
    (folder) =>
      keep
        ? Effect.void
        : Effect.ignore(EmbeddedServer.stop(join(folder, "data"), { force: true })).pipe(
            Effect.andThen(Effect.promise(() => rm(folder, { recursive: true, force: true })))
          )
  ).pipe(
    Effect.map((folder) => ({
      folder,
      dataDir: join(folder, "data"),
      config: join(folder, "data-manager.toml"),
      record: join(folder, "sent.txt")
    }))
  )

/** A `dm` of its own; it is ended, in the end by force, with the scope. */
const program = (
  { dataDir, folder }: Place,
  args: ReadonlyArray<string>,
  env: Session["env"],
  stdout: "pipe" | "inherit" = "pipe"
): Effect.Effect<ChildProcess, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() =>
      spawn(process.execPath, [...process.execArgv, process.argv[1]!, ...args], {
        cwd: folder,
        env: { ...env, DM_DATA_DIR: dataDir },
        // A Ctrl-C of the terminal is for the demo, which ends the others in order.
        detached: true,
        stdio: ["ignore", stdout, "pipe"]
      })
    ),
    (child) => ended(child, "SIGTERM")
  )

const hasEnded = ({ exitCode, signalCode }: ChildProcess): boolean => exitCode !== null || signalCode !== null

const ended = (child: ChildProcess, signal: NodeJS.Signals): Effect.Effect<void> =>
  Effect.callback<void>((resume) => {
    if (hasEnded(child)) return resume(Effect.void)
    const force = setTimeout(() => child.kill("SIGKILL"), EndPatience)
    child.once("close", () => {
      clearTimeout(force)
      resume(Effect.void)
    })
    child.kill(signal)
  })

/** The first line that has a text in it; fails with the last line where the process ends before. */
const lineWith = (
  child: ChildProcess,
  stream: NodeJS.ReadableStream,
  text: string
): Effect.Effect<string, CommandError> =>
  Effect.callback<string, CommandError>((resume) => {
    let last = "it said nothing"
    const fail = (what: string) =>
      resume(Effect.fail(new CommandError({ message: `demo: ${what}: ${last}` })))
    const timer = setTimeout(() => fail("a program does not begin"), StartPatience)
    const lines = createInterface({ input: stream })
    lines.on("line", (line) => {
      last = line
      if (!line.includes(text)) return
      clearTimeout(timer)
      resume(Effect.succeed(line))
    })
    child.once("close", () => {
      clearTimeout(timer)
      fail("a program ended")
    })
  })

interface Simulated {
  readonly live_port: number
  readonly http_port: number
  readonly key: string
}

const configuration = ({ folder }: Place, { http_port, live_port }: Simulated): string => `
[providers.databento]
historical_url = "http://127.0.0.1:${http_port}"
live_address = "127.0.0.1:${live_port}"
datasets = ["DBEQ.BASIC"]
[symbols]
config_file = "symbols.toml"
[realtime.shm]
name = "demo"
dir = "${join(folder, "ring")}"
ring_buffer_capacity = 262144
[backfill]
enabled = false
[spool]
disk_floor_gb = 0
[control]
port = 0
`

const writeConfiguration = (where: Place, simulated: Simulated): Effect.Effect<void, CommandError> =>
  Effect.tryPromise({
    try: async () => {
      await writeFile(where.config, configuration(where, simulated))
      await writeFile(
        join(where.folder, "symbols.toml"),
        '[[symbols]]\nsymbol = "DBEQ.BASIC:ALL_SYMBOLS"\nprovider = "databento"\n'
      )
    },
    catch: fileProblem(where.folder)
  })

/** Numbers of the first and the last trade that the simulator wrote, by its own record. */
const sentOf = ({ record }: Place): Effect.Effect<readonly [first: number, last: number]> =>
  Effect.promise(async () => {
    const lines = (await readFile(record, "utf8")).split("\n").filter((line) => line !== "")
    const [, first = 0] = (lines[0] ?? "").split(" ").map(Number)
    const [, last = 0, rows = 0] = (lines.at(-1) ?? "").split(" ").map(Number)
    return [first, last + rows - 1]
  })

/**
 * Trades at the begin of a session that may be left out: those whose microsecond began before it, of which nobody can tell whether
 * it is whole.
 */
const Beginning = 1_000

/** What the database has: how many trades, how many of them from a number on, and the numbers of the first and the last one. */
const storedTrades = Effect.fnUntraced(function* (from: number) {
  const store = yield* MarketStore
  const { instruments } = yield* store.loadInstruments()
  let rows = 0
  let later = 0
  let first = Number.POSITIVE_INFINITY
  let last = -1
  const range = { start: 0n, end: UnixNanos.Max }
  yield* Stream.runForEach(store.readTrades({ instruments: [...instruments.keys()], range }), (batch) =>
    Effect.sync(() => {
      rows += batch.length
      for (const key of batch.columns.tradeKey) {
        // The market numbers its trades one by one: a trade that is missing, or there twice, shows in their number.
        const number = Number((key >> 16n) & 0xffffffffn)
        if (number >= from) later += 1
        if (number < first) first = number
        if (number > last) last = number
      }
    })
  )
  return { rows, later, first, last }
})

/** Waits until the service has written what has come; what it has not in time stays in its spool, and shows. */
const drained = ({ dataDir }: Place): Effect.Effect<void> =>
  serviceStatus({ socket: join(dataDir, "control.sock"), tcp: undefined }).pipe(
    Effect.delay("1 second"),
    Effect.repeat({ until: (status) => status === undefined || status.spool.rows === "0" }),
    Effect.timeoutOption("60 seconds"),
    Effect.asVoid
  )

/** Compares what was sent with what is stored, in words. */
const compare = Effect.fnUntraced(function* (where: Place, session: Session) {
  const [first, last] = yield* sentOf(where)
  const stored = yield* withStore({ ...session, dataDir: where.dataDir }, storedTrades(first + Beginning))
  yield* Output.writeLine(
    `sent were trades ${grouped(first)} to ${grouped(last)}; ${grouped(stored.rows)} are in the database, ` +
      `${grouped(stored.first)} to ${grouped(stored.last)}`
  )
  const isWhole =
    stored.last === last &&
    stored.later === last - first - Beginning + 1 &&
    stored.rows <= last - stored.first + 1
  yield* Output.writeLine(
    isWhole
      ? "each of them once, from the first whole moment of the session to the last trade"
      : "trades are missing, or there twice"
  )
  if (!isWhole)
    yield* new CommandError({ message: "demo: what was sent and what is stored are not the same" })
})

const heading = (session: Session, text: string): Effect.Effect<void> =>
  Output.writeLine(`\n${session.out.bold(text)}`)

/** Runs a `dm` to its end, its output being that of the demo. */
const shown = (where: Place, args: ReadonlyArray<string>, env: Session["env"]) =>
  Effect.scoped(
    Effect.flatMap(program(where, args, env, "inherit"), (child) =>
      Effect.callback<void>((resume) => {
        child.once("close", () => resume(Effect.void))
      })
    )
  )

/** The live part of the demo, in a folder of its own that is removed afterwards. */
export const demoLive = (session: Session, options: LiveOptions): Action =>
  Effect.scoped(
    Effect.gen(function* () {
      const { rate = defaultRate, seconds = defaultSeconds } = options
      const where = yield* place(options.keep)
      const sim = ["sim", "databento", "--endless", "--symbols", `${Symbols}`, "--rate", `${rate}`]
      const simulator = yield* program(where, [...sim, "--record", where.record], session.env)
      const simulated: Simulated = JSON.parse(yield* lineWith(simulator, simulator.stdout!, "{"))
      yield* Output.writeLine(
        `A live market: ${grouped(rate)} trades a second of ${plural(Symbols, "symbol")}, by the vendor's own protocol on port ${simulated.live_port}`
      )
      yield* writeConfiguration(where, simulated)
      const env = { ...session.env, DATABENTO_API_KEY: simulated.key }
      const service = yield* program(where, ["-c", where.config, "start"], env)
      yield* lineWith(service, service.stderr!, "collecting;")
      yield* Output.writeLine("The service collects: spool, database and ring. A strategy comes to it:")
      const strategy = yield* program(
        where,
        ["-c", where.config, "demo", "--only", "strategy"],
        env,
        "inherit"
      )
      yield* Effect.sleep(`${seconds} seconds`)
      yield* heading(session, "dm status, meanwhile")
      yield* shown(where, ["-c", where.config, "status"], env)
      yield* heading(session, "The end")
      // First no more is sent; then everybody gets what is on its way.
      yield* ended(simulator, "SIGTERM")
      yield* drained(where)
      yield* ended(strategy, "SIGINT")
      yield* ended(service, "SIGTERM")
      yield* compare(where, session)
      if (options.keep) yield* Output.note(`everything is in ${where.folder}`)
    })
  )
