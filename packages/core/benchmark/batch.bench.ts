/**
 * What batches cost per row. Every figure stands beside a yardstick measured in the same interleaved run, because
 * absolute times move by a factor of two between machines and moments; the ratios do not.
 *
 *     npm run bench -- core/batch
 */
import {
  BatchLayout,
  batchContext,
  DefaultBatchRows,
  type TradeBatch,
  TradeKey,
  TradeLayout,
  tradeBuilder
} from "../src/index.ts"

const Rows = DefaultBatchRows
const Rounds = 25
const context = batchContext({ provider: "bench", dataset: "BENCH" })

/** Deterministic rows of a source: 2,000 instruments, most rows in a microsecond of their own, some in bursts. */
const source = (() => {
  const [instrument, low, high] = [new Uint32Array(Rows), new Int32Array(Rows), new Int32Array(Rows)]
  const [sequence, priceLow, priceHigh] = [new Uint32Array(Rows), new Int32Array(Rows), new Int32Array(Rows)]
  let nanos = 1_700_000_000_000_000_000n
  let state = 1
  for (let i = 0; i < Rows; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    if (state % 10 !== 0) nanos += BigInt(state % 50_000)
    instrument[i] = Math.floor(2_000 * (state / 4294967296) ** 3)
    low[i] = Number(BigInt.asIntN(32, nanos))
    high[i] = Number(nanos >> 32n)
    sequence[i] = i >>> (state % 7 === 0 ? 1 : 0)
    const price = 3_720_250_000_000n + BigInt(state % 1_000) * 250_000_000n
    priceLow[i] = Number(BigInt.asIntN(32, price))
    priceHigh[i] = Number(price >> 32n)
  }
  return { instrument, low, high, sequence, priceLow, priceHigh }
})()

/** Keeps results alive, so that no loop is optimised away. */
let sink = 0

interface Case {
  readonly name: string
  /** One pass; answers with the number of rows or calls that it made. */
  readonly run: () => number
}

const counter = new TradeKey.OrdinalCounter()
const ordinals: Case = {
  name: "OrdinalCounter.next",
  run: () => {
    const { instrument, low, high, sequence } = source
    for (let i = 0; i < Rows; i++) sink += counter.next(instrument[i]!, 1, low[i]!, high[i]!, sequence[i]!)
    return Rows
  }
}
const naiveOrdinals: Case = {
  name: "a Map per row group, keyed by text",
  run: () => {
    const { instrument, low, high, sequence } = source
    const counts = new Map<string, number>()
    for (let i = 0; i < Rows; i++) {
      const micros = ((BigInt(high[i]!) << 32n) | BigInt(low[i]! >>> 0)) / 1000n
      const group = `${instrument[i]}/1/${micros}/${sequence[i]}`
      const ordinal = counts.get(group) ?? 0
      counts.set(group, ordinal + 1)
      sink += ordinal
    }
    return Rows
  }
}

const builder = tradeBuilder(context, Rows)
const fill = (): void => {
  const { columns: c, words: w } = builder
  for (let i = 0; i < Rows; i++) {
    w.tsEvent[2 * i] = source.low[i]!
    w.tsEvent[2 * i + 1] = source.high[i]!
    w.tsRecv[2 * i] = source.low[i]!
    w.tsRecv[2 * i + 1] = source.high[i]!
    w.tradeKey[2 * i] = TradeKey.lowWord(source.sequence[i]!, 0)
    w.tradeKey[2 * i + 1] = TradeKey.highWord(1, source.sequence[i]!)
    w.price[2 * i] = source.priceLow[i]!
    w.price[2 * i + 1] = source.priceHigh[i]!
    w.size[2 * i] = 1
    w.size[2 * i + 1] = 0
    c.instrument[i] = source.instrument[i]!
    c.tsInDelta[i] = 100
    c.publisher[i] = 1
    c.priceExponent[i] = -9
    c.sizeExponent[i] = 0
    c.side[i] = 1
    c.flags[i] = 128
    c.depth[i] = 0
  }
  builder.length = Rows
}
const fillAndFlush: Case = {
  name: "builder: fill 13 columns and flush",
  run: () => {
    fill()
    sink += builder.flush().length
    return Rows
  }
}
fill()
const batch: TradeBatch = builder.flush()
const copyColumns: Case = {
  name: "copy of the same columns into new memory",
  run: () => {
    const target = BatchLayout.allocate(TradeLayout, Rows)
    new Uint8Array(target.buffer).set(new Uint8Array(batch.columns.price.buffer))
    sink += target.capacity
    return Rows
  }
}
/** The same fill, one object per row: what a batch replaces. */
const rowObjects: Case = {
  name: "one object per row, with bigint and number fields",
  run: () => {
    const rows: Array<object> = []
    for (let i = 0; i < Rows; i++)
      rows.push({
        tsEvent: (BigInt(source.high[i]!) << 32n) | BigInt(source.low[i]! >>> 0),
        tsRecv: (BigInt(source.high[i]!) << 32n) | BigInt(source.low[i]! >>> 0),
        tradeKey: (1n << 48n) | (BigInt(source.sequence[i]!) << 16n),
        price: (BigInt(source.priceHigh[i]!) << 32n) | BigInt(source.priceLow[i]! >>> 0),
        size: 1n,
        instrument: source.instrument[i]!,
        tsInDelta: 100,
        publisher: 1,
        priceExponent: -9,
        sizeExponent: 0,
        side: 1,
        flags: 128,
        depth: 0
      })
    sink += rows.length
    return Rows
  }
}

