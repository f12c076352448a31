/** How sessions end, and what follows: another one, after how long, or an error that needs somebody's help. */
import {
  ProviderBadRequest,
  ProviderError,
  type ProviderErrorReason,
  ProviderMalformed,
  ProviderUnauthorized,
  ProviderUnavailable
} from "@data-manager/core"
import { ErrorCode } from "../GatewayCode.ts"
import { PROVIDER_ID } from "../MappingClaim.ts"

/** How a session ended. */
export type SessionEnd =
  /** No connection; `code` is the system's. */
  | { readonly _tag: "Unreachable"; readonly code: string | undefined; readonly detail: string }
  /** Closed or broken by the other side, with an error or without. */
  | { readonly _tag: "Closed"; readonly detail: string }
  /** No byte for longer than the gateway may be silent. */
  | { readonly _tag: "Silent"; readonly detail: string }
  /** The reply to authentication was a refusal. */
  | { readonly _tag: "Refused"; readonly detail: string }
  /** A fatal error record. */
  | { readonly _tag: "Fatal"; readonly code: number; readonly detail: string }
  /** Bytes that are not what they should be. */
  | { readonly _tag: "Malformed"; readonly detail: string }
  /** The same bytes would fail again. */
  | { readonly _tag: "Unusable"; readonly reason: ProviderErrorReason }

/** What to do after a session. */
export type Verdict =
  | { readonly _tag: "Retry"; readonly pace: "usual" | "slow" }
  | { readonly _tag: "GiveUp"; readonly reason: ProviderErrorReason }

/** Attempts in a row that are made where it is not known whether repeating can help. */
const DOUBTFUL_ATTEMPTS = 5

const usual: Verdict = { _tag: "Retry", pace: "usual" }
const slow: Verdict = { _tag: "Retry", pace: "slow" }
const giveUp = (reason: ProviderErrorReason): Verdict => ({ _tag: "GiveUp", reason })

const checkKey = "check the API key, and that it is allowed this dataset live, in the vendor's portal"

/**
 * What follows an end; `attempt` counts sessions in a row, this one included, that did not last; `isProven` says that the
 * stream has had data before. Connections that break are always made again; a key that is refused is never tried again;
 * what was never heard of is given up in the end, where it has never worked.
 */
export const verdictOf = (end: SessionEnd, attempt: number, isProven: boolean): Verdict => {
  switch (end._tag) {
    case "Closed":
    case "Silent":
      return usual
    case "Unreachable":
      return end.code === "ENOTFOUND" && attempt >= DOUBTFUL_ATTEMPTS && !isProven
        ? giveUp(
            new ProviderBadRequest({
              detail: `${end.detail} (${attempt} attempts)`,
              hint: "the host follows from the dataset: check that, the address, and the name service"
            })
          )
        : usual
    case "Malformed":
      return attempt < DOUBTFUL_ATTEMPTS
        ? usual
        : giveUp(new ProviderMalformed({ detail: `${end.detail} (${attempt} sessions in a row)` }))
    case "Unusable":
      return giveUp(end.reason)
    case "Fatal":
      return verdictOfCode(end.code, end.detail)
    case "Refused":
      return verdictOfRefusal(end.detail, isProven ? 0 : attempt)
  }
}

const verdictOfCode = (code: number, detail: string): Verdict => {
  switch (code) {
    case ErrorCode.authFailed:
      return giveUp(new ProviderUnauthorized({ detail, hint: checkKey }))
    case ErrorCode.keyDeactivated:
      return giveUp(new ProviderUnauthorized({ detail, hint: "make a new API key in the vendor's portal" }))
    case ErrorCode.connectionLimit:
      return slow
    case ErrorCode.invalidSubscription:
      return giveUp(
        new ProviderBadRequest({
          detail,
          hint: "check symbols, stype_in and schema against what the dataset offers live"
        })
      )
    default:
      return usual
  }
}

/** Refusals are texts: those known to stay are told from those that may pass. */
const verdictOfRefusal = (detail: string, attempt: number): Verdict => {
  if (/connection limit|too many (open )?(connections|sessions)/i.test(detail)) return slow
  if (
    /authentication failed|unauthori[sz]ed|deactivated|(invalid|unknown|wrong) (api )?key|not (allowed|entitled|licen[sc]ed)/i.test(
      detail
    )
  )
    return giveUp(new ProviderUnauthorized({ detail, hint: checkKey }))
  if (/dataset|unsupported|malformed/i.test(detail))
    return giveUp(
      new ProviderBadRequest({ detail, hint: "check the dataset's name, and that it is offered live" })
    )
  return attempt < DOUBTFUL_ATTEMPTS
    ? usual
    : giveUp(new ProviderUnavailable({ detail: `${detail} (refused ${attempt} times in a row)` }))
}

/** An end in words. */
export const describeEnd = (end: SessionEnd): string =>
  end._tag === "Unusable"
    ? end.reason.detail
    : end._tag === "Fatal"
      ? `error ${end.code}: ${end.detail}`
      : end.detail

/** The error of a live stream that gives up. */
export const liveError = (dataset: string, reason: ProviderErrorReason): ProviderError =>
  new ProviderError({ provider: PROVIDER_ID, operation: `live ${dataset}`, reason })

/** The error of a request that is not even sent. */
export const badLiveRequest = (dataset: string, detail: string): ProviderError =>
  liveError(dataset, new ProviderBadRequest({ detail }))

/** The error of a key that is not even tried. */
export const badKey = (dataset: string, detail: string): ProviderError =>
  liveError(
    dataset,
    new ProviderUnauthorized({ detail, hint: "a key has 32 characters and begins with db-; copy it again" })
  )
