/** The error of publications and subscriptions. Lost data is not an error: it is a `Gap` in the stream. */
import { Data } from "effect"

/** Nobody publishes under this name, or the name is taken by another producer. */
export class TransportNotConnected extends Data.TaggedError("TransportNotConnected")<{
  readonly detail: string
  readonly hint: string
}> {}

/** Layout, version, owner or permissions do not fit. */
export class TransportIncompatible extends Data.TaggedError("TransportIncompatible")<{
  readonly detail: string
  readonly hint: string
}> {}

/** No more readers, memory or space. */
export class TransportExhausted extends Data.TaggedError("TransportExhausted")<{
  readonly detail: string
  readonly hint: string
}> {}

/** The other side ended. */
export class TransportClosed extends Data.TaggedError("TransportClosed")<{ readonly detail: string }> {}

/** A subscription that cannot be served as asked. */
export class TransportBadRequest extends Data.TaggedError("TransportBadRequest")<{
  readonly detail: string
}> {}

/** Why a transport operation failed. */
export type TransportErrorReason =
  | TransportNotConnected
  | TransportIncompatible
  | TransportExhausted
  | TransportClosed
  | TransportBadRequest

/** A failed transport operation. */
export class TransportError extends Data.TaggedError("TransportError")<{
  readonly transport: string
  readonly operation: string
  readonly reason: TransportErrorReason
  readonly cause?: unknown
}> {
  /** Whether repeating the same call can succeed without anybody's help. */
  get isRetryable(): boolean {
    return this.reason._tag === "TransportNotConnected" || this.reason._tag === "TransportClosed"
  }

  /** One line: transport, operation, what happened, what to do next. */
  override get message(): string {
    const hint = "hint" in this.reason ? `; ${this.reason.hint}` : ""
    return `${this.transport} ${this.operation}: ${this.reason.detail}${hint}`
  }
}
