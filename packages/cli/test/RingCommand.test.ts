// `dm ring` and `dm tail` against a real ring and a producer in another process.
import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { RingInspection } from "@data-manager/transport-shm"
import { afterAll, afterEach, assert, beforeEach, describe, it } from "@effect/vitest"
import { jsonLines, outcome, Workplace } from "./Dm.ts"

const place = new Workplace()
afterAll(() => place.close())

let dir = ""
const producers: Array<Producer> = []
const started: Array<ChildProcessWithoutNullStreams> = []
const noCompiler = spawnSync(process.env.CC ?? "cc", ["--version"]).error !== undefined
beforeEach((context) => {
  if (noCompiler && process.env.CI === undefined)
    return context.skip("there is no C compiler to build the ring with")
  dir = mkdtempSync("/dev/shm/dm-cli-")
})
afterEach(async () => {
  for (const producer of producers.splice(0)) await producer.end("SIGKILL")
  for (const child of started.splice(0)) child.kill("SIGKILL")
  if (dir !== "") rmSync(dir, { recursive: true, force: true })
})

class Producer {
  readonly child: ChildProcessWithoutNullStreams
  readonly #lines: AsyncIterator<string>

  constructor(name: string, options: object) {
    const script = join(import.meta.dirname, "RingProducer.ts")
    const argv = ["--conditions=source", "--disable-warning=ExperimentalWarning", script, dir, name]
    this.child = spawn(process.execPath, [...argv, JSON.stringify(options)])
    this.child.stderr.pipe(process.stderr)
    this.#lines = createInterface({ input: this.child.stdout })[Symbol.asyncIterator]()
    producers.push(this)
  }

  async answer(): Promise<string> {
    const { value, done } = await this.#lines.next()
    return done === true ? assert.fail("the producer ended") : value
  }

  /** Answers with the position after the command. */
  ask(command: string): Promise<string> {
    this.child.stdin.write(`${command}\n`)
    return this.answer()
  }

  async end(signal: NodeJS.Signals): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return
    this.child.kill(signal)
    await once(this.child, "exit")
  }
}

const producer = async (name = "main", options: object = {}): Promise<Producer> => {
  const started = new Producer(name, options)
  assert.strictEqual(await started.answer(), "ready")
  return started
}

const dm = (...args: ReadonlyArray<string>) => place.run([...args, "--dir", dir])

/** Starts a `dm` that does not outlive its test, however that ends. */
const start = (...args: ReadonlyArray<string>): ChildProcessWithoutNullStreams => {
  const child = place.start([...args, "--dir", dir])
  started.push(child)
  return child
}

