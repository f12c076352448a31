/**
 * The same 10 M-trade file read by the vendor's Python client into a data frame and by us into batches, in one
 * interleaved run, raw and zstd. Needs a Python that has the client:
 *
 *     python3 -m venv VENV && VENV/bin/pip install databento
 *     DM_BENCH_PYTHON=VENV/bin/python npm run bench -- databento/python
 *
 * Times are of the work alone: both processes are running and warm, the file is in the page cache. `to_df` with its
 * defaults is what the client's users call; `to_df` without prices as floats, times and symbols, and `to_ndarray`, which
 * leaves records as they are in one array, are shown beside it.
 */
import { spawn } from "node:child_process"
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { batchContext, type MarketBatch } from "@data-manager/core"
import { DbnBatches } from "../src/DbnBatches.ts"
import { DbnDecoder, zstdChunks } from "../src/dbn/index.ts"
import { SyntheticMarket } from "../src/simulator/SyntheticMarket.ts"

const Rows = 10_000_000
const Rounds = 3
const python = process.env.DM_BENCH_PYTHON
if (python === undefined) {
  console.log("skipped: DM_BENCH_PYTHON names no Python with the vendor's client (pip install databento)")
  process.exit(0)
}

const client = `
import sys, time
import databento as db
print("ready", db.__version__, flush=True)
for line in sys.stdin:
    how, path = line.rstrip("\\n").split(" ", 1)
    start = time.perf_counter()
    store = db.DBNStore.from_file(path)
    if how == "to_df":
        rows = len(store.to_df())
    elif how == "to_df_plain":
        rows = len(store.to_df(price_type="fixed", pretty_ts=False, map_symbols=False))
    else:
        rows = len(store.to_ndarray())
    print(time.perf_counter() - start, rows, flush=True)
    del store
`

const write = (path: string, chunks: Iterable<Uint8Array>): void => {
  const file = openSync(path, "w")
  for (const chunk of chunks) writeSync(file, chunk)
  closeSync(file)
}

const context = batchContext({ provider: "databento", dataset: "DBEQ.BASIC" })
const buffer = new Uint8Array(1 << 20)

/** Reads a file into batches; the newest are kept as a reader would, the others let go. */
const readFile = (path: string): number => {
  const batches = new DbnBatches({ context })
  const decoder = new DbnDecoder()
  let rows = 0
  const emit = (batch: MarketBatch): void => {
    rows += batch.length
  }
  const drain = (): void => {
    for (let block = decoder.take(); block !== undefined; block = decoder.take()) batches.add(block, emit)
  }
  const file = openSync(path, "r")
  for (let n = readSync(file, buffer); n > 0; n = readSync(file, buffer)) {
    decoder.push(buffer.subarray(0, n))
    drain()
  }
  closeSync(file)
  decoder.end()
  drain()
  batches.flush(emit)
  return rows
}

const folder = mkdtempSync(join(tmpdir(), "dbn-bench-"))
const paths = { raw: join(folder, "trades.dbn"), zstd: join(folder, "trades.dbn.zst") }
let missed = 0
const child = spawn(python, ["-c", client], {
  stdio: ["pipe", "pipe", "inherit"],
  env: { ...process.env, PYTHONWARNINGS: "ignore" }
})
try {
  const market = new SyntheticMarket({ trades: Rows })
  write(paths.raw, market.tradeFile())
  write(paths.zstd, zstdChunks(market.tradeFile()))
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const answer = async (): Promise<string> => {
    const line = await lines.next()
    if (line.done === true) throw new Error(`the Python client ended: does ${python} have databento?`)
    return line.value
  }
  const theirs = async (how: string, path: string): Promise<number> => {
    child.stdin.write(`${how} ${path}\n`)
    const [seconds, rows] = (await answer()).split(" ").map(Number) as [number, number]
    if (rows !== Rows) throw new Error(`the Python client read ${rows} rows`)
    return seconds
  }
  const ours = (path: string): number => {
    const start = performance.now()
    const rows = readFile(path)
    if (rows !== Rows) throw new Error(`read ${rows} rows`)
    return (performance.now() - start) / 1000
  }
  const [, version] = (await answer()).split(" ")
  console.log(
    `${Rows.toLocaleString("en")} trades, best of ${Rounds} interleaved rounds, databento ${version}`
  )
  ours(paths.raw)
  ours(paths.zstd)
  for (const [name, path] of Object.entries(paths)) {
    const best = new Map<string, number>()
    const keep = (who: string, seconds: number): void => {
      best.set(who, Math.min(seconds, best.get(who) ?? Number.POSITIVE_INFINITY))
    }
    for (let round = 0; round < Rounds; round++) {
      keep("batches", ours(path))
      for (const how of ["to_df", "to_df_plain", "to_ndarray"]) keep(how, await theirs(how, path))
    }
    const own = best.get("batches")!
    for (const [who, seconds] of best)
      console.log(
        `${name.padEnd(5)} ${who.padEnd(12)} ${seconds.toFixed(2).padStart(7)} s ${(Rows / seconds / 1e6).toFixed(1).padStart(7)} M rows/s ${(seconds / own).toFixed(2).padStart(6)} x our time`
      )
    if (best.get("to_df")! < own) missed += 1
  }
} finally {
  child.stdin.end()
  rmSync(folder, { recursive: true, force: true })
}
if (missed > 0) console.log("MISSED: the vendor's client was faster into a data frame")
process.exit(missed === 0 ? 0 : 1)
