/**
 * The error of the spool: one tagged error with a `reason` that callers can act on. A full disk is no error (`append` answers
 * that a row was dropped), and neither is a damaged frame (the reader is told which numbers are missing).
 */
import { Data } from "effect"

/** Another process, or this one, has the folder open. */
export class SpoolInUse extends Data.TaggedError("SpoolInUse")<{
  readonly detail: string
  readonly hint: string
}> {}

/** The folder cannot serve: it is a file, it cannot be written to, or it is open to other users. */
export class SpoolUnusable extends Data.TaggedError("SpoolUnusable")<{
  readonly detail: string
  readonly hint: string
}> {}

/** The files were written by a newer version. Nothing was changed. */
export class SpoolIncompatible extends Data.TaggedError("SpoolIncompatible")<{
  readonly detail: string
  readonly hint: string
}> {}

/**
 * A position lies behind what this spool ever gave out: the consumer knows frames that the disk has lost. Their numbers are given
 * again to others, so the position must not be used any longer; see `Spool.renew`.
 */
export class SpoolBehind extends Data.TaggedError("SpoolBehind")<{
  readonly detail: string
  readonly hint: string
}> {}

/** The file system failed. */
export class SpoolIoFailed extends Data.TaggedError("SpoolIoFailed")<{
  readonly detail: string
  readonly hint: string
}> {}

/** Why a spool operation failed. */
export type SpoolErrorReason = SpoolInUse | SpoolUnusable | SpoolIncompatible | SpoolBehind | SpoolIoFailed

/** A failed spool operation: what was being done (`operation`), why (`reason`), and what to do next (in the message). */
export class SpoolError extends Data.TaggedError("SpoolError")<{
  /** What was being done, for people: "open spool /var/lib/dm/spool", "read spool". */
  readonly operation: string
  readonly reason: SpoolErrorReason
  readonly cause?: unknown
}> {
  /** Whether repeating the same call can succeed without anybody's help. */
  get isRetryable(): boolean {
    return this.reason._tag === "SpoolInUse" || this.reason._tag === "SpoolIoFailed"
  }

  /** One line: operation, what happened, what to do next. */
  override get message(): string {
    return `${this.operation}: ${this.reason.detail}; ${this.reason.hint}`
  }
}