/** A `dm tail` and the lines it has printed so far. */
const tailing = (...args: ReadonlyArray<string>) => {
  const child = start("tail", "main", ...args)
  const lines: Array<string> = []
  createInterface({ input: child.stdout }).on("line", (line) => lines.push(line))
  const until = async (found: (lines: ReadonlyArray<string>) => boolean): Promise<ReadonlyArray<string>> => {
    const deadline = performance.now() + 60_000
    while (!found(lines)) {
      if (performance.now() > deadline) assert.fail(`timed out with:\n${lines.join("\n")}`)
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
    return lines
  }
  return { child, lines, until, ended: outcome(child) }
}

/** Waits until somebody reads the ring. */
const hasReader = async (): Promise<void> => {
  while (RingInspection.inspect({ dir, name: "main" }).readers.every(({ alive }) => !alive))
    await new Promise((resolve) => setTimeout(resolve, 20))
}

describe("dm ring inspect", { timeout: 120_000 }, () => {
  it("shows header, producer, rate, readers and dictionary", async () => {
    const main = await producer()
    await main.ask("publish 2000")
    const reader = tailing("--json")
    await hasReader()
    await main.ask("every 5 10")
    const { code, stdout, stderr } = await dm("ring", "inspect", "main", "--json")
    assert.deepStrictEqual([code, stderr], [0, ""])
    const seen = JSON.parse(stdout)
    assert.deepInclude(seen, { name: "main", dir, kind: "trades", state: "live", abi: "1.1", capacity: 1024 })
    assert.deepInclude(seen.producer, { alive: true, pid: main.child.pid, epoch: "1" })
    assert.isAbove(Number(seen.position), 2_000)
    // 500 rows a second are meant; a busy machine may make it a fraction.
    assert.isAbove(seen.rows_per_second, 20)
    assert.isBelow(seen.rows_per_second, 1_000)
    assert.deepStrictEqual(seen.epochs, [{ epoch: "1", first: "0" }])
    assert.strictEqual(seen.readers.length, 1)
    assert.deepInclude(seen.readers[0], { name: "dm tail", pid: reader.child.pid, alive: true, lost: "0" })
    assert.deepStrictEqual(
      seen.dictionary.instruments.map((one: { symbol: string }) => one.symbol),
      ["BINANCE.SPOT:BTCUSDT", "BINANCE.SPOT:ETHUSDT"]
    )
    const { stdout: text } = await dm("ring", "inspect", "main")
    assert.match(text, /holds +trades, ABI 1\.1, records of 64 bytes/)
    assert.match(text, new RegExp(`producer +alive, process ${main.child.pid}, generation 1`))
    assert.match(text, /rate +\d+ rows\/s/)
    assert.match(text, /dm tail +\d+ +park/)
    assert.match(text, /BINANCE\.SPOT:ETHUSDT +binance +BINANCE +crypto/)
    reader.child.kill("SIGINT")
    await reader.ended
  })

  it("tells a producer that died from one that closed", async () => {
    const main = await producer()
    await main.end("SIGKILL")
    assert.match(
      (await dm("ring", "inspect", "main")).stdout,
      /producer +none: process \d+, generation 1, died/
    )
    const next = await producer()
    await next.ask("close")
    const { stdout } = await dm("ring", "inspect", "main")
    assert.match(stdout, /producer +none: generation 2 closed the ring/)
    assert.match(stdout, /generations +.*1 from 0.*2 from 0/)
  })

  it("fails with exit code 1 where nobody published, and where the owner is another", async () => {
    const missing = await dm("ring", "inspect", "nothing")
    assert.deepStrictEqual([missing.code, missing.stdout], [1, ""])
    assert.match(
      missing.stderr,
      /^dm: shm inspect: nobody has published under ring "nothing".*start the publication/
    )
    await producer()
    const foreign = await dm("ring", "inspect", "main", "--owner", "4242")
    assert.strictEqual(foreign.code, 1)
    assert.match(foreign.stderr, /another owner/)
    const nobody = await dm("ring", "inspect", "main", "--owner", "no-such-user")
    assert.strictEqual(nobody.code, 2)
    assert.match(nobody.stderr, /no user "no-such-user"/)
  })

  it("takes name and folder from the configuration", async () => {
    await producer("configured")
    writeFileSync(place.path("ring.toml"), `[realtime.shm]\nname = "configured"\ndir = "${dir}"\n`)
    const { code, stdout } = await place.run(["ring", "inspect", "--json", "-c", "ring.toml"])
    assert.deepStrictEqual([code, JSON.parse(stdout).name], [0, "configured"])
  })
})

describe("dm ring list and clean", { timeout: 120_000 }, () => {
  it("removes what nobody needs, keeps the rest, and says why", async () => {
    const closed = await producer("closed")
    await closed.ask("close")
    const died = await producer("died")
    await died.end("SIGKILL")
    const waited = await producer("main")
    const reader = tailing("--json")
    await hasReader()
    await waited.ask("close")
    await producer("live")
    writeFileSync(join(dir, "holiday.ring"), "a photograph".repeat(1_000))
    const old = join(dir, ".t.0123456789abcdef")
    writeFileSync(old, "half made")
    utimesSync(old, 0, 0)

    const list = await dm("ring", "list")
    assert.match(list.stdout, /died +trades +producer died/)
    assert.match(list.stdout, /live +trades +live/)
    assert.match(list.stderr, /holiday: .*is not a ring/)

    const expected = [
      ["closed", "removed", "its producer closed it"],
      ["died", "kept", "its producer died a moment ago and may come back"],
      ["holiday", "kept", "not a ring: another program's file"],
      ["live", "kept", "a producer holds it"],
      ["main", "kept", "living readers wait for its next producer"],
      [".t.0123456789abcdef", "kept", "a producer may be making it"]
    ]
    const outcomes = (text: string) =>
      JSON.parse(text).rings.map((one: { name: string; outcome: string; detail: string }) => [
        one.name,
        one.outcome,
        one.detail
      ])
    const before = readdirSync(dir).sort()
    const dry = await dm("ring", "clean", "--dry-run", "--json")
    assert.deepStrictEqual([dry.code, outcomes(dry.stdout)], [0, expected])
    assert.deepStrictEqual(readdirSync(dir).sort(), before)
    assert.match(
      (await dm("ring", "clean", "--dry-run")).stdout,
      /closed +would be removed +its producer closed it/
    )

    const real = await dm("ring", "clean", "--json")
    assert.deepStrictEqual([real.code, outcomes(real.stdout)], [0, expected])
    assert.deepStrictEqual(
      readdirSync(dir).filter((file) => file.startsWith("closed.")),
      []
    )

    reader.child.kill("SIGINT")
    await reader.ended
    const later = await dm("ring", "clean", "--older-than", "0", "--json")
    assert.deepStrictEqual(
      outcomes(later.stdout).filter(([, what]: [string, string]) => what === "removed"),
      [
        ["died", "removed", "its producer died"],
        ["main", "removed", "its producer closed it"],
        [".t.0123456789abcdef", "removed", "never finished"]
      ]
    )
    assert.isTrue(existsSync(join(dir, "holiday.ring")))
    const missing = await dm("ring", "clean", "nothing")
    assert.strictEqual(missing.code, 1)
    assert.match(missing.stderr, /nobody has published under ring "nothing"/)
  })

  it("an empty folder has no rings", async () => {
    mkdirSync(join(dir, "empty"), { mode: 0o700 })
    const { code, stdout, stderr } = await place.run(["ring", "list", "--dir", join(dir, "empty")])
    assert.deepStrictEqual([code, stdout], [0, ""])
    assert.match(stderr, /there is no ring in .*empty/)
  })
})

describe("dm tail", { timeout: 120_000 }, () => {
  it("prints rows as they come, exactly, and ends with 0 after --limit", async () => {
    const main = await producer()
    const seen = tailing("--json", "--limit", "5", "-s", "ETHUSDT")
    await hasReader()
    await main.ask("publish 20")
    const { code, stderr } = await seen.ended
    assert.deepStrictEqual([code, stderr], [0, ""])
    const rows = seen.lines.map((line) => JSON.parse(line))
    assert.deepStrictEqual(
      rows.map(({ symbol, price, size, side, ts_event }) => [symbol, price, size, side, ts_event]),
      [1, 3, 5, 7, 9].map((n) => [
        "BINANCE.SPOT:ETHUSDT",
        `100.0${n}`,
        `0.00${n}`,
        "sell",
        `2026-01-05T08:00:00.00000000${n}Z`
      ])
    )
  })

  it("begins with the newest rows of each symbol, or where it is told", async () => {
    const main = await producer()
    await main.ask("publish 100")
    const last = await dm("tail", "main", "--last", "2", "--limit", "4")
    assert.deepStrictEqual([last.code, last.stderr], [0, ""])
    const lines = last.stdout.trimEnd().split("\n")
    assert.strictEqual(lines[0], "-- 2 newest rows of BINANCE.SPOT:BTCUSDT")
    assert.match(lines[1]!, /^ts_event +symbol +price +size +side +exchange +trade_id$/)
    assert.match(
      lines[2]!,
      /^2026-01-05 08:00:00\.000000096 +BINANCE\.SPOT:BTCUSDT +100\.96 +0\.096 +buy +BINANCE +96$/
    )
    const at = await dm("tail", "main", "--from", "42", "--limit", "1", "--json")
    assert.strictEqual(JSON.parse(at.stdout).price, "100.42")
    const oldest = await dm("tail", "main", "--from", "oldest", "--limit", "1", "--json")
    assert.strictEqual(JSON.parse(oldest.stdout).price, "100")
    const time = await dm("tail", "main", "--from", "2026-01-01", "--limit", "1", "--json")
    assert.strictEqual(JSON.parse(time.stdout).price, "100")
    const large = await dm(
      "tail",
      "main",
      "--from",
      "oldest",
      "--min-quantity",
      "0.0985",
      "--limit",
      "1",
      "--json"
    )
    assert.strictEqual(JSON.parse(large.stdout).size, "0.099")
  })

  it("tells losses, gaps, the end and the return of the producer", async () => {
    const main = await producer()
    await main.ask("publish 3000")
    const seen = tailing("--from", "10")
    await seen.until((lines) => lines.length > 100)
    assert.match(
      seen.lines[0]!,
      /^-- lost 2,\d{3} rows, positions 10 to 2,\d{3}: older than what the ring holds$/
    )
    await main.ask("gap")
    await seen.until((lines) =>
      lines.some((line) => line.includes("gap before the ring: 7 rows of BINANCE.SPOT:BTCUSDT"))
    )
    await main.end("SIGKILL")
    await seen.until((lines) =>
      lines.some((line) => line === "-- the producer died; waiting for the next one")
    )
    const next = await producer()
    await next.ask("publish 1")
    await seen.until(
      (lines) => lines.some((line) => line.includes("100.00")) || lines.at(-1)!.includes("130.01")
    )
    assert.include(seen.lines.at(-2), "-- another producer, generation 2, goes on at position 3,001")
    await next.ask("close")
    await seen.until((lines) => lines.at(-1) === "-- the producer closed the ring; waiting for the next one")
    seen.child.kill("SIGINT")
    const { code, stderr } = await seen.ended
    assert.deepStrictEqual([code, stderr], [130, ""])
  })

  it("an output that nobody takes loses rows, and says which", async () => {
    const main = await producer()
    const child = start("tail", "main", "--json", "--limit", "2000")
    await hasReader()
    child.stdout.pause()
    for (let k = 0; k < 40; k++) await main.ask("publish 1000")
    const ended = outcome(child)
    child.stdout.resume()
    await main.ask("every 100 10")
    const result = await ended
    assert.strictEqual(result.code, 0)
    let next = 0
    let lost = 0
    for (const line of jsonLines(result.stdout)) {
      if (line.event === "lost") {
        assert.strictEqual(Number(line.from), next)
        next = Number(line.to)
        lost += next - Number(line.from)
      } else assert.strictEqual(line.price, `${(10_000 + next++) / 100}`)
    }
    assert.strictEqual(next, 2_000 + lost)
    assert.isAbove(lost, 10_000)
  })

  it("refuses what makes no sense, and a ring that is not there", async () => {
    const both = await dm("tail", "main", "--last", "2", "--from", "oldest")
    assert.deepStrictEqual([both.code, both.stdout], [2, ""])
    assert.match(both.stderr, /--last begins at the newest rows/)
    const wrong = await dm("tail", "main", "--from", "yesterday")
    assert.strictEqual(wrong.code, 2)
    assert.match(wrong.stderr, /latest, oldest, the position of a row/)
    const missing = await dm("tail", "main")
    assert.strictEqual(missing.code, 1)
    assert.match(missing.stderr, /nobody has published under ring "main"/)
    await producer()
    const unpublished = await dm("tail", "main", "--from", "5")
    assert.strictEqual(unpublished.code, 1)
    assert.match(unpublished.stderr, /sequence 5 is not published yet/)
  })

  it("ends quietly when its reader goes away", async () => {
    const main = await producer()
    await main.ask("publish 800")
    const child = start("tail", "main", "--json", "--from", "oldest")
    child.stdout.once("data", () => child.stdout.destroy())
    await main.ask("every 5 10")
    const { code, stderr } = await outcome(child)
    assert.deepStrictEqual([code, stderr], [0, ""])
  })
})

describe("without the native part", { timeout: 120_000 }, () => {
  it("commands that need it say so with exit code 1; help never loads it", async () => {
    const loaded = place.path("loaded")
    const addon = place.path("addon.cjs")
    writeFileSync(
      addon,
      `require("node:fs").writeFileSync(${JSON.stringify(loaded)}, ""); throw new Error("not here")`
    )
    const env = { DM_RING_ADDON: addon }
    for (const args of [["--help"], ["ring", "--help"], ["tail", "--help"], ["ring", "inspect", "--help"]])
      assert.strictEqual((await place.run(args, { env })).code, 0)
    assert.isFalse(existsSync(loaded))
    for (const args of [
      ["ring", "inspect", "main"],
      ["tail", "main"],
      ["ring", "clean"]
    ]) {
      const { code, stdout, stderr } = await place.run(args, { env })
      assert.deepStrictEqual([code, stdout], [1, ""], args.join(" "))
      assert.match(
        stderr,
        /^dm: shm load: no shared-memory ring for \w+-\w+: .*not here.*use a network transport/
      )
    }
    assert.isTrue(existsSync(loaded))
  })
})
