/**
 * Two `dm start` on one server, both against one simulated market: the one that is active is killed, or frozen and woken, and the other
 * goes on. At the end the database has every trade of the market once.
 */
import type { ChildProcessWithoutNullStreams } from "node:child_process"
import { once } from "node:events"
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { request } from "node:http"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { PgPool, PgServer } from "@data-manager/storage-timescale"
import { EmbeddedServer } from "@data-manager/storage-timescale/embedded"
import { Effect, Exit, Redacted, Scope } from "effect"
import { assert } from "vitest"
import { Workplace } from "./Dm.ts"
import { writeServiceConfig } from "./ServiceConfig.ts"

const dataset = "DBEQ.BASIC"
export const sleep = (millis: number): Promise<void> => new Promise((done) => setTimeout(done, millis))

/** A server that the services know by its URL alone, and a look into its database. */
export class OutsideServer {
  #scope = Scope.makeUnsafe()
  readonly #place: Workplace
  #address: PgServer.ServerAddress | undefined
  #pool: PgPool.PgPool | undefined

  constructor(place: Workplace) {
    this.#place = place
  }

  async start(): Promise<string> {
    const open = Effect.gen({ self: this }, function* () {
      const address = yield* EmbeddedServer.acquire({ dataDir: this.#place.dataDir, unsafe: true })
      const client = PgServer.clientConfig(address)
      const pool = yield* PgPool.make({ client, maxConnections: 2 })
      this.#address = address
      this.#pool = pool
    })
    await Effect.runPromise(Scope.provide(open, this.#scope))
    return Redacted.value(PgServer.toUrl(this.#address!))
  }

  get address(): PgServer.ServerAddress {
    return this.#address!
  }

  async row<A>(sql: string): Promise<A> {
    const [row] = await Effect.runPromise(this.#pool!.query(sql))
    return row as A
  }

  /** Ends the server; `start` begins it anew. */
  async close(): Promise<void> {
    await Effect.runPromise(Scope.close(this.#scope, Exit.void))
    this.#scope = Scope.makeUnsafe()
    await this.#place.stop()
  }
}

interface Simulator {
  readonly process: ChildProcessWithoutNullStreams
  readonly livePort: number
  readonly httpPort: number
  readonly key: string
}

export const startSimulator = async (
  place: Workplace,
  trades: number,
  rate: number,
  more: ReadonlyArray<string> = ["--shared-market", "--recent"]
): Promise<Simulator> => {
  const child = place.start([
    ...["sim", "databento", "--synthetic", "--trades", `${trades}`, "--rate", `${rate}`, ...more]
  ])
  const [line] = (await once(createInterface({ input: child.stdout }), "line")) as [string]
  const { live_port, http_port, key } = JSON.parse(line) as Record<string, number> & { readonly key: string }
  return { process: child, livePort: live_port!, httpPort: http_port!, key }
}

/** One side: a folder of its own with its configuration, spool and control socket. */
export class Side {
  readonly name: string
  readonly #place: Workplace
  readonly #env: { readonly [name: string]: string }
  readonly folder: string
  process: ChildProcessWithoutNullStreams | undefined
  log = ""

  constructor(
    place: Workplace,
    name: string,
    simulator: Simulator,
    env: { readonly [name: string]: string }
  ) {
    this.name = name
    this.#place = place
    this.folder = place.path(name)
    this.#env = {
      DATABENTO_API_KEY: simulator.key,
      DM_DATA_DIR: join(this.folder, "data"),
      ...env
    }
    mkdirSync(this.folder, { recursive: true })
    writeServiceConfig(this.folder, {
      dataset,
      httpPort: simulator.httpPort,
      livePort: simulator.livePort,
      ring: { name: `takeover_${process.pid}`, dir: place.path("ring") },
      sections: { ha: ["lease_seconds = 3"] }
    })
  }

  start(): void {
    const child = this.#place.start(["start"], { env: this.#env, cwd: this.folder })
    this.process = child
    const take = (chunk: Buffer): void => {
      this.log += chunk.toString("utf8")
    }
    child.stderr.on("data", take)
    child.stdout.on("data", take)
  }

  signal(signal: NodeJS.Signals): void {
    this.process!.kill(signal)
  }

  /** Ends it by a signal, and waits until it is gone. */
  async end(signal: NodeJS.Signals): Promise<number | null> {
    const child = this.process
    if (child === undefined) return null
    this.process = undefined
    if (child.exitCode !== null || child.signalCode !== null) return child.exitCode
    const ended = once(child, "exit") as Promise<[number | null]>
    child.kill(signal)
    return (await ended)[0]
  }

  /** What the control plane answers; undefined where it does not. */
  get<A>(path: string): Promise<{ readonly code: number; readonly body: A } | undefined> {
    return new Promise((done) => {
      const asked = request(
        { socketPath: join(this.folder, "data", "control.sock"), path, timeout: 1000 },
        (response) => {
          const parts: Array<Buffer> = []
          response.on("data", (part: Buffer) => parts.push(part))
          response.on("end", () =>
            done({ code: response.statusCode!, body: JSON.parse(Buffer.concat(parts).toString("utf8")) as A })
          )
        }
      )
      asked.on("timeout", () => asked.destroy())
      asked.on("error", () => done(undefined))
      asked.end()
    })
  }

  /** What `dm status` shows. */
  async shown(): Promise<string> {
    const { stdout } = await this.#place.run(["status"], { env: this.#env, cwd: this.folder })
    return stdout
  }

  said(): string {
    return `--- ${this.name}\n${this.log}`
  }
}

/** What `/status` tells of the role. */
export interface Told {
  readonly ha: { readonly role: string; readonly epoch: string | null; readonly holder: string | null } | null
  readonly spool: { readonly rows: string }
  readonly health: { readonly state: string; readonly reasons: ReadonlyArray<{ readonly name: string }> }
}

/** Waits until something holds; fails with what was said so far. */
export const until = async (
  what: string,
  holds: () => Promise<boolean> | boolean,
  seconds: number,
  said: () => string = () => ""
): Promise<void> => {
  for (const end = Date.now() + seconds * 1000; Date.now() < end; await sleep(10)) if (await holds()) return
  throw new Error(`${what}: not within ${seconds} s\n${said()}`)
}

interface Lease {
  readonly epoch: bigint
  readonly holder: string
}

const trades = /* sql */ `
  SELECT count(*)::int4 AS rows, count(DISTINCT (instrument_id, ts, trade_key))::int4 AS keys,
         (SELECT coalesce(sum(trade_count), 0)::int4 FROM bar_1m) AS minutes,
         (SELECT coalesce(sum(rows), 0)::int4 FROM row_days) AS counted,
         (SELECT count(*)::int4 FROM row_conflicts) AS conflicts FROM trade`

/** The trades of the market, as the simulator has made them, by what makes each of them itself. */
const content = /* sql */ `
  SELECT coalesce(sum(t.price * i.price_unit), 0)::numeric(30, 9)::text AS prices, coalesce(sum(size), 0)::text AS sizes
  FROM trade t JOIN instruments i ON i.id = t.instrument_id`

/** How fast one side followed the other. Milliseconds. */
export interface TakeoverTimes {
  readonly by: "kill -9" | "SIGSTOP"
  /** Until the lease was the other's. */
  readonly lease: number
  /** Until the other's stream of the provider was there. */
  readonly stream: number
  /** Until the first row of the other was in the database. */
  readonly row: number
}

/** A way of going away. */
export type Fault = "kill" | "freeze"

/**
 * Lets two sides collect the market with a fault of the active one each round: killed and started again as the standby, or frozen and
 * woken once the other is active. Gives the times; fails where a trade is missing or there twice.
 */
export const takeOver = async (
  faults: ReadonlyArray<Fault>,
  count: number,
  rate: number
): Promise<ReadonlyArray<TakeoverTimes>> => {
  const place = new Workplace()
  const server = new OutsideServer(place)
  const sides: Array<Side> = []
  let simulator: Simulator | undefined
  const said = () => sides.map((side) => side.said()).join("\n")
  try {
    const url = await server.start()
    assert.strictEqual((await place.run(["migrate", "--up"], { env: { DM_DATABASE_URL: url } })).code, 0)
    simulator = await startSimulator(place, count, rate)
    for (const name of ["a", "b"])
      sides.push(new Side(place, name, simulator, { DM_DATABASE_URL: url, DM_HA_ENABLED: "true" }))
    let [active, standby] = sides as [Side, Side]
    const lease = () => server.row<Lease>("SELECT epoch, holder FROM leases")
    // Counted by the store with every append: to count them here would cost the server more than the services do.
    const rows = async () =>
      (
        await server.row<{ readonly rows: number }>(
          "SELECT coalesce(sum(rows), 0)::int4 AS rows FROM row_days"
        )
      ).rows
    active.start()
    await until("the first is active", async () => (await rows()) > 0, 60, said)
    standby.start()
    const isStandby = (side: Side) => async () =>
      (await side.get<Told>("/status"))?.body.ha?.role === "standby"
    await until("the second is the standby", isStandby(standby), 60, said)
    assert.strictEqual((await standby.get("/ready"))?.code, 503)
    assert.strictEqual((await standby.get("/health"))?.code, 200)
    assert.match(
      await standby.shown(),
      /role +standby, lease data-manager; active: \S+ process \d+, epoch 1, heard of/
    )
    assert.match(await active.shown(), /role +active, lease data-manager, epoch 1, heard of/)
    const times: Array<TakeoverTimes> = []
    for (const fault of faults) {
      await sleep(500 + Math.random() * 1000)
      const { epoch } = await lease()
      const faultAt = active.log.length
      const waitedTo = standby.log.length
      const begin = Date.now()
      active.signal(fault === "kill" ? "SIGKILL" : "SIGSTOP")
      await until("the lease is the other's", async () => (await lease()).epoch > epoch, 60, said)
      const leased = Date.now() - begin
      const before = await rows()
      await until("the other collects", () => /live: session/.test(standby.log.slice(waitedTo)), 60, said)
      const streaming = Date.now() - begin
      assert.isBelow(before, count, "the market goes on for as long as there are faults")
      await until("the other writes", async () => (await rows()) > before, 60, said)
      const by = fault === "kill" ? "kill -9" : "SIGSTOP"
      times.push({ by, lease: leased, stream: streaming, row: Date.now() - begin })
      assert.strictEqual((await lease()).epoch, epoch + 1n, "one has taken over, once")
      if (fault === "kill") {
        await active.end("SIGKILL")
        active.start()
      } else {
        active.signal("SIGCONT")
        await until(
          "the woken one notices",
          () => /this service is the standby from now on/.test(active.log.slice(faultAt)),
          60,
          said
        )
      }
      await until("the other one is the standby", isStandby(active), 60, said)
      // What it has left would have to be written first by its next turn.
      const old = active
      const isDrained = () => /the spool (had left is written|has nothing left)/.test(old.log.slice(faultAt))
      await until("its spool is empty", isDrained, 60, said)
      assert.strictEqual((await lease()).epoch, epoch + 1n, "the old one has not come back")
      ;[active, standby] = [standby, active]
    }
    await until("every trade is there", async () => (await rows()) >= count, 120 + count / rate, said)
    assert.strictEqual(await standby.end("SIGTERM"), 0, said())
    assert.strictEqual(await active.end("SIGTERM"), 0, said())
    const found = await server.row<object>(trades)
    const expected = { rows: count, keys: count, minutes: count, counted: count, conflicts: 0 }
    assert.deepStrictEqual(found, expected, said())
    await compareWithArchive(place, server, simulator)
    const sessions = await server.row<{ readonly open: number }>(
      "SELECT count(*)::int4 AS open FROM feed_sessions WHERE ended_at IS NULL"
    )
    assert.strictEqual(sessions.open, 0, "every session has ended")
    return times
  } finally {
    for (const side of sides) await side.end("SIGKILL")
    simulator?.process.kill("SIGTERM")
    await server.close()
    await place.close()
  }
}

/** The same market from the archive, into a database of its own: the same trades. */
const compareWithArchive = async (
  place: Workplace,
  server: OutsideServer,
  simulator: Simulator
): Promise<void> => {
  const other = new Workplace()
  try {
    const config = readFileSync(place.path("a", "data-manager.toml"), "utf8")
    writeFileSync(other.path("data-manager.toml"), config)
    const days = await server.row<{ readonly first: string; readonly last: string }>(
      "SELECT min(ts)::date::text AS first, (max(ts)::date + 1)::text AS last FROM trade"
    )
    const fetched = await other.run(
      [
        ...["backfill", "-p", "databento", "-s", `${dataset}:ALL_SYMBOLS`, "--schema", "trades"],
        ...["--start", days.first, "--end", days.last, "--max-cost", "1000"]
      ],
      { env: { DATABENTO_API_KEY: simulator.key } }
    )
    assert.strictEqual(fetched.code, 0, fetched.stderr)
    const archive = new OutsideServer(other)
    await archive.start()
    try {
      assert.deepStrictEqual(await server.row<object>(content), await archive.row<object>(content))
    } finally {
      await archive.close()
    }
  } finally {
    await other.close()
  }
}

/** One line per takeover. */
export const shown = (times: ReadonlyArray<TakeoverTimes>): string =>
  times
    .map(
      ({ by, lease, row, stream }) =>
        `${by}: lease after ${lease} ms, stream after ${stream} ms, first new row in the database after ${row} ms`
    )
    .join("\n")
