/**
 * A file format of your own: a `FileSource` that turns lines of CSV into batches. The import engine, the store, coverage
 * and the ledger work on it as on any other.
 */
import { createHash } from "node:crypto"
import {
  batchContext,
  Decimal,
  FileImport,
  type FileSource,
  type Instrument,
  MarketStore,
  Side,
  SymbolText,
  tradeBuilder,
  UnixNanos
} from "@data-manager/core"
import { TimescaleStore } from "@data-manager/storage-timescale"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Console, Effect, Stream } from "effect"

const text = `time,symbol,id,price,size,side
2026-01-05T14:30:00.000000001Z,BTC-EUR,1001,81234.56,0.015,buy
2026-01-05T14:30:00.250000000Z,BTC-EUR,1002,81234.57,1.25,sell
2026-01-05T14:30:01Z,BTC-EUR,1003,81230,0.00000001,buy
`

const provider = "acme"
const dataset = "ACME.SPOT"
const day = { start: UnixNanos.parse("2026-01-05")!, end: UnixNanos.parse("2026-01-06")! }

/** One file held in a string. A real one would read the file in pieces and give a batch whenever one is full. */
const acmeCsv = (name: string, content: string): FileSource => ({
  path: name,
  bytes: content.length,
  header: Effect.succeed({ provider, dataset, content: "trades", schema: "trades", isDefinitions: false }),
  fingerprint: Effect.sync(() => `acme ${createHash("sha256").update(content).digest("hex")}`),
  events: (register) =>
    Stream.unwrap(
      Effect.gen(function* () {
        const rows = content
          .trim()
          .split("\n")
          .slice(1)
          .map((line) => line.split(","))
        const symbols = [...new Set(rows.map((row) => row[1]!))]
        const instruments = yield* register(
          symbols.map((rawSymbol) => ({
            provider,
            dataset,
            rawSymbol,
            valid: day,
            defaultPriceScale: 8,
            defaultSizeScale: 8
          }))
        )
        return Stream.make(
          { _tag: "Batch", batch: toBatch(rows, symbols, instruments), bytesRead: content.length } as const,
          {
            _tag: "End",
            records: rows.length,
            definitions: 0,
            notStored: new Map(),
            coverage: instruments.map(({ id }) => ({
              instrument: id,
              schema: "trades" as const,
              range: day
            })),
            notes: []
          } as const
        )
      })
    )
})

const toBatch = (
  rows: ReadonlyArray<ReadonlyArray<string>>,
  symbols: ReadonlyArray<string>,
  instruments: ReadonlyArray<Instrument>
) => {
  // Ids are the venue's own, unique per instrument: they are the keys.
  const directory = new Map(instruments.map((instrument) => [instrument.id, instrument]))
  const builder = tradeBuilder(
    batchContext({ provider, dataset, keyKind: "venue-id", instruments: directory }),
    rows.length
  )
  for (const [time, symbol, id, price, size, side] of rows) {
    const c = builder.columns
    const row = builder.length++
    const at = UnixNanos.parse(time!)!
    const px = Decimal.parse(price!)!
    const sz = Decimal.parse(size!)!
    c.tsEvent[row] = at
    c.tsRecv[row] = at
    c.tradeKey[row] = BigInt(id!)
    c.instrument[row] = instruments[symbols.indexOf(symbol!)]!.id
    c.price[row] = px.mantissa
    c.priceExponent[row] = px.exponent
    c.size[row] = sz.mantissa
    c.sizeExponent[row] = sz.exponent
    c.side[row] = side === "buy" ? Side.Buy : Side.Sell
  }
  return builder.flush()
}

const main = Effect.gen(function* () {
  for (const round of ["first", "second"])
    yield* Stream.runForEach(FileImport.run([acmeCsv("trades.csv", text)]), (event) =>
      event._tag === "FileDone"
        ? Console.log(
            `${round} import: ${event.summary.alreadyImported ? "known already" : `${event.summary.inserted} rows`}`
          )
        : event._tag === "FileFailed"
          ? Effect.fail(event.error)
          : Effect.void
    )
  const store = yield* MarketStore
  const { instruments } = yield* store.loadInstruments([dataset])
  yield* store
    .readTrades({ instruments: [...instruments.keys()], range: day })
    .pipe(
      Stream.runForEach((batch) =>
        Effect.forEach(
          [...batch.rows()],
          (trade, i) =>
            Console.log(
              `${UnixNanos.toIso(trade.tsEvent)} ${trade.symbol} ${trade.tradeId} ${batch.priceText(i)} x ${batch.sizeText(i)}`
            ),
          { discard: true }
        )
      )
    )
  yield* Console.log(`first symbol: ${SymbolText.make(dataset, "BTC-EUR")}`)
})

const Store = TimescaleStore.layerEmbedded({ dataDir: process.env.DM_DATA_DIR ?? "./data" })

NodeRuntime.runMain(main.pipe(Effect.provide(Store)))
