/** Errors of the codec as reasons of a provider's error, by what a user can do about them. */
import {
  ProviderBadRequest,
  type ProviderErrorReason,
  ProviderMalformed,
  ProviderTruncated
} from "@data-manager/core"
import { DbnError } from "./dbn/DbnError.ts"

/** The reason for what a decoder threw. */
export const decodeReason = (cause: unknown): ProviderErrorReason => {
  if (!(cause instanceof DbnError))
    return new ProviderMalformed({ detail: cause instanceof Error ? cause.message : String(cause) })
  switch (cause.reason) {
    case "truncated":
    case "empty":
      return new ProviderTruncated({ detail: cause.message })
    case "usage":
    case "unsupported":
      return new ProviderBadRequest({ detail: cause.message })
    default:
      return new ProviderMalformed({ detail: cause.message })
  }
}
