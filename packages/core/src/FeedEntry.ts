/**
 * What happens in a live feed, in the order in which it happened: the rows, and what is known about time without rows. It is
 * what the spool keeps and the store writer writes; together the entries say for every moment and instrument whether
 * everything that the venue published is held.
 *
 * A feed session is one unbroken stretch of collection: from its start on, of every instrument that joined it, everything up
 * to the watermark is held, except what is named as missing. Times are on the index clock of dataset and schema.
 */
import type { InstrumentId } from "./Instrument.ts"
import type { MarketBatch } from "./MarketBatch.ts"
import type { MarketSchema } from "./MarketSchema.ts"
import type { GapCause } from "./Provider.ts"
import type { TimeRange } from "./TimeRange.ts"

/** Names a feed session, unique over processes and restarts. */
export type FeedSessionKey = string

/** A session begins. */
export interface SessionStarted {
  readonly _tag: "SessionStarted"
  readonly session: FeedSessionKey
  readonly provider: string
  readonly dataset: string
  readonly schema: MarketSchema
  /** Begin of what it holds, ns. */
  readonly at: bigint
}

/** Instruments are collected in a session from a time on. */
export interface InstrumentsJoined {
  readonly _tag: "InstrumentsJoined"
  readonly session: FeedSessionKey
  readonly instruments: ReadonlyArray<InstrumentId>
  readonly at: bigint
}

/** Instruments are no longer collected in a session from a time on. */
export interface InstrumentsLeft {
  readonly _tag: "InstrumentsLeft"
  readonly session: FeedSessionKey
  readonly instruments: ReadonlyArray<InstrumentId>
  readonly at: bigint
}

/** Everything that came before, up to this time, is complete: rows, or silence that the provider vouches for. */
export interface Watermark {
  readonly _tag: "Watermark"
  readonly session: FeedSessionKey
  readonly at: bigint
}

/** Rows of a time are missing, of all instruments of the session unless some are named. */
export interface RowsMissing {
  readonly _tag: "RowsMissing"
  readonly session: FeedSessionKey
  readonly instruments?: ReadonlyArray<InstrumentId> | undefined
  readonly range: TimeRange
  readonly cause: GapCause
}

/** A session is over: nothing behind its watermark is held. */
export interface SessionEnded {
  readonly _tag: "SessionEnded"
  readonly session: FeedSessionKey
}

/** What is known about a feed beside its rows. Each may be applied again: nothing changes by that. */
export type FeedNote =
  | SessionStarted
  | InstrumentsJoined
  | InstrumentsLeft
  | Watermark
  | RowsMissing
  | SessionEnded

/** Rows of a session. */
export interface FeedRows {
  readonly _tag: "FeedRows"
  readonly session: FeedSessionKey
  readonly batch: MarketBatch
}

/** Element of a feed. */
export type FeedEntry = FeedRows | FeedNote
