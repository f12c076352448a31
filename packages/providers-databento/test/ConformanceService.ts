/** The simulator as a service that the provider suite can ask for anything, with a tape made record by record. */
import {
  batchContext,
  LocalInstruments,
  type MarketBatch,
  MarketSchema,
  quoteBuilder,
  Side,
  TradeKey,
  tradeBuilder
} from "@data-manager/core"
import type { ProviderFault, ProviderService } from "@data-manager/testing"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import { Effect, Layer, Redacted, type Scope } from "effect"
import * as DatabentoProvider from "../src/DatabentoProvider.ts"
import type { Mbp1Record, TradeRecord } from "../src/dbn/DbnRecord.ts"
import { HistoricalClient } from "../src/historical/HistoricalClient.ts"
import { CatalogueBuilder } from "../src/simulator/Catalogue.ts"
import { DatabentoSimulator, type Simulator } from "../src/simulator/DatabentoSimulator.ts"
import type { HttpFault } from "../src/simulator/HttpFault.ts"
import type { LiveFault } from "../src/simulator/LiveFault.ts"
import type { SimulatorError } from "../src/simulator/SimulatorError.ts"
import { SyntheticMarket } from "../src/simulator/SyntheticMarket.ts"
import { DAY, recordsOf } from "./simulator/TestCatalogue.ts"

const market = new SyntheticMarket({ trades: 1500, symbols: 6 })
const catalogue = new CatalogueBuilder().addSynthetic(market).build()

const keys = {
  valid: "db-ValidKeyOfTheConformanceTest1",
  wrong: "db-WrongKeyOfTheConformanceTest1",
  malformed: "malformed-key-of-the-conformance",
  missing: ""
}

const { directory, register } = LocalInstruments.make()
const instruments = Effect.runSync(
  Effect.orDie(
    register(
      market.instruments.map(({ id, symbol }) => ({
        provider: "databento",
        dataset: market.dataset,
        rawSymbol: symbol,
        nativeId: id,
        valid: { start: DAY, end: DAY + 86_400_000_000_000n },
        defaultPriceScale: 9,
        defaultSizeScale: 0
      }))
    )
  )
)
const localIds = new Map(market.instruments.map(({ id }, i) => [id, instruments[i]!.id]))
const context = batchContext({ provider: "databento", dataset: market.dataset, instruments: directory })

/** Counts records that share instrument, publisher, microsecond and sequence, in the plainest way. */
const keyCounter = () => {
  const counts = new Map<string, number>()
  return (record: {
    publisherId: number
    instrumentId: number
    tsEvent: bigint
    sequence: number
  }): bigint => {
    const { instrumentId, publisherId, sequence, tsEvent } = record
    const group = `${instrumentId} ${publisherId} ${tsEvent / 1000n} ${sequence}`
    const ordinal = counts.get(group) ?? 0
    counts.set(group, ordinal + 1)
    return TradeKey.make(publisherId, sequence, ordinal)
  }
}

const sides: { readonly [letter: string]: Side.Side } = { A: Side.Sell, B: Side.Buy, N: Side.None }

/** Columns that trades and quotes share. */
const fillCommon = (
  c: ReturnType<typeof tradeBuilder>["columns"] | ReturnType<typeof quoteBuilder>["columns"],
  i: number,
  record: TradeRecord | Mbp1Record
): void => {
  c.tsEvent[i] = record.tsEvent
  c.tsRecv[i] = record.tsRecv
  c.price[i] = record.price
  c.priceExponent[i] = -9
  c.size[i] = BigInt(record.size)
  c.instrument[i] = localIds.get(record.instrumentId)!
  c.tsInDelta[i] = record.tsInDelta
  c.publisher[i] = record.publisherId
  c.side[i] = sides[record.side]!
  c.flags[i] = record.flags
  c.depth[i] = record.depth
}

const tradeTape = (records: ReadonlyArray<TradeRecord>): MarketBatch => {
  const keyOf = keyCounter()
  const builder = tradeBuilder(context, records.length)
  const { columns: c } = builder
  records.forEach((record, i) => {
    fillCommon(c, i, record)
    c.tradeKey[i] = keyOf(record)
  })
  builder.length = records.length
  return builder.flush()
}

