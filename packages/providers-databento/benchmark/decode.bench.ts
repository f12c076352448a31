/**
 * What decoding costs per record, each figure beside a yardstick measured in the same interleaved run. The yardstick of
 * decoding is a bare loop that gathers the same fields from the same bytes into the same kind of columns, with no format
 * around it; that of compressed input is the decompression of the same bytes alone.
 *
 *     npm run bench -- databento/decode
 */
import { zstdDecompressSync } from "node:zlib"
import {
  BatchLayout,
  batchContext,
  DefaultBatchRows,
  type MarketBatch,
  QuoteLayout,
  TradeLayout
} from "@data-manager/core"
import { DbnBatches } from "../src/DbnBatches.ts"
import {
  blankRecord,
  CsvLines,
  DbnDecoder,
  type DecoderOptions,
  encodeMetadata,
  encodeRecord,
  JsonLines,
  MboColumns,
  type RecordBlock,
  zstdFrame
} from "../src/dbn/index.ts"
import { SyntheticMarket } from "../src/simulator/SyntheticMarket.ts"

const Rows = 2_000_000
const Rounds = 9
/** Bytes handed to the decoder at a time, as a file or socket would. */
const PushBytes = 256 * 1024

const context = batchContext({ provider: "databento", dataset: "DBEQ.BASIC" })

/** Keeps results alive, so that no loop is optimised away. */
let sink = 0

const concat = (chunks: Iterable<Uint8Array>): Uint8Array<ArrayBuffer> => {
  const list = [...chunks]
  const out = new Uint8Array(list.reduce((sum, chunk) => sum + chunk.length, 0))
  let at = 0
  for (const chunk of list) {
    out.set(chunk, at)
    at += chunk.length
  }
  return out
}

const each = (bytes: Uint8Array, use: (block: RecordBlock) => void, options: DecoderOptions = {}): void => {
  const decoder = new DbnDecoder(options)
  for (let at = 0; at < bytes.length; at += PushBytes) {
    decoder.push(bytes.subarray(at, at + PushBytes))
    for (let block = decoder.take(); block !== undefined; block = decoder.take()) use(block)
  }
  decoder.end()
  for (let block = decoder.take(); block !== undefined; block = decoder.take()) use(block)
  decoder.close()
}

const toBatches = (bytes: Uint8Array): number => {
  const batches = new DbnBatches({ context })
  let rows = 0
  const emit = (batch: MarketBatch): void => {
    rows += batch.length
  }
  each(bytes, (block) => batches.add(block, emit))
  batches.flush(emit)
  return rows
}

/** The bare loop: no header, no checks, no keys; fresh columns per batch, as batches have. */
const bareTrades = (words: Int32Array, from: number, rows: number): number => {
  for (let done = 0; done < rows; done += DefaultBatchRows) {
    const set = BatchLayout.allocate(TradeLayout, DefaultBatchRows)
    const { tsEvent, tsRecv, price, size } = set.words
    const { instrument, tsInDelta, publisher, priceExponent, side, flags, depth } = set.columns
    const last = Math.min(DefaultBatchRows, rows - done)
    for (let row = 0, p = from + done * 12; row < last; row++, p += 12) {
      const j = row * 2
      tsEvent[j] = words[p + 2]!
      tsEvent[j + 1] = words[p + 3]!
      tsRecv[j] = words[p + 8]!
      tsRecv[j + 1] = words[p + 9]!
      price[j] = words[p + 4]!
      price[j + 1] = words[p + 5]!
      size[j] = words[p + 6]!
      instrument[row] = words[p + 1]!
      tsInDelta[row] = words[p + 10]!
      publisher[row] = words[p]! >>> 16
      priceExponent[row] = -9
      side[row] = words[p + 7]! >>> 8
      flags[row] = words[p + 7]! >>> 16
      depth[row] = words[p + 7]! >>> 24
    }
    sink += tsEvent[0]!
  }
  return rows
}

