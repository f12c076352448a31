/** Settings of a database or a role that change what values mean: what the store does, and what its views show, stays. */
import { MarketStore, UnixNanos } from "@data-manager/core"
import { BatchArbitrary, SeededRandom } from "@data-manager/testing"
import { Effect, Stream } from "effect"
import pg from "pg"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { clientConfig } from "../../src/ServerAddress.ts"
import * as TimescaleStore from "../../src/TimescaleStore.ts"
import { appendAll, instruments, openStore, type StoreFixture } from "../StoreFixture.ts"
import { createDatabase, whyMissing } from "../TestServer.ts"
import { oddStatements } from "./OddSettings.ts"

const missing = await whyMissing()
if (missing !== undefined) it("odd settings of a server", (context) => context.skip(missing))

const at = (iso: string): bigint => UnixNanos.parse(iso)!
/** Around UTC midnight, on the day on which New York's clocks go forward, and when they go back. */
const starts = ["2024-03-09T22:00:00Z", "2024-11-02T22:00:00Z", "2024-06-30T22:00:00Z"]
const Hour = 3_600n * UnixNanos.PerSecond

/** What analysts see, whatever their session shows times in: as numbers and dates. */
const analyses = [
  "SELECT extract(epoch FROM bucket) AS at, right(symbol, 2) AS s, open, high, low, close, volume, trade_count FROM ohlcv_1d",
  "SELECT extract(epoch FROM bucket) AS at, right(symbol, 2) AS s, open, high, low, close, volume, trade_count FROM ohlcv_1h",
  "SELECT extract(epoch FROM bucket) AS at, right(symbol, 2) AS s, count(*) AS n FROM ohlcv_1m GROUP BY 1, 2",
  "SELECT extract(epoch FROM time) AS at, right(symbol, 2) AS s, price, quantity, side, trade_id FROM trades",
  "SELECT right(symbol, 2) AS s, date - date '2000-01-01' AS day, trade_count, extract(epoch FROM first_trade) AS a FROM data_availability",
  "SELECT right(symbol, 2) AS s, schema, state, extract(epoch FROM start_time) AS a, extract(epoch FROM end_time) AS b FROM coverage_ranges",
  "SELECT c.relname::text AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE c.relkind = 'r'"
]

interface Side {
  readonly store: StoreFixture
  readonly market: Awaited<ReturnType<typeof instruments>>
}

const open = async (prepare: (database: string, user: string) => ReadonlyArray<string>): Promise<Side> => {
  const database = await createDatabase()
  const { address } = database
  const client = new pg.Client(clientConfig(address))
  await client.connect()
  for (const statement of prepare(address.database, address.user)) await client.query(statement)
  await client.end()
  const store = await openStore(database)
  return {
    store,
    market: await instruments(store, [
      [2, 0],
      [9, 3]
    ])
  }
}

/** Rows of a plain session, as text: it has the settings of its database and role. */
const asAnalyst = async ({ store }: Side, query: string): Promise<ReadonlyArray<unknown>> => {
  const client = new pg.Client(clientConfig(store.database.address))
  await client.connect()
  try {
    return (
      await client.query({
        text: `${query} ORDER BY 1, 2`.replace(/(AS name .*) ORDER BY 1, 2$/, "$1 ORDER BY 1"),
        rowMode: "array"
      })
    ).rows
  } finally {
    await client.end()
  }
}

describe.skipIf(missing !== undefined)("odd settings of database and role", () => {
  let plain: Side
  let odd: Side

  const batches = ({ market }: Side) =>
    starts.map((start, seed) =>
      BatchArbitrary.trades(new SeededRandom(seed), {
        context: market.context,
        instruments: market.ids,
        rows: 1_500,
        start: at(start),
        span: 10n * Hour,
        // The second instrument's values are beyond what its scale holds now and then.
        values: seed === 2 ? "extreme" : "grid"
      })
    )
  const late = ({ market }: Side) =>
    BatchArbitrary.trades(new SeededRandom(9), {
      context: market.context,
      instruments: market.ids,
      rows: 50,
      start: at("2024-03-31T20:00:00Z"),
      span: 3n * Hour
    })
  const both = async <A>(use: (side: Side) => Promise<A>): Promise<void> => {
    assert.deepStrictEqual(await use(odd), await use(plain))
  }

  beforeAll(async () => {
    plain = await open(() => [])
    odd = await open(oddStatements)
    for (const side of [plain, odd]) {
      const all = batches(side)
      await side.store.run(appendAll(side.store.writer, all))
      // Once more: the staged way, with its comparisons and arrays.
      await side.store.run(appendAll(side.store.writer, [all[0]!, all[2]!]))
      // Another program, which has to find out which partitions there are, on the last day of one.
      await side.store.run(appendAll(await side.store.connect(), [late(side)]))
    }
  }, 60_000)
  afterAll(async () => {
    await plain?.store.close()
    await odd?.store.close()
  })

  it("are there for everybody else", async () => {
    const [row] = (await asAnalyst(
      odd,
      "SELECT current_setting('timezone'), current_setting('default_transaction_isolation'), current_setting('datestyle')"
    )) as ReadonlyArray<ReadonlyArray<string>>
    assert.deepStrictEqual(row, ["America/New_York", "serializable", "German, DMY"])
  })

  it("change nothing of what is stored, and nothing of what views show", async () => {
    for (const query of analyses) await both((side) => asAnalyst(side, query))
    assert.isAbove((await asAnalyst(odd, analyses[3]!)).length, 4_000)
    assert.isAbove((await asAnalyst(odd, analyses[0]!)).length, 8)
  })

  it("change nothing of what is read", async () => {
    await both(({ store, market }) => {
      const range = { start: at(starts[0]!), end: at("2025-01-01T00:00:00Z") }
      // Bars of extreme values cannot be read: that is another matter.
      const tame = { start: range.start - Hour * 24n, end: at("2024-05-01T00:00:00Z") }
      const read = Effect.gen(function* () {
        const service = yield* MarketStore
        const request = { instruments: market.ids, range }
        const trades = yield* Stream.runCollect(service.readTrades(request))
        const bars = yield* Stream.runCollect(
          service.readBars({ ...request, range: tame, timeframe: "1d", source: "trades" })
        )
        return {
          trades: trades.map(({ columns }) => columns),
          bars: bars.map(({ columns }) => columns),
          days: yield* service.availability({}),
          coverage: yield* service.coverage({})
        }
      })
      return Effect.runPromise(Effect.provide(read, TimescaleStore.layer({ server: store.database.address })))
    })
  })

  it("leave retention to whole UTC days", async () => {
    const edge = at("2024-11-03T00:00:00Z")
    await both(async ({ store }) => {
      const expire = MarketStore.use((service) => service.expireTrades(edge))
      return Effect.runPromise(
        Effect.provide(expire, TimescaleStore.layer({ server: store.database.address }))
      )
    })
    for (const query of analyses) await both((side) => asAnalyst(side, query))
  })
})