const quoteTape = (records: ReadonlyArray<Mbp1Record>): MarketBatch => {
  const keyOf = keyCounter()
  const builder = quoteBuilder(context, records.length)
  const { columns: c } = builder
  records.forEach((record, i) => {
    const [level] = record.levels
    fillCommon(c, i, record)
    c.quoteKey[i] = keyOf(record)
    c.schema[i] = MarketSchema.code("mbp-1")
    c.action[i] = record.action.charCodeAt(0)
    c.bidPrice[i] = level!.bidPx
    c.askPrice[i] = level!.askPx
    c.bidSize[i] = BigInt(level!.bidSz)
    c.askSize[i] = BigInt(level!.askSz)
    c.bidCount[i] = level!.bidCt
    c.askCount[i] = level!.askCt
    c.bidPublisher[i] = 0xffff
    c.askPublisher[i] = 0xffff
  })
  builder.length = records.length
  return builder.flush()
}

const tapes = new Map<MarketSchema.MarketSchema, ReadonlyArray<MarketBatch>>([
  ["trades", [tradeTape(recordsOf(market.tradeFile()) as ReadonlyArray<TradeRecord>)]],
  ["mbp-1", [quoteTape(recordsOf(market.quoteFile(750)) as ReadonlyArray<Mbp1Record>)]]
])

const armHistory = ({ http }: Simulator, fault: HttpFault): void =>
  http.faults.next("timeseries.get_range", fault)

const page = "<html><title>Welcome to the proxy</title></html>"

const arm = (simulator: Simulator, fault: ProviderFault): void => {
  switch (fault.type) {
    case "historyCut":
      armHistory(simulator, { type: "cut", afterBytes: 4000 })
      break
    case "historyUnavailable":
      armHistory(simulator, { type: "status", status: 503 })
      break
    case "historyRateLimited":
      armHistory(simulator, { type: "status", status: 429, retryAfter: 1 })
      break
    case "historyGarbage":
      armHistory(simulator, { type: "status", status: 200, body: page })
      break
    default:
      simulator.live.faults.next(liveFault(fault))
  }
}

const liveFault = (fault: Extract<ProviderFault, { afterRows: number }>): LiveFault => {
  const afterRecords = fault.afterRows
  switch (fault.type) {
    case "disconnect":
      return { type: "eof", afterRecords }
    case "reset":
    case "stall":
      return { type: fault.type, afterRecords }
    case "loss":
      return { type: "skip", afterRecords, records: fault.rows }
  }
}

const connect = (simulator: Simulator, key: string) =>
  Effect.gen(function* () {
    const apiKey = Redacted.make(key)
    const http = yield* Layer.build(NodeHttpClient.layerUndici)
    const historical = yield* Effect.provide(
      HistoricalClient.make({ key: apiKey, baseUrl: simulator.http.url }),
      http
    )
    const live = { apiKey, address: { host: "127.0.0.1", port: simulator.live.port } }
    return DatabentoProvider.make({ historical, register: LocalInstruments.make().register, live })
  })

/** A simulator of one's own: one market for all sessions, so that what was missed has to be asked for. */
export const conformanceService: Effect.Effect<ProviderService, SimulatorError, Scope.Scope> = Effect.map(
  DatabentoSimulator.make({ catalogue, key: keys.valid, live: { market: "shared" } }),
  (simulator): ProviderService => ({
    connect: (credentials) => connect(simulator, keys[credentials]),
    dataset: market.dataset,
    symbols: market.instruments.map(({ symbol }) => symbol),
    unknownSymbol: "NOSUCH",
    rows: (schema) => tapes.get(schema) ?? [],
    range: { start: DAY, end: DAY + 86_400_000_000_000n },
    clock: () => "ts_recv",
    fault: (fault) => Effect.sync(() => arm(simulator, fault)),
    open: Effect.sync(() => simulator.live.connections() + simulator.http.open()),
    historyRequests: Effect.sync(() => simulator.http.requests("timeseries.get_range")),
    secrets: Object.values(keys).filter((key) => key !== "")
  })
)