const bareQuotes = (words: Int32Array, from: number, rows: number): number => {
  for (let done = 0; done < rows; done += DefaultBatchRows) {
    const set = BatchLayout.allocate(QuoteLayout, DefaultBatchRows)
    const { tsEvent, tsRecv, price, size, bidPrice, askPrice, bidSize, askSize } = set.words
    const {
      instrument,
      tsInDelta,
      publisher,
      priceExponent,
      side,
      action,
      flags,
      depth,
      bidCount,
      askCount
    } = set.columns
    const last = Math.min(DefaultBatchRows, rows - done)
    for (let row = 0, p = from + done * 20; row < last; row++, p += 20) {
      const j = row * 2
      tsEvent[j] = words[p + 2]!
      tsEvent[j + 1] = words[p + 3]!
      tsRecv[j] = words[p + 8]!
      tsRecv[j + 1] = words[p + 9]!
      price[j] = words[p + 4]!
      price[j + 1] = words[p + 5]!
      bidPrice[j] = words[p + 12]!
      bidPrice[j + 1] = words[p + 13]!
      askPrice[j] = words[p + 14]!
      askPrice[j + 1] = words[p + 15]!
      size[j] = words[p + 6]!
      bidSize[j] = words[p + 16]!
      askSize[j] = words[p + 17]!
      bidCount[row] = words[p + 18]!
      askCount[row] = words[p + 19]!
      instrument[row] = words[p + 1]!
      tsInDelta[row] = words[p + 10]!
      publisher[row] = words[p]! >>> 16
      priceExponent[row] = -9
      action[row] = words[p + 7]!
      side[row] = words[p + 7]! >>> 8
      flags[row] = words[p + 7]! >>> 16
      depth[row] = words[p + 7]! >>> 24
    }
    sink += tsEvent[0]!
  }
  return rows
}

/** Order records with the times and prices of the synthetic trades. */
const mboFile = (trades: Uint8Array<ArrayBuffer>, headerBytes: number): Uint8Array<ArrayBuffer> => {
  const header = encodeMetadata({ dataset: "DBEQ.BASIC", schema: "mbo" })
  const source = new Int32Array(trades.buffer, headerBytes)
  const rows = source.length / 12
  const out = new Uint8Array(header.length + rows * 56)
  out.set(header)
  const words = new Int32Array(out.buffer, header.length)
  const blank = encodeRecord(blankRecord("mbo"), { version: 3 })
  const head = new Int32Array(blank.buffer, 0, 1)[0]! & 0xffff
  for (let row = 0, p = 0, q = 0; row < rows; row++, p += 12, q += 14) {
    words[q] = head | (source[p]! & 0xffff0000)
    for (let i = 1; i < 4; i++) words[q + i] = source[p + i]!
    words[q + 4] = row
    words[q + 6] = source[p + 4]!
    words[q + 7] = source[p + 5]!
    words[q + 8] = source[p + 6]!
    words[q + 9] = 0x80 | (0x41 << 16) | (0x42 << 24)
    for (let i = 0; i < 4; i++) words[q + 10 + i] = source[p + 8 + i]!
  }
  return out
}

const market = new SyntheticMarket({ trades: Rows })
const trades = concat(market.tradeFile())
const manySymbols = concat(new SyntheticMarket({ trades: Rows, symbols: 10_000 }).tradeFile())
const tradesHeader = trades.length - Rows * 48
const quotes = concat(market.quoteFile(Rows / 2))
const quotesHeader = quotes.length - (Rows / 2) * 80
const mbo = mboFile(trades, tradesHeader)
/** Four frames, as files joined with cat have. */
const frames = Array.from({ length: 4 }, (_, i) => {
  const part = Math.ceil(trades.length / 4)
  return zstdFrame(trades.subarray(i * part, (i + 1) * part), { level: 3 })
})
const compressed = concat(frames)
const tradeWords = new Int32Array(trades.buffer)
const quoteWords = new Int32Array(quotes.buffer)

const mboColumns = new MboColumns()
const toMboColumns = (): number => {
  let rows = 0
  each(mbo, (block) => {
    let p = block.start
    while (p < block.end) {
      p = mboColumns.gather(block, p)
      if (mboColumns.length < mboColumns.capacity) continue
      rows += mboColumns.length
      mboColumns.clear()
    }
  })
  rows += mboColumns.length
  mboColumns.clear()
  return rows
}

const toText = (bytes: Uint8Array, writer: JsonLines | CsvLines): number => {
  let rows = 0
  each(bytes, (block) => {
    sink += writer.render(block).length
    rows += block.length
  })
  return rows
}

const textPart = trades.subarray(0, tradesHeader + 400_000 * 48)

