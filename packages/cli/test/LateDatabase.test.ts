/** `dm start` before its database: it collects into the spool, says so, and writes everything once the server is there. */
import { lookup } from "node:dns/promises"
import { existsSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterEach, assert, beforeEach, describe, it } from "vitest"
import { Workplace } from "./Dm.ts"
import { OutsideServer, Side, startSimulator, type Told, until } from "./Takeover.ts"

const count = 8_000

describe("dm start while the database is away", () => {
  let place: Workplace
  let server: OutsideServer
  let side: Side
  let url: string
  let simulator: Awaited<ReturnType<typeof startSimulator>>

  beforeEach(async () => {
    place = new Workplace()
    server = new OutsideServer(place)
    url = await server.start()
    const migrated = await place.run(["migrate", "--up"], { env: { DM_DATABASE_URL: url } })
    assert.strictEqual(migrated.code, 0, migrated.stderr)
    simulator = await startSimulator(place, count, 4000, [])
    side = new Side(place, "a", simulator, { DM_DATABASE_URL: url })
  }, 120_000)
  afterEach(async () => {
    await side.end("SIGKILL")
    simulator.process.kill("SIGTERM")
    await server.close()
    await place.close()
  }, 60_000)

  const said = () => side.said()
  const rows = async () =>
    (await server.row<{ readonly rows: number }>("SELECT count(*)::int4 AS rows FROM trade")).rows
  const status = async () => (await side.get<Told>("/status"))?.body
  const spooled = async () => Number((await status())?.spool.rows ?? "0")

  /** Everything that the simulator has sent, and nothing else. */
  const awaitEverything = async () => {
    await until("every trade is there", async () => (await rows()) >= count, 90, said)
    assert.strictEqual(await side.end("SIGTERM"), 0, said())
    const found = await server.row<object>(
      `SELECT count(*)::int4 AS rows, count(DISTINCT (instrument_id, ts, trade_key))::int4 AS keys,
              (SELECT count(*)::int4 FROM row_conflicts) AS conflicts,
              (SELECT coalesce(sum(rows), 0)::int4 FROM row_days) AS counted FROM trade`
    )
    assert.deepStrictEqual(found, { rows: count, keys: count, conflicts: 0, counted: count }, said())
  }

  it("collects what the file says, is degraded, and writes all of it later", {
    timeout: 240_000
  }, async () => {
    await server.close()
    side.start()
    await until("rows are in the spool", async () => (await spooled()) > 1000, 60, said)
    assert.match(side.log, /starts without the database/)
    const told = await status()
    assert.strictEqual(told?.health.state, "degraded")
    assert.isTrue(told?.health.reasons.some(({ name }) => name === "store_away"))
    assert.strictEqual((await side.get("/health"))?.code, 503)
    const shown = await place.run(["-c", join(side.folder, "data-manager.toml"), "status"], {
      env: { DM_DATABASE_URL: url, DM_DATA_DIR: join(side.folder, "data"), DATABENTO_API_KEY: simulator.key }
    })
    assert.strictEqual(shown.code, 3, shown.stderr)
    assert.match(shown.stdout, /^degraded/)
    assert.match(shown.stdout, /the database was not reached yet/)
    await server.start()
    await awaitEverything()
    assert.match(side.log, /the database is there/)
  })

  it("collects what the database had said before", { timeout: 240_000 }, async () => {
    const symbol = "DBEQ.BASIC:ALL_SYMBOLS"
    writeFileSync(join(side.folder, "symbols.toml"), "")
    const added = await place.run(["symbols", "add", symbol, "-p", "databento"], {
      env: { DM_DATABASE_URL: url }
    })
    assert.strictEqual(added.code, 0, added.stderr)
    side.start()
    await until("it collects", async () => (await status())?.health.state === "healthy", 60, said)
    const remembered = join(side.folder, "data", "spool", "symbols.json")
    await until("it has kept its symbols", () => existsSync(remembered), 60, said)
    await side.end("SIGKILL")
    await server.close()
    side.log = ""
    side.start()
    await until("rows are in the spool", async () => (await spooled()) > 1000, 60, said)
    await server.start()
    await awaitEverything()
  })

  it("ends at once where the database refuses, or its name is unknown", { timeout: 120_000 }, async () => {
    const env = { DATABENTO_API_KEY: simulator.key }
    // Without a name server nothing is known about any name, and that may change.
    const answer = await lookup("no-such-host.invalid").catch((error) => error.code)
    if (answer === "ENOTFOUND") {
      const unknown = await place.run(["-c", join(side.folder, "data-manager.toml"), "start"], {
        env: { ...env, DM_DATABASE_URL: "postgresql://dm@no-such-host.invalid/dm" }
      })
      assert.strictEqual(unknown.code, 1, unknown.stderr)
      assert.match(unknown.stderr, /no-such-host\.invalid is not known here/)
    }
    const refused = await place.run(["-c", join(side.folder, "data-manager.toml"), "start"], {
      env: { ...env, DM_DATABASE_URL: url.replace(/:[^:@/]+@/, ":wrong@") }
    })
    assert.strictEqual(refused.code, 1, refused.stderr)
    assert.match(refused.stderr, /check user and password/)
  })

  it("is no standby of the embedded database", { timeout: 60_000 }, async () => {
    const refused = await place.run(["start", "--check-config"], {
      env: { DATABENTO_API_KEY: simulator.key, DM_HA_ENABLED: "true" }
    })
    assert.strictEqual(refused.code, 2, refused.stderr)
    assert.match(refused.stderr, /ha\.enabled: true needs a database that both sides reach/)
  })
})
