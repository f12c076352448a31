/**
 * A strategy as a process of its own: reads a ring that carries an endless market, and accounts for every trade of it. Its
 * sequence is its number in the market, so what is missing is seen here, whatever the ring says about it.
 *
 * argv: the options as JSON. Says "ready" and, for the signal to end, its account as a line of JSON. With a journal every
 * piece is written down before the next one, with where the ring goes on: killed and started again it goes on there.
 */
import { closeSync, existsSync, openSync, readFileSync, writeFileSync, writeSync } from "node:fs"
import type { StartPosition, TradeBatch } from "@data-manager/core"
import { EndlessMarket } from "@data-manager/providers-databento/simulator"
import { RingReader, type WaitMode } from "@data-manager/transport-shm"
import type { Covered, StrategyAccount, StrategyOptions } from "./StrategyAccount.ts"

const options: StrategyOptions = JSON.parse(process.argv[2]!)
const market =
  options.market === undefined
    ? undefined
    : new EndlessMarket({ ...options.market, since: BigInt(options.market.since) })

// Whoever measures is gone: nobody would end this process.
process.stdin.on("close", () => process.exit(0)).resume()

const account: StrategyAccount = {
  rows: 0,
  polls: 0,
  ranges: [],
  repeated: 0,
  wrong: 0,
  lost: 0,
  covered: [],
  position: 0
}
/** First row, end, and monotonic ns of each batch, for latencies. */
const arrivals: Array<number> = []
let wrongFirst: string | undefined

const sequenceOf = (words: Int32Array, row: number): number =>
  (((words[2 * row + 1]! & 0xffff) << 16) | (words[2 * row]! >>> 16)) >>> 0

/** Adds rows `[from, to)` that came one behind another. */
const seen = (from: number, to: number): void => {
  const last = account.ranges[account.ranges.length - 1]
  if (last !== undefined && from === last[1]) last[1] = to
  else {
    if (last !== undefined && from < last[1]) account.repeated += Math.min(to, last[1]) - from
    account.ranges.push([from, to])
  }
}

/** Compares a row with what was traded. */
const check = (batch: TradeBatch, i: number, row: number): void => {
  if (market === undefined) return
  const { price, priceExponent, size, side, instrument, tsRecv, tsEvent, publisher } = batch.columns
  const trade = market.trade(row)
  const symbol = batch.context.instruments.get(instrument[i]!)?.rawSymbol
  const isEqual =
    symbol === market.day.instruments[trade.instrument]!.symbol &&
    BigInt(trade.ticks) * 10n ** BigInt(-2 - priceExponent[i]!) === price[i] &&
    BigInt(trade.size) === size[i] &&
    trade.side === side[i] &&
    trade.publisher === publisher[i] &&
    trade.tsRecv === tsRecv[i] &&
    trade.tsEvent === tsEvent[i]
  if (isEqual) return
  account.wrong += 1
  wrongFirst ??= `row ${row}: ${symbol} ${price[i]} ${size[i]} ${side[i]} ${tsRecv[i]}`
}

const take = (batch: TradeBatch): void => {
  const words = batch.words.tradeKey
  account.rows += batch.length
  let from = sequenceOf(words, 0)
  let next = from
  for (let i = 0; i < batch.length; i++) {
    const row = sequenceOf(words, i)
    check(batch, i, row)
    if (row !== next) {
      seen(from, next)
      from = row
    }
    next = row + 1
  }
  seen(from, next)
}

const cover = (what: Covered["what"], detail: string): void => {
  account.covered.push({ what, detail, behind: account.ranges[account.ranges.length - 1]?.[1] ?? 0 })
}

/** What the journal of an earlier process says. */
const earlier = (): StrategyAccount | undefined => {
  if (options.journal === undefined || !existsSync(options.journal)) return undefined
  const lines = readFileSync(options.journal, "utf8").split("\n").slice(0, -1)
  const last = lines[lines.length - 1]
  if (last === undefined) return undefined
  // A kill in the middle of a write leaves half a line, which has no end.
  writeFileSync(options.journal, `${last}\n`)
  return JSON.parse(last)
}

const known = earlier()
if (known !== undefined) Object.assign(account, known)
const start: StartPosition =
  known === undefined
    ? { _tag: options.start ?? "Latest" }
    : { _tag: "Sequence", sequence: BigInt(known.position) }
const open = (): RingReader =>
  new RingReader({
    dir: options.dir,
    name: options.name,
    start,
    mode: (options.mode ?? "park") as WaitMode,
    reuseMemory: true,
    client: "strategy"
  })
/** The ring may not be there yet. */
const opened = async (): Promise<RingReader> => {
  for (let left = 600; ; left--)
    try {
      return open()
    } catch (cause) {
      if (left === 0) throw cause
      await new Promise((done) => setTimeout(done, 100))
    }
}
const reader = await opened()
const journal = options.journal === undefined ? undefined : openSync(options.journal, "a")

const finish = (): void => {
  if (journal !== undefined) closeSync(journal)
  if (options.arrivals !== undefined) writeFileSync(options.arrivals, JSON.stringify(arrivals))
  const { lost, lag } = reader.stats
  process.stdout.write(`${JSON.stringify({ ...account, lag, ringLost: lost, wrongFirst })}\n`, () =>
    process.exit(0)
  )
}
process.on("SIGTERM", finish)
process.stdout.write("ready\n")

for await (const events of reader.events({ limit: 4096 })) {
  const now = options.arrivals === undefined ? 0 : Number(process.hrtime.bigint())
  for (const event of events)
    if (event._tag === "Batch" && event.batch._tag === "TradeBatch") {
      take(event.batch)
      if (options.arrivals === undefined) continue
      const words = event.batch.words.tradeKey
      arrivals.push(sequenceOf(words, 0), sequenceOf(words, event.batch.length - 1) + 1, now)
    } else if (event._tag === "Lost") {
      account.lost += Number(event.to - event.from)
      cover("lost", `${event.from} to ${event.to}`)
    } else if (event._tag === "Gap") cover("gap", `${event.gap.range.start} ${event.gap.range.end}`)
    else if (event._tag === "ProducerRestarted") cover("restart", `${event.epoch}`)
  account.polls += 1
  account.position = reader.position
  if (journal !== undefined) writeSync(journal, `${JSON.stringify(account)}\n`)
}