interface Case {
  readonly name: string
  /** One pass; answers with the number of records. */
  readonly run: () => number
}

const cases = {
  bareTrades: {
    name: "trades: bare gather loop",
    run: () => bareTrades(tradeWords, tradesHeader / 4, Rows)
  },
  trades: { name: "trades: DBN to batches", run: () => toBatches(trades) },
  tradesMany: { name: "trades of 10,000 symbols: to batches", run: () => toBatches(manySymbols) },
  bareQuotes: {
    name: "mbp-1: bare gather loop",
    run: () => bareQuotes(quoteWords, quotesHeader / 4, Rows / 2)
  },
  quotes: { name: "mbp-1: DBN to batches", run: () => toBatches(quotes) },
  mbo: { name: "mbo: DBN to columns", run: toMboColumns },
  inflate: {
    name: "trades, zstd: decompression alone",
    run: () => {
      for (const frame of frames) sink += zstdDecompressSync(frame).length
      return Rows
    }
  },
  zstd: { name: "trades, zstd: DBN to batches", run: () => toBatches(compressed) },
  json: { name: "trades: DBN to JSON lines", run: () => toText(textPart, new JsonLines()) },
  csv: {
    name: "trades: DBN to CSV, pretty",
    run: () => toText(textPart, new CsvLines({ prettyPx: true, prettyTs: true }))
  }
} satisfies { [name: string]: Case }

type Name = keyof typeof cases
const times = new Map<Name, Array<number>>()
const names = Object.keys(cases) as Array<Name>
for (const name of names) {
  const rows = cases[name].run()
  if (rows !== cases[name].run()) throw new Error(`${name}: the number of records differs between runs`)
  times.set(name, [])
}
/**
 * Milliseconds of a pass: on the clock or of this process's processor time, whichever is less. Alone on a machine the two
 * agree; on a shared one the second leaves out the time in which others ran.
 */
const timed = (pass: () => void): number => {
  const before = process.cpuUsage()
  const start = performance.now()
  pass()
  const wall = performance.now() - start
  const { user, system } = process.cpuUsage(before)
  return Math.min(wall, (user + system) / 1000)
}

const rowsOf = new Map<Name, number>()
// No collection is forced between the passes: behind one, V8 begins with a small young generation again, and a pass takes up
// to twice as long as it does in a program that runs on.
for (let round = 0; round < Rounds; round++)
  for (const name of names) {
    times.get(name)!.push(timed(() => rowsOf.set(name, cases[name].run())))
  }

const median = (name: Name): number => {
  const sorted = times.get(name)!.toSorted((a, b) => a - b)
  return sorted[sorted.length >> 1]!
}
const rate = (name: Name): number => rowsOf.get(name)! / median(name) / 1000

console.log(
  `${Rows.toLocaleString("en")} records, medians of ${Rounds} interleaved rounds; zstd ratio ${(trades.length / compressed.length).toFixed(2)}`
)
for (const name of names)
  console.log(
    `${cases[name].name.padEnd(38)} ${rate(name).toFixed(1).padStart(7)} M records/s ${((median(name) * 1e6) / rowsOf.get(name)!).toFixed(1).padStart(8)} ns/record`
  )

let missed = 0
const check = (what: string, value: number, least: number): void => {
  const ok = value >= least
  if (!ok) missed += 1
  console.log(
    `${what.padEnd(56)} ${value.toFixed(2).padStart(7)} (at least ${least}) ${ok ? "ok" : "MISSED"}`
  )
}
const times2 = (of: Name, against: Name): number => {
  // Round by round, so that a slow moment of the machine hits both.
  const ratios = times.get(against)!.map((time, i) => time / times.get(of)![i]!)
  return ratios.toSorted((a, b) => a - b)[ratios.length >> 1]!
}
check("trades: speed against the bare loop", times2("trades", "bareTrades"), 0.5)
check("trades: M records/s", rate("trades"), 15)
check("mbp-1: speed against the bare loop", times2("quotes", "bareQuotes"), 0.5)
check("mbp-1: M records/s", rate("quotes"), 8)
check("mbo: M records/s", rate("mbo"), 8)
check("zstd: speed against decompression alone", times2("zstd", "inflate"), 0.8)
if (!Number.isFinite(sink)) missed += 1
process.exit(missed === 0 ? 0 : 1)
