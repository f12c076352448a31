/** The yardstick of the database runs: the same trades straight into a store of its own, with nothing else at work. */
import { chmodSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import {
  batchContext,
  type Instrument,
  type ListingClaim,
  MarketStore,
  type TradeBatch,
  tradeBuilder
} from "@data-manager/core"
import { EndlessMarket } from "@data-manager/providers-databento/simulator"
import { TimescaleStore } from "@data-manager/storage-timescale"
import { EmbeddedServer } from "@data-manager/storage-timescale/embedded"
import { Effect, Layer, References } from "effect"

/** Rows of an append: as many as the live writer puts together at most. */
const AppendRows = 65_536
const Provider = "databento"

const claimsOf = ({ day, since }: EndlessMarket): ReadonlyArray<ListingClaim> =>
  day.instruments.map(({ id, symbol }) => ({
    provider: Provider,
    dataset: day.dataset,
    rawSymbol: symbol,
    nativeId: id,
    valid: { start: since - 86_400_000_000_000n, end: since + 86_400_000_000_000n },
    defaultPriceScale: 9,
    defaultSizeScale: 0
  }))

const batchOf = (market: EndlessMarket, instruments: ReadonlyArray<Instrument>, from: number): TradeBatch => {
  const context = batchContext({
    provider: Provider,
    dataset: market.day.dataset,
    instruments: new Map(instruments.map((each) => [each.id, each]))
  })
  const builder = tradeBuilder(context, AppendRows)
  const { columns } = builder
  for (let i = 0; i < AppendRows; i++) {
    const trade = market.trade(from + i)
    columns.tsEvent[i] = trade.tsEvent
    columns.tsRecv[i] = trade.tsRecv
    columns.tradeKey[i] = (BigInt(trade.publisher) << 48n) | (BigInt(trade.sequence) << 16n)
    columns.price[i] = BigInt(trade.ticks) * 10_000_000n
    columns.priceExponent[i] = -9
    columns.size[i] = BigInt(trade.size)
    columns.instrument[i] = instruments[trade.instrument]!.id
    columns.publisher[i] = trade.publisher
    columns.side[i] = trade.side
  }
  builder.length = AppendRows
  return builder.flush()
}

const appended = (rows: number, market: EndlessMarket) =>
  Effect.gen(function* () {
    const store = yield* MarketStore
    const instruments = yield* store.registerListings(claimsOf(market))
    const run = yield* store.beginRun({
      kind: "spool",
      source: "benchmark",
      provider: Provider,
      dataset: market.day.dataset,
      fingerprint: "benchmark"
    })
    let millis = 0
    const pieces = Math.ceil(rows / AppendRows)
    // The first one makes partitions and warms the code up.
    for (let piece = 0; piece <= pieces; piece++) {
      const batch = batchOf(market, instruments, piece * AppendRows)
      const stream = { name: "benchmark", from: BigInt(piece + 1), to: BigInt(piece + 2) }
      const from = performance.now()
      yield* store.append(batch, { run: run.id, stream, feed: [] })
      if (piece > 0) millis += performance.now() - from
    }
    return ((pieces * AppendRows) / millis) * 1_000
  })

/** Trades per second that a store takes. */
export const appendRate = async (rows: number, symbols: number): Promise<number> => {
  const folder = mkdtempSync(join(tmpdir(), "dm-append-"))
  chmodSync(folder, 0o755)
  const dataDir = join(folder, "data")
  const since = BigInt(Date.now()) * 1_000_000n
  const market = new EndlessMarket({ symbols, rate: 100_000, since })
  const store = Layer.unwrap(
    Effect.map(EmbeddedServer.acquire({ dataDir }), (server) =>
      TimescaleStore.layer({ server, embedded: true, migrate: "auto" })
    )
  )
  try {
    return await Effect.runPromise(
      Effect.scoped(
        Effect.flatMap(Layer.build(store), (context) => Effect.provide(appended(rows, market), context))
      ).pipe(Effect.provideService(References.MinimumLogLevel, "Error"))
    )
  } finally {
    await Effect.runPromise(EmbeddedServer.stop(dataDir, { force: true }))
    rmSync(folder, { recursive: true, force: true })
  }
}
