/**
 * What happens in a live feed, in the order in which it happened: the rows, and what is known about time without rows. It is
 * what the spool keeps and the store writer writes; together the entries say for every moment and instrument whether
 * everything that the venue published is held.
 *
 * A feed session is one unbroken stretch of collection: from its start on, of every instrument while it is in the session,
 * everything up to the watermark is held, except what is named as missing. Times are on the index clock of dataset and
 * schema. Coverage is in whole microseconds: what is held is rounded inward, what is missing outward.
 *
 * Each note may be given again, alone or with those around it, and nothing changes by that. Notes of a session that was
 * never started are refused; a session that has ended takes none any more, they change nothing.
 */
import type { InstrumentId } from "./Instrument.ts"
import type { MarketBatch } from "./MarketBatch.ts"
import type { MarketSchema } from "./MarketSchema.ts"
import type { GapCause } from "./Provider.ts"
import type { TimeRange } from "./TimeRange.ts"

/** Names a feed session, unique over processes and restarts. */
export type FeedSessionKey = string

/** A session begins. Of several with one key the first one counts; they must be of one provider, dataset and schema. */
export interface SessionStarted {
  readonly _tag: "SessionStarted"
  readonly session: FeedSessionKey
  readonly provider: string
  readonly dataset: string
  readonly schema: MarketSchema
  /** Begin of what it holds, ns. */
  readonly at: bigint
}

/**
 * Instruments are collected in a session from a time on, until they leave. The time may be one that has passed, as far back as
 * the start of the session: that of an instrument which is only now known by name, whose rows are there. Of several
 * without leaving in between the earliest one counts.
 */
export interface InstrumentsJoined {
  readonly _tag: "InstrumentsJoined"
  readonly session: FeedSessionKey
  readonly instruments: ReadonlyArray<InstrumentId>
  readonly at: bigint
}

/**
 * Instruments are no longer collected in a session from a time on, until they join again. Joining and leaving at the very
 * same time changes nothing: who was in the session stays in it, who was not does not come in.
 */
export interface InstrumentsLeft {
  readonly _tag: "InstrumentsLeft"
  readonly session: FeedSessionKey
  readonly instruments: ReadonlyArray<InstrumentId>
  readonly at: bigint
}

/**
 * Everything that came before, up to this time, is complete: rows, or silence that the provider vouches for. It only moves
 * forward: an earlier one changes nothing.
 */
export interface Watermark {
  readonly _tag: "Watermark"
  readonly session: FeedSessionKey
  readonly at: bigint
}

/**
 * Rows of a time are missing, of all instruments of the session unless some are named, also of those whose joining is noted
 * later: each while it was in the session. The time is not held by the session, wherever its watermark is; it is held once
 * something else claims it.
 */
export interface RowsMissing {
  readonly _tag: "RowsMissing"
  readonly session: FeedSessionKey
  readonly instruments?: ReadonlyArray<InstrumentId> | undefined
  readonly range: TimeRange
  readonly cause: GapCause
}

/** A session is over: nothing behind its watermark is held. What is missing at its end is noted before. */
export interface SessionEnded {
  readonly _tag: "SessionEnded"
  readonly session: FeedSessionKey
}

/** What is known about a feed beside its rows. */
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

/** A session that a store knows and that has not ended: one at work, or one whose process is gone. */
export interface OpenFeedSession {
  readonly session: FeedSessionKey
  readonly provider: string
  readonly dataset: string
  readonly schema: MarketSchema
  readonly startedAt: bigint
  readonly watermark: bigint
  /** How many instruments are in it. */
  readonly instruments: number
  /** When something was last noted about it, ns of the store's clock. */
  readonly notedAt: bigint
}

/**
 * What is to be noted about a session whose process is gone, after everything that is left of it was written: from its
 * watermark until `until`, when collecting begins again, rows are missing; then it ends.
 */
export const crashNotes = (
  { session, watermark }: Pick<OpenFeedSession, "session" | "watermark">,
  until: bigint
): ReadonlyArray<FeedNote> => [
  { _tag: "RowsMissing", session, range: { start: watermark, end: until }, cause: "crash" },
  { _tag: "SessionEnded", session }
]
