/**
 * What a live feed of many symbols writes into the WAL: small appends one after the other, without bars and with them, against
 * COPY of the same rows into the same table in as many transactions. Each begins with empty tables and a checkpoint.
 *
 *     npm run bench -- storage-timescale/wal [-- --symbols=20000 --flush=2000 --flushes=100]
 *
 * On which server: see `BenchDatabase.ts`.
 */
import type { TradeBatch } from "@data-manager/core"
import { Effect } from "effect"
import * as Append from "../src/Append.ts"
import { scan } from "../src/BatchScan.ts"
import { columnsOf, encode, MaxRowBytes } from "../src/CopyEncoder.ts"
import * as Ledger from "../src/Ledger.ts"
import * as Partitions from "../src/Partitions.ts"
import * as PgPool from "../src/PgPool.ts"
import { clientConfig } from "../src/PgServer.ts"
import { RowWriter } from "../src/RowWriter.ts"
import { type BenchStore, check, option, quiet, runWith, withBenchStore } from "./BenchStore.ts"
import { defaultDay, feeds, provider, TradingDay } from "./TradingDay.ts"

const symbols = option("symbols", 20_000)
const flush = option("flush", 2_000)
const flushes = option("flushes", 100)
/** Trades of the whole day, of which the first ones come here. */
const dayRows = 8_000_000

const { dataset, priceScale, sizeScale } = feeds.equities

interface Bench {
  readonly pool: PgPool.PgPool
  readonly ids: ReadonlyArray<number>
}

function* batches({ ids }: Bench): Generator<TradeBatch> {
  const day = new TradingDay({ rows: dayRows, ids })
  for (let i = 0; i < flushes; i++) yield day.next(flush)
}

const copy = Effect.fnUntraced(function* (bench: Bench) {
  const writer = new RowWriter(MaxRowBytes)
  const statement = `COPY trade (${columnsOf.trades.join(", ")}) FROM STDIN (FORMAT binary)`
  for (const batch of batches(bench)) {
    const found = scan(batch)
    const scales = {
      price: new Int8Array(found.series.length).fill(priceScale),
      size: new Int8Array(found.series.length).fill(sizeScale)
    }
    const { chunks } = encode(writer, found, scales, false)
    yield* bench.pool.transaction("copy", (connection) => connection.copyIn(statement, chunks))
  }
})

const append = Effect.fnUntraced(function* (bench: Bench, rollups: boolean) {
  const store = Append.make(bench.pool, Partitions.make(bench.pool), { rollups })
  const { id: run } = yield* Ledger.make(bench.pool).beginRun({
    kind: "live",
    source: "bench",
    provider,
    dataset
  })
  let segment = 0
  for (const batch of batches(bench)) yield* store.append(batch, { run, segment: segment++ })
})

const prepare = async ({ store }: BenchStore, pool: PgPool.PgPool): Promise<Bench> => {
  const claims = Array.from({ length: symbols }, (_, i) => ({
    provider,
    dataset,
    rawSymbol: `S${i}`,
    valid: { start: defaultDay, end: defaultDay + 86_400_000_000_000n },
    defaultPriceScale: priceScale,
    defaultSizeScale: sizeScale
  }))
  const instruments = await runWith(store, store.registerListings(claims))
  const bench = { pool, ids: instruments.map(({ id }) => id) }
  // The partitions are made, and what is only done once is done.
  await quiet(append(bench, true))
  return bench
}

const measure = async (base: BenchStore): Promise<void> => {
  const { sql, address } = base
  await Effect.runPromise(
    Effect.scoped(
      Effect.gen(function* () {
        const pool = yield* PgPool.make({ client: clientConfig(address), maxConnections: 2 })
        const bench = yield* Effect.promise(() => prepare(base, pool))
        /** WAL bytes for a trade. */
        const bytes = async (work: Effect.Effect<void, unknown>): Promise<number> => {
          await sql.query(
            "TRUNCATE trade, bar_1m, bar_1h, bar_1d, row_days, ingest_runs, ingest_segments, coverage; CHECKPOINT"
          )
          const { rows: before } = await sql.query("SELECT pg_current_wal_insert_lsn() AS at")
          await quiet(work)
          const { rows } = await sql.query("SELECT pg_current_wal_insert_lsn() - $1::pg_lsn AS bytes", [
            before[0].at
          ])
          return Number(rows[0].bytes) / (flush * flushes)
        }
        const alone = yield* Effect.promise(() => bytes(copy(bench)))
        const ledger = yield* Effect.promise(() => bytes(append(bench, false)))
        const whole = yield* Effect.promise(() => bytes(append(bench, true)))
        console.log(
          `${flushes} flushes of ${flush.toLocaleString("en")} trades of ${symbols.toLocaleString("en")} symbols; WAL bytes a trade`
        )
        for (const [what, value] of [
          ["COPY alone", alone],
          ["append", ledger],
          ["append with bars and day counts", whole]
        ] as const)
          console.log(`${what.padEnd(34)} ${value.toFixed(0).padStart(7)}  ${(value / alone).toFixed(2)}x`)
        check("append : COPY alone", ledger / alone, "x", 1.2)
      })
    )
  )
}

await withBenchStore(measure)
