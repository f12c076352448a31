/** The error of everything that speaks with a provider: one tagged error with a `reason` that callers can act on. */
import { Data } from "effect"

/** Missing, malformed, wrong or revoked credentials, or no licence for what was asked. */
export class ProviderUnauthorized extends Data.TaggedError("ProviderUnauthorized")<{
  readonly detail: string
  readonly hint: string
}> {}

/** Too many requests; `retryAfterMillis` where the provider said so. */
export class ProviderRateLimited extends Data.TaggedError("ProviderRateLimited")<{
  readonly detail: string
  readonly retryAfterMillis?: number | undefined
}> {}

/** The connection could not be made or ended. */
export class ProviderDisconnected extends Data.TaggedError("ProviderDisconnected")<{
  readonly detail: string
}> {}

/** The provider failed on its side; `requestId` helps its support. */
export class ProviderUnavailable extends Data.TaggedError("ProviderUnavailable")<{
  readonly detail: string
  readonly requestId?: string | undefined
}> {}

/** The request cannot be served as asked: unknown symbol, dataset, schema, or a range outside what exists. */
export class ProviderBadRequest extends Data.TaggedError("ProviderBadRequest")<{
  readonly detail: string
  readonly hint?: string | undefined
  readonly requestId?: string | undefined
  /** Symbols that mean nothing in the time asked for, where all of the request's are such and nothing else is wrong. */
  readonly unknownSymbols?: ReadonlyArray<string> | undefined
}> {}

/** Bytes that are not what the protocol or format says; `offset` in the stream or file. */
export class ProviderMalformed extends Data.TaggedError("ProviderMalformed")<{
  readonly detail: string
  readonly offset?: number | undefined
}> {}

/** The stream or file ended before its end; every whole record before `offset` was delivered. */
export class ProviderTruncated extends Data.TaggedError("ProviderTruncated")<{
  readonly detail: string
  readonly offset?: number | undefined
}> {}

/** The request would cost more than the given limit; nothing was fetched. */
export class ProviderBudgetExceeded extends Data.TaggedError("ProviderBudgetExceeded")<{
  readonly detail: string
  readonly costUsd?: number | undefined
  readonly limitUsd?: number | undefined
}> {}

/** Why a provider operation failed. */
export type ProviderErrorReason =
  | ProviderUnauthorized
  | ProviderRateLimited
  | ProviderDisconnected
  | ProviderUnavailable
  | ProviderBadRequest
  | ProviderMalformed
  | ProviderTruncated
  | ProviderBudgetExceeded

const retryable = new Set(["ProviderRateLimited", "ProviderDisconnected", "ProviderUnavailable"])

/** A failed provider operation: who, what, why, and what to do next in the message. */
export class ProviderError extends Data.TaggedError("ProviderError")<{
  readonly provider: string
  readonly operation: string
  readonly reason: ProviderErrorReason
  readonly cause?: unknown
}> {
  /** Whether repeating the same call can succeed without anybody's help. Billed calls are never repeated blindly. */
  get isRetryable(): boolean {
    return retryable.has(this.reason._tag)
  }

  /** One line: provider, operation, what happened, what to do next. */
  override get message(): string {
    const { reason } = this
    const hint = "hint" in reason && reason.hint !== undefined ? `; ${reason.hint}` : ""
    const at = "offset" in reason && reason.offset !== undefined ? ` at byte ${reason.offset}` : ""
    const id = "requestId" in reason && reason.requestId !== undefined ? ` (request ${reason.requestId})` : ""
    return `${this.provider} ${this.operation}: ${reason.detail}${at}${id}${hint}`
  }
}

/** Whether a request failed because none of its symbols means anything in its time: there is nothing to fetch then. */
export const isUnknownSymbols = ({ reason }: ProviderError): boolean =>
  reason._tag === "ProviderBadRequest" && reason.unknownSymbols !== undefined
