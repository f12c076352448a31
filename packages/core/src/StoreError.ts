/**
 * The error of everything that stores or reads market data: one tagged error with a `reason` that callers can act on.
 * Retry policies read `isRetryable`; nobody matches on message text.
 */
import { Data } from "effect"

/** The server cannot be reached or the connection was lost. Nothing of the operation is known to be committed. */
export class StoreUnavailable extends Data.TaggedError("StoreUnavailable")<{
  readonly detail: string
  readonly hint: string
}> {}

/** The server refuses this login, database or permission. */
export class StoreAccessDenied extends Data.TaggedError("StoreAccessDenied")<{
  readonly detail: string
  readonly hint: string
}> {}

/** The server, its version, its schema or its settings do not fit; nothing was changed. */
export class StoreIncompatible extends Data.TaggedError("StoreIncompatible")<{
  readonly detail: string
  readonly hint: string
}> {}

/** Disk full, out of memory, too many connections or locks: the server needs attention, then the operation can be repeated. */
export class StoreExhausted extends Data.TaggedError("StoreExhausted")<{
  readonly resource: "disk" | "memory" | "connections" | "locks"
  readonly detail: string
  readonly hint: string
}> {}

/** Serialization failure, deadlock or a lock that was not granted in time: repeat the operation. */
export class StoreContention extends Data.TaggedError("StoreContention")<{ readonly detail: string }> {}

/** A request that the store cannot serve: unknown timeframe, range over two listings, unknown instrument. */
export class StoreBadRequest extends Data.TaggedError("StoreBadRequest")<{
  readonly detail: string
  readonly allowed?: ReadonlyArray<string>
}> {}

/** Data that the store refuses: a value outside its range or a batch that contradicts its claim. Nothing was written. */
export class StoreInvalidData extends Data.TaggedError("StoreInvalidData")<{ readonly detail: string }> {}

/** Anything else the server reported, with its SQLSTATE where there is one. */
export class StoreServerFault extends Data.TaggedError("StoreServerFault")<{
  readonly detail: string
  readonly code?: string
}> {}

/** The lease under which this program writes is another's by now; nothing was written, and nothing ever will be under it. */
export class StoreFenced extends Data.TaggedError("StoreFenced")<{
  readonly lease: string
  /** The epoch of this program, and that of whoever has the lease now. */
  readonly epoch: bigint
  readonly current: bigint
  readonly detail: string
}> {}

/** Why a store operation failed. */
export type StoreErrorReason =
  | StoreUnavailable
  | StoreAccessDenied
  | StoreIncompatible
  | StoreExhausted
  | StoreContention
  | StoreFenced
  | StoreBadRequest
  | StoreInvalidData
  | StoreServerFault

/** A failed store operation: what was being done (`operation`), why (`reason`), and what to do next (in the message). */
export class StoreError extends Data.TaggedError("StoreError")<{
  /** What was being done, for people: "append trades", "migrate up", "start embedded server". */
  readonly operation: string
  readonly reason: StoreErrorReason
  readonly cause?: unknown
}> {
  /** Whether repeating the same call can succeed without anybody's help. */
  get isRetryable(): boolean {
    return (
      this.reason._tag === "StoreUnavailable" ||
      this.reason._tag === "StoreContention" ||
      this.reason._tag === "StoreExhausted"
    )
  }

  /** One line: operation, what happened, what to do next. */
  override get message(): string {
    const { reason } = this
    const hint = "hint" in reason && reason.hint !== "" ? `; ${reason.hint}` : ""
    const allowed =
      reason._tag === "StoreBadRequest" && reason.allowed !== undefined
        ? `; offered: ${reason.allowed.join(", ")}`
        : ""
    const code =
      reason._tag === "StoreServerFault" && reason.code !== undefined ? ` (SQLSTATE ${reason.code})` : ""
    return `${this.operation}: ${reason.detail}${code}${hint}${allowed}`
  }
}
