/** `dm backfill` and `dm symbols discover` as real processes against `dm sim databento`. */
import { once } from "node:events"
import { createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
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
  await startLine(http_port)
  assert.strictEqual((await place.run(["migrate", "--up"])).code, 0)
}, 60_000)

afterAll(async () => {
  await line.close()
  const ended = once(simulator, "close")
  simulator.kill("SIGTERM")
  await ended
  await place.close()
})

const dm = (args: ReadonlyArray<string>, more: Record<string, string> = {}) =>
  place.run(args, { env: { ...env, ...more } })

const day = ["--start", "2026-01-05", "--end", "2026-01-06"]

/** The same service behind a line that can cut replies with data, or give days another date of last modification. */
const line = {
  url: "",
  cut: false,
  modified: undefined as string | undefined,
  close: async (): Promise<void> => {}
}

const textOf = async (reply: IncomingMessage): Promise<string> => {
  let text = ""
  for await (const chunk of reply) text += String(chunk)
  return text
}

const passOn = async (path: string, reply: IncomingMessage, response: ServerResponse): Promise<void> => {
  const { "content-length": _, ...headers } = reply.headers
  response.writeHead(reply.statusCode ?? 500, headers)
  if (path.includes("timeseries") && line.cut) {
    const [chunk] = await once(reply, "data")
    reply.destroy()
    response.write(chunk.subarray(0, 100), () => response.destroy())
  } else if (path.includes("condition") && line.modified !== undefined)
    response.end(
      (await textOf(reply)).replaceAll(
        /"last_modified_date":"[^"]*"/g,
        `"last_modified_date":"${line.modified}"`
      )
    )
  else reply.pipe(response)
}

const startLine = async (port: number): Promise<void> => {
  const server = createServer((request, response) => {
    const { method, headers, url: path = "" } = request
    const forwarded = httpRequest(
      { port, path, method, headers },
      (reply) => void passOn(path, reply, response)
    )
    request.pipe(forwarded)
  })
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  line.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  line.close = () =>
    new Promise((done) => {
      server.closeAllConnections()
      server.close(() => done())
    })
}

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

  it("goes on with what the provider knows, and says which symbols it does not", async () => {
    const { code, stdout, stderr } = await dm(["backfill", "-s", "AC,NOPE", ...day])
    assert.strictEqual(code, 1, stderr)
    assert.include(stdout, "not known to the provider in this time: NOPE; check the spelling")
    const alone = await dm(["backfill", "-s", "AC,NOPE", ...day, "--json"])
    assert.strictEqual(alone.code, 1)
    const { plans, failed, unknown } = JSON.parse(alone.stdout)
    assert.deepStrictEqual([plans[0].complete, failed, unknown], [["AC"], [], ["NOPE"]])
    // Their price is nothing, so that a limit does not stand in the way of the others.
    const limited = await dm(["backfill", "-s", "NOPE", ...day, "--max-cost", "0", "--json"])
    assert.strictEqual(JSON.parse(limited.stdout).plans[0].cost_usd, "0")
  }, 60_000)

  it("tells a chunk that fails with the command that repeats it", async () => {
    const args = ["backfill", "-s", "AE", "--schema", "trades", ...day]
    line.cut = true
    const failed = await dm(args, { DM_PROVIDERS_DATABENTO_HISTORICAL_URL: line.url })
    line.cut = false
    assert.strictEqual(failed.code, 1, failed.stderr)
    const repeat = /^ {2}dm (backfill -p databento .*)$/m.exec(failed.stdout)?.[1]
    assert.include(repeat, "--dataset DBEQ.BASIC -s 'AE' --stype-in raw_symbol --schema trades")
    const words = repeat!.split(" ").map((word) => word.replaceAll("'", ""))
    const repeated = await dm([...words, "--json"])
    assert.strictEqual(repeated.code, 0, repeated.stderr)
    assert.isAbove(JSON.parse(repeated.stdout).chunks[0].inserted, 0)
  }, 60_000)

  it("fetches again what the provider has revised, once", async () => {
    const through = { DM_PROVIDERS_DATABENTO_HISTORICAL_URL: line.url }
    const args = ["backfill", "-s", "AF", ...day]
    const first = JSON.parse((await dm([...args, "--json"], through)).stdout)
    assert.isAbove(first.chunks[0].inserted, 0)
    line.modified = "2026-03-01"
    const revised = await dm([...args, "--dry-run"], through)
    assert.include(
      revised.stdout,
      "revised by the provider since it was fetched, so fetched again: 2026-01-05"
    )
    const second = JSON.parse((await dm([...args, "--json"], through)).stdout)
    assert.deepStrictEqual(
      [second.chunks[0].inserted, second.chunks[0].duplicates],
      [0, first.chunks[0].inserted]
    )
    const third = await dm(args, through)
    assert.include(third.stdout, "nothing to fetch")
    line.modified = undefined
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
