/** A running service: what `dm status` shows of it, its symbols file read again, its log and its end. */
import type { ChildProcessWithoutNullStreams } from "node:child_process"
import { once } from "node:events"
import { statSync, writeFileSync } from "node:fs"
import { get, type IncomingMessage } from "node:http"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { jsonLines, type Outcome, outcome, Workplace } from "./Dm.ts"
import { startSimulator, writeConfig } from "./StartCrash.ts"

type Simulator = Awaited<ReturnType<typeof startSimulator>>

const dataset = "DBEQ.BASIC"

const symbolsFile = (...symbols: ReadonlyArray<string>): string =>
  symbols.map((symbol) => `[[symbols]]\nsymbol = "${dataset}:${symbol}"\nprovider = "databento"\n`).join("\n")

describe("a running service", () => {
  let place: Workplace
  let simulator: Simulator
  let service: ChildProcessWithoutNullStreams
  let ended: Promise<Outcome>
  let log = ""

  /** Waits for a text in what the service logs from now on. */
  const logged = async (text: string): Promise<void> => {
    for (const end = Date.now() + 120_000; !log.includes(text); ) {
      if (service.exitCode !== null || Date.now() > end) throw new Error(`never logged: ${text}\n${log}`)
      await new Promise((done) => setTimeout(done, 20))
    }
    log = ""
  }
  /** What the service answers on its socket. */
  const asked = async (path: string): Promise<unknown> => {
    const socketPath = place.path("data", "control.sock")
    const [response] = (await once(get({ socketPath, path }), "response")) as [IncomingMessage]
    let text = ""
    for await (const part of response) text += part
    return JSON.parse(text)
  }

  beforeAll(async () => {
    place = new Workplace()
    simulator = await startSimulator(place, 20_000, 200)
    writeConfig(place, simulator, `service_${process.pid}`)
    writeFileSync(place.path("symbols.toml"), symbolsFile("ALL_SYMBOLS"))
    service = place.start(["start", "--log-format", "json"], { env: { DATABENTO_API_KEY: simulator.key } })
    ended = outcome(service)
    service.stderr.on("data", (part: Buffer) => {
      log += part.toString()
    })
    await logged("session")
  }, 240_000)
  afterAll(async () => {
    service.kill("SIGKILL")
    simulator.process.kill("SIGTERM")
    await place.close()
  })

  it("is shown by dm status", { timeout: 60_000 }, async () => {
    assert.strictEqual(statSync(place.path("data", "control.sock")).mode & 0o777, 0o600)
    const { code, stdout } = await place.run(["status", "--json"])
    const found = JSON.parse(stdout)
    assert.deepStrictEqual([code, found.healthy, found.service.pid], [0, true, service.pid])
    assert.strictEqual(found.service.feeds.length, 1)
    assert.strictEqual(found.database, "embedded")
  })

  it("is shown again and again, until Ctrl-C", { timeout: 60_000 }, async () => {
    const watching = place.start(["status", "--watch"])
    let seen = ""
    watching.stdout.on("data", (part: Buffer) => {
      seen += part.toString()
      if (seen.split("healthy\n").length > 2) watching.kill("SIGINT")
    })
    assert.strictEqual((await outcome(watching)).code, 130)
    assert.match(seen, /^healthy\n\nservice +dm .*, process \d+\n/)
    assert.match(seen, /\ndatabento +DBEQ\.BASIC +trades +1 +running +[\d,]+ /)
  })

  it("reads its symbols again when it is told to, and when they change", { timeout: 120_000 }, async () => {
    writeFileSync(place.path("symbols.toml"), "[[symbols]]\nsymbol = 5\n")
    service.kill("SIGHUP")
    await logged("the symbols stay as they were")
    writeFileSync(place.path("symbols.toml"), symbolsFile("ALL_SYMBOLS", "SYN0001"))
    service.kill("SIGHUP")
    await logged("collecting trades of 1 symbols")
    writeFileSync(place.path("symbols.toml"), symbolsFile())
    await logged("0 symbols")
    // The feeds of those that are not wanted any more end a moment later.
    const feeds = async () =>
      ((await asked("/status")) as { readonly feeds: ReadonlyArray<object> }).feeds.length
    while ((await feeds()) > 0) await new Promise((done) => setTimeout(done, 20))
  })

  it("has logged JSON, ends in order, and is gone from dm status", { timeout: 60_000 }, async () => {
    service.kill("SIGTERM")
    const { code, stderr } = await ended
    assert.strictEqual(code, 0, stderr)
    const lines = jsonLines(stderr.replace(/^dm: .*$/gm, ""))
    assert.isNotEmpty(lines)
    for (const line of lines) assert.containsAllKeys(line, ["time", "level", "message"])
    assert.isUndefined(statSync(place.path("data", "control.sock"), { throwIfNoEntry: false }))
    const after = await place.run(["status", "--json"])
    assert.deepStrictEqual([after.code, JSON.parse(after.stdout).service], [0, null])
  })

  it("does not start where it cannot be controlled as configured", { timeout: 60_000 }, async () => {
    const env = { DATABENTO_API_KEY: simulator.key, DM_CONTROL_HOST: "0.0.0.0", DM_CONTROL_PORT: "7420" }
    const open = await place.run(["start"], { env })
    assert.strictEqual(open.code, 2)
    assert.include(open.stderr, "the environment variable DM_CONTROL_TOKEN is not set")
  })
})
