/**
 * Streams of batches, each in the order of the store, as one in that order: (time, tsRecv, key, instrument), what is equal in
 * all of them in the order of the streams. Batches are cut where rows of another stream come in between; memory is shared.
 */
import { Cause, Effect, Pull, Stream } from "effect"
import type { BookBatch } from "./BookBatch.ts"
import * as MarketSchema from "./MarketSchema.ts"
import type { QuoteBatch } from "./QuoteBatch.ts"
import type { TradeBatch } from "./TradeBatch.ts"

/** Batches of rows that happen at a moment. Bars are not among them: a bar is known at its end, and stored at its start. */
export type MomentBatch = TradeBatch | QuoteBatch | BookBatch

/** The columns that order rows; the arrays are the batch's own. */
export interface RowOrder {
  readonly time: BigInt64Array
  readonly tsRecv: BigInt64Array
  readonly key: BigInt64Array
  readonly instrument: Uint32Array
}

/** How the rows of a batch are ordered. Quotes and books are of one schema, as reads of a store give them. */
export const orderOf = (batch: MomentBatch): RowOrder => {
  const { instrument, tsEvent, tsRecv } = batch.columns
  switch (batch._tag) {
    case "TradeBatch":
      return { time: tsEvent, tsRecv, instrument, key: batch.columns.tradeKey }
    case "QuoteBatch":
      return { time: clockOf(batch), tsRecv, instrument, key: batch.columns.quoteKey }
    case "BookBatch":
      return { time: clockOf(batch), tsRecv, instrument, key: batch.columns.bookKey }
  }
}

const clockOf = ({ columns }: QuoteBatch | BookBatch): BigInt64Array => {
  const schema = MarketSchema.fromCode(columns.schema[0] ?? 0)
  return schema !== undefined && MarketSchema.clock(schema) === "ts_recv" ? columns.tsRecv : columns.tsEvent
}

/** Below zero where row `i` of `a` comes before row `j` of `b`; an absent `tsRecv` is the largest number. */
export const compareRows = (a: RowOrder, i: number, b: RowOrder, j: number): number =>
  compare(a.time[i]!, b.time[j]!) ||
  compare(a.tsRecv[i]!, b.tsRecv[j]!) ||
  compare(a.key[i]!, b.key[j]!) ||
  a.instrument[i]! - b.instrument[j]!

const compare = (a: bigint, b: bigint): number => (a < b ? -1 : a > b ? 1 : 0)

/** The first row from `from` on for which `isBehind` holds; the rows are in order. Few steps where it is near. */
export const firstBehind = (from: number, length: number, isBehind: (row: number) => boolean): number => {
  let low = from
  let step = 1
  while (low + step < length && !isBehind(low + step)) {
    low += step
    step *= 2
  }
  if (low === from && (from >= length || isBehind(from))) return from
  let high = Math.min(length, low + step)
  while (high - low > 1) {
    const middle = (low + high) >>> 1
    if (isBehind(middle)) high = middle
    else low = middle
  }
  return high
}

/** Where a stream is. */
interface Head<E> {
  readonly pull: Pull.Pull<ReadonlyArray<MomentBatch>, E>
  batches: ReadonlyArray<MomentBatch>
  /** Of the batches: the one after the batch at hand. */
  next: number
  batch: MomentBatch | undefined
  order: RowOrder
  row: number
}

/** The streams as one. */
export const mergeRows = <E>(
  streams: ReadonlyArray<Stream.Stream<MomentBatch, E>>
): Stream.Stream<MomentBatch, E> =>
  streams.length === 1
    ? streams[0]!
    : Stream.unwrap(
        Effect.map(Effect.forEach(streams, Stream.toPull), (pulls) =>
          Stream.fromPull(Effect.succeed(pullMerged(pulls.map(newHead))))
        )
      )

const noOrder: RowOrder = {
  time: new BigInt64Array(0),
  tsRecv: new BigInt64Array(0),
  key: new BigInt64Array(0),
  instrument: new Uint32Array(0)
}

const newHead = <E>(pull: Pull.Pull<ReadonlyArray<MomentBatch>, E>): Head<E> => ({
  pull,
  batches: [],
  next: 0,
  batch: undefined,
  order: noOrder,
  row: 0
})

/** Goes to the next batch that has rows; false at the end. */
const advance = <E>(head: Head<E>): Effect.Effect<boolean, E> =>
  Effect.suspend((): Effect.Effect<boolean, E> => {
    while (head.next < head.batches.length) {
      const batch = head.batches[head.next]!
      head.next += 1
      if (batch.length === 0) continue
      head.batch = batch
      head.order = orderOf(batch)
      head.row = 0
      return Effect.succeed(true)
    }
    head.batch = undefined
    return Pull.matchEffect(head.pull, {
      onSuccess: (batches) => {
        head.batches = batches
        head.next = 0
        return advance(head)
      },
      onFailure: (cause) => Effect.failCause(cause),
      onDone: () => Effect.succeed(false)
    })
  })

/** Pieces that are handed on together, at most. */
const PiecesPerPull = 64

const pullMerged = <E>(
  heads: Array<Head<E>>
): Pull.Pull<readonly [MomentBatch, ...Array<MomentBatch>], E> => {
  const refill = Effect.forEach(
    heads,
    (head) =>
      head.batch === undefined || head.row >= head.batch.length ? advance(head) : Effect.succeed(true),
    { concurrency: "unbounded" }
  )
  return Effect.flatMap(refill, () => {
    const [first, ...rest] = piecesOf(heads.filter(({ batch }) => batch !== undefined))
    return first === undefined ? Cause.done() : Effect.succeed([first, ...rest] as const)
  })
}

/** Pieces in order, until a batch is at its end or they are enough. */
const piecesOf = <E>(heads: ReadonlyArray<Head<E>>): ReadonlyArray<MomentBatch> => {
  const pieces: Array<MomentBatch> = []
  while (heads.length > 0 && pieces.length < PiecesPerPull) {
    const { first, second } = frontOf(heads)
    const { order, row } = first
    const batch = first.batch!
    // What comes first in the streams comes first where rows are equal.
    const most = second === undefined ? 0 : heads.indexOf(first) < heads.indexOf(second) ? 0 : -1
    const end =
      second === undefined
        ? batch.length
        : firstBehind(row, batch.length, (i) => compareRows(order, i, second.order, second.row) > most)
    pieces.push(row === 0 && end === batch.length ? batch : batch.slice(row, end))
    first.row = end
    if (end === batch.length) break
  }
  return pieces
}

/** The stream whose next row comes first, and the one after it. */
const frontOf = <E>(heads: ReadonlyArray<Head<E>>): { first: Head<E>; second: Head<E> | undefined } => {
  let first = heads[0]!
  let second: Head<E> | undefined
  for (let i = 1; i < heads.length; i++) {
    const head = heads[i]!
    if (compareRows(head.order, head.row, first.order, first.row) < 0) {
      second = first
      first = head
    } else if (second === undefined || compareRows(head.order, head.row, second.order, second.row) < 0)
      second = head
  }
  return { first, second }
}