const slices: Case = {
  name: "slice of 1,024 rows",
  run: () => {
    for (let i = 0; i < 2_000; i++) sink += batch.slice((i * 31) % 60_000, ((i * 31) % 60_000) + 1_024).length
    return 2_000
  }
}
const copiedSlices: Case = {
  name: "copy of 1,024 rows",
  run: () => {
    for (let i = 0; i < 500; i++) {
      const from = (i * 31) % 60_000
      const target = BatchLayout.allocate(TradeLayout, 1_024)
      const part = BatchLayout.window(TradeLayout, batch, from, from + 1_024)
      for (const name of Object.keys(TradeLayout) as Array<keyof typeof TradeLayout>)
        (target.columns[name] as Int8Array).set(part.columns[name] as Int8Array)
      sink += target.capacity
    }
    return 500
  }
}

const doubles = Float64Array.from({ length: Rows }, (_, i) => batch.priceAt(i))
const doubleLoop: Case = {
  name: "sum over a Float64Array",
  run: () => {
    let sum = 0
    for (let i = 0; i < Rows; i++) sum += doubles[i]!
    sink += sum
    return Rows
  }
}
const wordLoop: Case = {
  name: "sum over the words of the price column",
  run: () => {
    const words = batch.words.price
    let sum = 0
    for (let i = 0; i < Rows; i++) sum += words[2 * i + 1]! * 4294967296 + (words[2 * i]! >>> 0)
    sink += sum / 1e9
    return Rows
  }
}
const bigintLoop: Case = {
  name: "sum over Number(price[i])",
  run: () => {
    const prices = batch.columns.price
    let sum = 0
    for (let i = 0; i < Rows; i++) sum += Number(prices[i]!)
    sink += sum / 1e9
    return Rows
  }
}
const priceAtLoop: Case = {
  name: "sum over priceAt(i)",
  run: () => {
    let sum = 0
    for (let i = 0; i < Rows; i++) sum += batch.priceAt(i)
    sink += sum
    return Rows
  }
}
const rowLoop: Case = {
  name: "sum over Number(row(i).price.mantissa)",
  run: () => {
    let sum = 0
    for (let i = 0; i < Rows; i++) sum += Number(batch.row(i).price?.mantissa ?? 0n)
    sink += sum / 1e9
    return Rows
  }
}

interface Group {
  readonly title: string
  readonly unit: string
  readonly yardstick: Case
  readonly cases: ReadonlyArray<Case>
  /** Largest ratio to the yardstick that passes, by case. Generous: a miss is a changed complexity, not noise. */
  readonly limits: ReadonlyArray<number>
}

const groups: ReadonlyArray<Group> = [
  { title: "Ordinals", unit: "ns/row", yardstick: naiveOrdinals, cases: [ordinals], limits: [0.5] },
  {
    title: `Building a batch of ${Rows.toLocaleString("en")} trades`,
    unit: "ns/row",
    yardstick: rowObjects,
    cases: [fillAndFlush, copyColumns],
    limits: [0.5, 0.5]
  },
  { title: "Slicing", unit: "ns/call", yardstick: copiedSlices, cases: [slices], limits: [1] },
  {
    title: "Reading prices",
    unit: "ns/row",
    yardstick: doubleLoop,
    cases: [wordLoop, bigintLoop, priceAtLoop, rowLoop],
    limits: [10, 100, 40, 1_000]
  }
]

/** Median time per row or call of every case, all of them taking turns. */
const measure = (cases: ReadonlyArray<Case>): ReadonlyArray<number> => {
  const times = cases.map((): Array<number> => [])
  for (let round = -5; round < Rounds; round++)
    cases.forEach((each, at) => {
      const started = performance.now()
      const count = each.run()
      if (round >= 0) times[at]!.push(((performance.now() - started) * 1e6) / count)
    })
  return times.map((list) => list.sort((a, b) => a - b)[Math.floor(list.length / 2)]!)
}

let missed = 0
for (const group of groups) {
  const all = [group.yardstick, ...group.cases]
  const nanos = measure(all)
  console.log(
    `\n${group.title}${" ".repeat(Math.max(1, 55 - group.title.length))}${group.unit.padStart(9)}      ratio`
  )
  all.forEach((each, at) => {
    const ratio = nanos[at]! / nanos[0]!
    const limit = at === 0 ? undefined : group.limits[at - 1]!
    const late = limit !== undefined && ratio > limit
    if (late) missed += 1
    console.log(
      `  ${each.name.padEnd(52)} ${nanos[at]!.toFixed(1).padStart(9)} ${ratio.toFixed(2).padStart(9)}x` +
        (at === 0 ? "  (yardstick)" : late ? `  over its limit of ${limit}x` : "")
    )
  })
}
if (!Number.isFinite(sink)) throw new Error("the loops did not run")
process.exitCode = missed === 0 ? 0 : 1
