/**
 * What the watch over single symbols costs, at 20,000 of them: rows through a hub without and with it, and one look at all
 * symbols. The yardstick of rows is the plainest tracker: a `Map` from instrument to the time of its last row.
 *
 *     npm run bench -- core/freshness
 */
import { Freshness } from "../src/Freshness.ts"
import { batchContext, Hub, type TradeBatch, tradeBuilder } from "../src/index.ts"

const Symbols = 20_000
const Rows = 200_000
const Rounds = 15
/** Rows of a batch: what one read of a busy socket brings, and a quiet one. */
const sizes = [1, 16, 256, 4096]

const context = batchContext({ provider: "bench", dataset: "BENCH" })

/** So many batches take turns: a batch has just been made when it comes through a hub, its memory is near. */
const Different = 500

/** Rows of symbols by Zipf's law, cut into batches. */
const batchesOf = (size: number): ReadonlyArray<TradeBatch> => {
  const batches: Array<TradeBatch> = []
  let state = 1
  for (let at = 0; at < Math.min(Rows, Different * size); at += size) {
    const builder = tradeBuilder(context, size)
    for (let i = 0; i < size; i++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0
      const row = builder.length++
      builder.columns.instrument[row] = Math.floor(Symbols * (state / 4294967296) ** 3)
      builder.columns.tsRecv[row] = 1_767_623_400_000_000_000n + BigInt(at + i) * 10_000n
    }
    batches.push(builder.flush())
  }
  return batches
}

const start = Date.UTC(2026, 0, 5, 15)

/** One pass of all batches through a hub with a sink; nanoseconds a row. */
const through = (batches: ReadonlyArray<TradeBatch>, deliver: (batch: TradeBatch, now: number) => void) => {
  const hub = Hub.make()
  let now = start
  const began = performance.now()
  for (let i = 0; i * batches[0]!.length < Rows; i++) {
    const batch = batches[i % batches.length]!
    hub.publishNow({ _tag: "FeedRows", session: "s", batch })
    deliver(batch, now)
    now += 1
  }
  return ((performance.now() - began) * 1e6) / Rows
}

const median = (values: ReadonlyArray<number>): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!

const tracker = new Freshness({ quietMillis: 60_000 })
const last = new Map<number, number>()

const withTracker = (batch: TradeBatch, now: number): void =>
  tracker.add({ instrument: batch.columns.instrument, times: batch.words.tsRecv, length: batch.length }, now)
const withMap = (batch: TradeBatch, now: number): void => {
  const { instrument } = batch.columns
  for (let i = 0; i < batch.length; i++) last.set(instrument[i]!, now)
}

let missed = 0
console.log(`\n${Symbols.toLocaleString("en")} symbols, ns a row; medians of ${Rounds} rounds\n`)
console.log("rows/batch   hub alone   with the watch   a Map instead   the watch adds   watch:Map")
for (const size of sizes) {
  const batches = batchesOf(size)
  const [alone, watched, mapped]: [Array<number>, Array<number>, Array<number>] = [[], [], []]
  for (let round = -3; round < Rounds; round++) {
    const times = [
      through(batches, () => {}),
      through(batches, withTracker),
      through(batches, withMap)
    ] as const
    if (round < 0) continue
    alone.push(times[0])
    watched.push(times[1])
    mapped.push(times[2])
  }
  const [a, w, m] = [median(alone), median(watched), median(mapped)]
  // The plainest one learns nothing; more than its triple would be a changed complexity.
  const isLate = w - a > 3 * (m - a) + 5
  if (isLate) missed += 1
  console.log(
    `${String(size).padStart(10)}${a.toFixed(1).padStart(12)}${w.toFixed(1).padStart(17)}${m.toFixed(1).padStart(16)}` +
      `${(w - a).toFixed(1).padStart(17)}${((w - a) / (m - a)).toFixed(2).padStart(11)}x${isLate ? "  too slow" : ""}`
  )
}

const looks: Array<number> = []
let found = 0
for (let round = -3; round < Rounds; round++) {
  const began = performance.now()
  found += tracker.check(start + 300_000 + round).length
  if (round >= 0) looks.push(performance.now() - began)
}
console.log(
  `\na look at all of them: ${median(looks).toFixed(2)} ms, every ten seconds (${found} found stale)`
)
if (median(looks) > 20) missed += 1
process.exitCode = missed === 0 ? 0 : 1
