/**
 * The bars that a set of trades makes, computed in the plainest exact way: the yardstick that a store's bars must equal.
 *
 * A trade without a price makes no part of any bar. A trade without a size counts and moves the prices, and adds
 * nothing to the volume. Open and close are the first and last trade by (tsEvent ns, tsRecv, tradeKey), an absent tsRecv
 * last. A bar without trades does not exist.
 */
import { ABSENT_I64, type Decimal, Timeframe, type Trade, UnixNanos } from "@data-manager/core"
import { type BatchRow, barContent } from "./BatchRow.ts"

/** The rows of these bars in read order; `fill` puts empty bars between a bar and the next one of its instrument. */
export const bars = (
  trades: Iterable<Trade>,
  timeframe: Timeframe.Timeframe,
  fill = false
): Array<BatchRow> => {
  const length = BigInt(Timeframe.seconds(timeframe)) * UnixNanos.PerSecond
  const groups = new Map<string, Array<Priced>>()
  for (const trade of trades) {
    if (trade.price === undefined) continue
    const start = trade.tsEvent - (((trade.tsEvent % length) + length) % length)
    const group = `${trade.instrument} ${start}`
    const members = groups.get(group)
    const priced = { ...trade, price: trade.price, start }
    if (members === undefined) groups.set(group, [priced])
    else members.push(priced)
  }
  const full = [...groups.values()].map((members) => bar(members, timeframe)).sort(byInstrument)
  const all = fill ? full.flatMap((each, i) => [each, ...gap(each, full[i + 1], length)]) : full
  return all
    .map((each) => each.row)
    .sort((a, b) => Number(a.time > b.time) - Number(a.time < b.time) || a.instrument - b.instrument)
}

interface Priced extends Trade {
  readonly price: Decimal.Decimal
  readonly start: bigint
}

interface ModelBar {
  readonly row: BatchRow
  readonly close: Decimal.Decimal
}

const byInstrument = (a: ModelBar, b: ModelBar): number =>
  a.row.instrument - b.row.instrument || (a.row.time < b.row.time ? -1 : 1)

const bar = (members: ReadonlyArray<Priced>, timeframe: Timeframe.Timeframe): ModelBar => {
  const inOrder = [...members].sort(
    (a, b) =>
      sign(a.tsEvent - b.tsEvent) ||
      sign((a.tsRecv ?? ABSENT_I64) - (b.tsRecv ?? ABSENT_I64)) ||
      sign(a.tradeKey - b.tradeKey)
  )
  const [first, last] = [inOrder[0]!, inOrder[inOrder.length - 1]!]
  const prices = inOrder.map((trade) => scaled(trade.price))
  const volume = inOrder.reduce(
    (sum, trade) => sum + (trade.size === undefined ? 0n : scaled(trade.size)),
    0n
  )
  const content = barContent({
    open: first.price,
    high: unscaled(prices.reduce((a, b) => (a > b ? a : b))),
    low: unscaled(prices.reduce((a, b) => (a < b ? a : b))),
    close: last.price,
    volume: unscaled(volume),
    tradeCount: BigInt(members.length)
  })
  return { row: row(first.instrument, timeframe, first.start, content), close: last.price }
}

const row = (
  instrument: number,
  timeframe: Timeframe.Timeframe,
  time: bigint,
  content: string
): BatchRow => ({
  instrument,
  series: `bars-${Timeframe.seconds(timeframe)}`,
  time,
  tsRecv: ABSENT_I64,
  key: 0n,
  content
})

/** The empty bars between one bar and the next of the same instrument. */
const gap = (from: ModelBar, to: ModelBar | undefined, length: bigint): Array<ModelBar> => {
  if (to === undefined || to.row.instrument !== from.row.instrument) return []
  const volume = { mantissa: 0n, exponent: 0 }
  const { close } = from
  const content = barContent({ open: close, high: close, low: close, close, volume, tradeCount: 0n })
  const out: Array<ModelBar> = []
  for (let time = from.row.time + length; time < to.row.time; time += length)
    out.push({ row: { ...from.row, time, content }, close })
  return out
}

const sign = (value: bigint): number => (value < 0n ? -1 : value > 0n ? 1 : 0)

// One common exponent, fine enough for every exponent that an i8 holds: sums and comparisons are then plain integers.
const Common = -128
const scaled = (value: Decimal.Decimal): bigint => value.mantissa * 10n ** BigInt(value.exponent - Common)
const unscaled = (value: bigint): Decimal.Decimal => ({ mantissa: value, exponent: Common })
