/** `dm backfill` and `dm symbols discover` as real processes against `dm sim databento`. */
import { once } from "node:events"
import { SIMULATOR_KEY } from "@data-manager/providers-databento/simulator"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { jsonLines, outcome, Workplace } from "./Dm.ts"

const Trades = 60_000
const place = new Workplace()
let simulator: ReturnType<Workplace["start"]>
let env: Record<string, string>

beforeAll(async () => {
  simulator = place.start(["sim", "databento", "--synthetic", "--trades", String(Trades)])
  const [line] = await once(simulator.stdout, "data")
  const { http_port } = JSON.parse(String(line))
  env = {
    DATABENTO_API_KEY: SIMULATOR_KEY,
    DM_PROVIDERS_DATABENTO_HISTORICAL_URL: `http://127.0.0.1:${http_port}`,
    DM_PROVIDERS_DATABENTO_DATASETS: "DBEQ.BASIC",
    DM_BACKFILL_CHUNK_SIZE_DAYS: "1"
  }
  assert.strictEqual((await place.run(["migrate", "--up"])).code, 0)
}, 60_000)

afterAll(async () => {
  const ended = once(simulator, "close")
  simulator.kill("SIGTERM")
  await ended
  await place.close()
})

const dm = (args: ReadonlyArray<string>, more: Record<string, string> = {}) =>
  place.run(args, { env: { ...env, ...more } })

const day = ["--start", "2026-01-05", "--end", "2026-01-06"]

/** Rows of the store, every one of them. */
const storedTrades = async (symbol: string): Promise<ReadonlyArray<string>> => {
  const { stdout } = await dm(["export", "trades", symbol, "--format", "jsonl", ...day])
  return stdout.trimEnd().split("\n")
}

describe("dm backfill", () => {
  it("plans without fetching, fetches what lacks, and finds nothing to do the second time", async () => {
    const planned = await dm(["backfill", "-s", "AA,AB", ...day, "--dry-run", "--json"])
    assert.strictEqual(planned.code, 0, planned.stderr)
    const { plans, dry_run } = JSON.parse(planned.stdout)
    assert.isTrue(dry_run)
    assert.isAbove(plans[0].records, 1_000)
    assert.deepStrictEqual(plans[0].chunks[0].symbols, ["AA", "AB"])
    const fetched = await dm(["backfill", "-s", "DBEQ.BASIC:AA,DBEQ.BASIC:AB", ...day, "--verify", "--json"])
    assert.strictEqual(fetched.code, 0, fetched.stderr)
    assert.strictEqual(JSON.parse(fetched.stdout).chunks[0].inserted, plans[0].records)
    const again = await dm(["backfill", "-s", "AA,AB", ...day])
    assert.deepStrictEqual([again.code, again.stdout.includes("nothing to fetch")], [0, true])
    const coverage = JSON.parse((await dm(["coverage", "--json"])).stdout)
    assert.deepStrictEqual(
      coverage.coverage.map((one: { symbol: string; state: string }) => [one.symbol, one.state]),
      [
        ["DBEQ.BASIC:AA", "held"],
        ["DBEQ.BASIC:AB", "held"]
      ]
    )
  }, 60_000)

  it("tells a chunk that fails with the command that repeats it, and goes on with the others", async () => {
    const { code, stdout, stderr } = await dm(["backfill", "-s", "AC,NOPE", ...day])
    // One request for both: the service answers for what it knows.
    assert.strictEqual(code, 0, stderr)
    assert.include(stdout, "not known to the provider in this time: NOPE")
    const alone = await dm(["backfill", "-s", "AC,NOPE", ...day])
    assert.strictEqual(alone.code, 1)
    assert.include(alone.stdout, "held already: AC")
    assert.match(
      alone.stdout,
      /dm backfill -p databento --dataset DBEQ\.BASIC -s 'NOPE' --stype-in raw_symbol/
    )
    assert.include(alone.stderr, "None of the symbols could be resolved")
  }, 60_000)

  it("answers a missing or wrong key, a limit and words that make no sense", async () => {
    const args = ["backfill", "-s", "AD", ...day]
    const without = await dm(args, { DATABENTO_API_KEY: "" })
    assert.strictEqual(without.code, 1)
    assert.include(without.stderr, "DATABENTO_API_KEY is not set")
    const wrong = "db-0123456789abcdefghijKLMNOPQRS"
    const refused = await dm(args, { DATABENTO_API_KEY: wrong })
    assert.strictEqual(refused.code, 1)
    assert.include(refused.stderr, "401")
    assert.notInclude(refused.stderr + refused.stdout, wrong)
    const dear = await dm([...args, "--max-cost", "0"])
    assert.include(dear.stderr, "the limit is 0 USD: nothing was fetched")
    for (const [words, text] of [
      [["backfill", ...day], "no symbols"],
      [["backfill", "-s", "AD"], "no --start"],
      [
        ["backfill", "-s", "AD", "--start", "2026-01-06", "--end", "2026-01-05"],
        "--end is not after --start"
      ],
      [["backfill", "-s", "AD", "--start", "yesterday"], "a date or time"],
      [[...args, "--max-cost", "cheap"], "US dollars"],
      [["backfill", "-p", "acme", ...args.slice(1)], "acme"]
    ] as const) {
      const { code, stderr } = await dm(words)
      assert.strictEqual(code, 2, stderr)
      assert.include(stderr, text)
    }
  }, 120_000)

  it("killed at random moments and run again holds exactly the rows, each once", async () => {
    const args = ["backfill", "-s", "DBEQ.BASIC:ALL_SYMBOLS", ...day]
    for (let i = 0; i < 3; i++) {
      const child = place.start(args, { env })
      const ended = outcome(child)
      const timer = setTimeout(() => child.kill("SIGKILL"), 700 + Math.floor(Math.random() * 1_500))
      const { signal } = await ended
      clearTimeout(timer)
      if (signal === null) break
    }
    const last = await dm([...args, "--json"])
    assert.strictEqual(last.code, 0, last.stderr)
    const availability = JSON.parse((await dm(["coverage", "--daily", "--json"])).stdout)
    const total = availability.days.reduce((sum: number, { rows }: { rows: string }) => sum + Number(rows), 0)
    assert.strictEqual(total, Trades)
    const rows = await storedTrades("DBEQ.BASIC:AA")
    assert.strictEqual(new Set(rows).size, rows.length)
    assert.strictEqual(jsonLines(rows.join("\n")).length, rows.length)
  }, 120_000)
})

describe("dm symbols discover", () => {
  it("makes symbols known, collects what is included, and keeps removed ones away", async () => {
    const first = await dm(["symbols", "discover", "--json"], { DM_SYMBOLS_INCLUDE: "DBEQ.BASIC:A*" })
    assert.strictEqual(first.code, 0, first.stderr)
    const [one] = JSON.parse(first.stdout).datasets
    assert.deepStrictEqual([one.dataset, one.listed, one.added, one.error], ["DBEQ.BASIC", 200, 200, null])
    assert.strictEqual(one.included, 26)
    assert.strictEqual((await dm(["symbols", "remove", "DBEQ.BASIC:AA"])).code, 0)
    const second = await dm(["symbols", "discover", "--json"])
    assert.strictEqual(JSON.parse(second.stdout).datasets[0].added, 0)
    const unreachable = await dm(["symbols", "discover"], {
      DM_PROVIDERS_DATABENTO_HISTORICAL_URL: "http://127.0.0.1:61999"
    })
    assert.strictEqual(unreachable.code, 1)
    assert.include(unreachable.stderr, "refuses the connection")
  }, 120_000)
})
