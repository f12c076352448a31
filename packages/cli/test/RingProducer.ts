// A producer process for tests. argv: directory, name, options as JSON. Lines on stdin: "publish ROWS", "every ROWS MILLIS",
// "gap", "close". Says "ready", then answers each line with the position.
import { createInterface } from "node:readline"
import { batchContext, directory, tradeBuilder } from "@data-manager/core"
import { RingWriter } from "@data-manager/transport-shm"

const [dir, name, json = "{}"] = process.argv.slice(2) as [string, string, string?]
const symbols = ["BTCUSDT", "ETHUSDT"].map((rawSymbol, id) => ({
  id,
  provider: "binance",
  dataset: "BINANCE.SPOT",
  rawSymbol,
  symbol: `BINANCE.SPOT:${rawSymbol}`,
  priceScale: 2,
  sizeScale: 3,
  assetClass: "crypto" as const,
  exchange: "BINANCE"
}))
const context = batchContext({
  provider: "binance",
  dataset: "BINANCE.SPOT",
  instruments: directory(symbols),
  keyKind: "venue-id"
})
const writer = new RingWriter({ dir, name, capacity: 1024, ...JSON.parse(json) })
const say = (text: string): void => void process.stdout.write(`${text}\n`)

/** Row n: price 100.00 + n cents, size n / 1000, symbols in turn. */
const publish = (rows: number): void => {
  const builder = tradeBuilder(context, rows)
  const { columns } = builder
  for (let i = 0; i < rows; i++) {
    const n = writer.position + i
    columns.tsEvent[i] = 1_767_600_000_000_000_000n + BigInt(n)
    columns.tsRecv[i] = 1_767_600_000_000_001_000n + BigInt(n)
    columns.tradeKey[i] = BigInt(n)
    columns.price[i] = BigInt(10_000 + n)
    columns.priceExponent[i] = -2
    columns.size[i] = BigInt(n)
    columns.sizeExponent[i] = -3
    columns.instrument[i] = n % 2
    columns.side[i] = 1 + (n % 2)
  }
  builder.length = rows
  writer.publish(builder.flush())
}

const commands: { readonly [name: string]: (rows: number, millis: number) => void } = {
  publish,
  every: (rows, millis) => void setInterval(() => publish(rows), millis),
  gap: () =>
    writer.publishGap({
      _tag: "Gap",
      dataset: "BINANCE.SPOT",
      schema: "trades",
      symbols: ["BINANCE.SPOT:BTCUSDT"],
      range: { start: 1_767_600_000_000_000_000n, end: 1_767_600_060_000_000_000n },
      rows: 7n,
      cause: "disconnect"
    }),
  close: () => writer.close()
}
createInterface({ input: process.stdin })
  .on("line", (line) => {
    const [command = "", rows, millis] = line.split(" ")
    commands[command]!(Number(rows), Number(millis))
    say(`${writer.position}`)
  })
  .on("close", () => process.exit(0))
say("ready")
