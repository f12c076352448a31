/**
 * How rows that are played back tell that they are: in the context of their batches, over every transport. A strategy that
 * must not act on the past looks there.
 */
import type { BatchContext } from "./BatchContext.ts"
import type { MarketBatch } from "./MarketBatch.ts"
import type { TimeRange } from "./TimeRange.ts"

/** What is played back. */
export interface ReplayMark {
  /** "window": a window of the store, on demand. "reload": recent rows, put back into an empty ring before live ones. */
  readonly cause: "window" | "reload"
  /** The time that is played back, ns. */
  readonly range: TimeRange
  /** Times real time; 0: as fast as possible. */
  readonly speed: number
}

/** Whether the rows of a batch are a replay. */
export const isReplay = (batch: MarketBatch): boolean => batch.context.replay !== undefined

/** Marks batches; each context is copied once, so that batches which share one go on to do so. */
export const replayMarker = (mark: ReplayMark): (<B extends MarketBatch>(batch: B) => B) => {
  const marked = new Map<BatchContext, BatchContext>()
  return (batch) => {
    let context = marked.get(batch.context)
    if (context === undefined) {
      context = { ...batch.context, replay: mark }
      marked.set(batch.context, context)
    }
    return withContext(batch, context)
  }
}

/** The same rows in the same memory under another context. */
const withContext = <B extends MarketBatch>(batch: B, context: BatchContext): B => {
  const texts = batch._tag === "TradeBatch" ? [batch.textIds] : []
  const Batch = batch.constructor as new (
    context: BatchContext,
    views: B,
    length: number,
    ...rest: unknown[]
  ) => B
  return new Batch(context, batch, batch.length, ...texts)
}
