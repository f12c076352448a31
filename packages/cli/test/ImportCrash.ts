/** `dm import` killed with -9 at random moments, then run again: the store holds exactly the rows of the file. */
import { writeFileSync } from "node:fs"
import type { MarketBatch } from "@data-manager/core"
import { batchContext } from "@data-manager/core"
import { DbnBatches } from "@data-manager/providers-databento"
import { decodeBlocks } from "@data-manager/providers-databento/dbn"
import { SyntheticMarket } from "@data-manager/providers-databento/simulator"
import { assert } from "vitest"
import { outcome, Workplace } from "./Dm.ts"
import { inDatabase } from "./InDatabase.ts"

/** What is compared: everything that a lost, doubled or changed row would change. */
interface Content {
  readonly rows: bigint
  readonly keys: bigint
  readonly prices: bigint
  readonly sizes: bigint
  readonly nanos: bigint
}

const contentOf = (file: Uint8Array): Content => {
  const sum = { rows: 0n, keys: 0n, prices: 0n, sizes: 0n, nanos: 0n }
  const add = (batch: MarketBatch): void => {
    if (batch._tag !== "TradeBatch") return
    const { tradeKey, price, size, tsEvent } = batch.columns
    for (let i = 0; i < batch.length; i++) {
      sum.rows += 1n
      sum.keys += tradeKey[i]!
      sum.prices += price[i]!
      sum.sizes += size[i]!
      sum.nanos += tsEvent[i]! % 1000n
    }
  }
  const batches = new DbnBatches({ context: batchContext({ provider: "databento", dataset: "DBEQ.BASIC" }) })
  for (const block of decodeBlocks([file])) batches.add(block, add)
  batches.flush(add)
  return sum
}

const storedContent = /* sql */ `
  SELECT count(*) AS rows, sum(trade_key)::text AS keys, (sum(t.price * i.price_unit) * 1e9)::numeric(40, 0)::text AS prices,
         sum(size)::text AS sizes, sum(ts_ns) AS nanos,
         (SELECT sum(trade_count)::int8 FROM bar_1m) AS minutes, (SELECT sum(trade_count)::int8 FROM bar_1d) AS days,
         (SELECT sum(rows)::int8 FROM row_days) AS counted, (SELECT sum(rows)::int8 FROM ingest_segments) AS ledger,
         (SELECT count(*) FROM coverage) AS covered, (SELECT count(*) FROM row_conflicts) AS conflicts
  FROM trade t JOIN instruments i ON i.id = t.instrument_id`

/** Kills an import `kills` times, lets it finish, and compares. Gives the moments of the kills, ms after the start. */
export const killAndFinish = async (
  kills: number,
  trades: number,
  seed: number
): Promise<ReadonlyArray<number>> => {
  const place = new Workplace()
  const moments: Array<number> = []
  try {
    const market = new SyntheticMarket({ symbols: 50, trades, seed })
    const file = Buffer.concat([...market.tradeFile()])
    const path = place.path("day.dbn")
    writeFileSync(path, file)
    // The server is up and the schema there, so that kills hit the import.
    assert.strictEqual((await place.run(["migrate", "--up"])).code, 0)
    for (let i = 0; i < kills; i++) {
      const child = place.start(["import", path])
      const ended = outcome(child)
      const moment = 400 + Math.floor(Math.random() * 2_500)
      const timer = setTimeout(() => child.kill("SIGKILL"), moment)
      const { signal } = await ended
      clearTimeout(timer)
      moments.push(moment)
      if (signal === null) break
    }
    const last = await place.run(["import", path, "--json"])
    assert.strictEqual(last.code, 0, last.stderr)
    const stored = await inDatabase<Record<string, unknown>>(place, storedContent)
    const expected = contentOf(file)
    const { rows, keys, prices, sizes, nanos } = stored
    assert.deepStrictEqual(
      [rows, keys, prices, sizes, nanos].map(String),
      [expected.rows, expected.keys, expected.prices, expected.sizes, expected.nanos].map(String),
      `kills after ${moments.join(", ")} ms`
    )
    const { minutes, days, counted, ledger, covered, conflicts } = stored
    assert.deepStrictEqual([minutes, days, counted, ledger].map(String), Array(4).fill(String(expected.rows)))
    assert.deepStrictEqual([covered, conflicts].map(String), ["50", "0"])
  } finally {
    await place.close()
  }
  return moments
}
