/** What went wrong while reading or writing DBN, where, and what to do about it. */

/**
 * Why a DBN operation failed.
 *
 * - `empty` no input bytes at all
 * - `not-dbn` the bytes are no DBN, DBZ or zstd data
 * - `unsupported` valid, but of a kind that this codec does not read (newer version, zstd dictionary)
 * - `truncated` the input ends inside metadata, a record or a zstd frame; everything whole was delivered before
 * - `corrupt` the bytes contradict the format
 * - `too-large` a length in the input exceeds a limit that guards memory; the limit is an option
 * - `unrepresentable` a value cannot be written in the requested version
 * - `usage` the call contradicts the data or an earlier call
 */
export type DbnErrorReason =
  | "empty"
  | "not-dbn"
  | "unsupported"
  | "truncated"
  | "corrupt"
  | "too-large"
  | "unrepresentable"
  | "usage"

/** Which bytes an offset counts: those handed to the decoder, or the DBN stream after decompression. */
export type DbnOffsetSpace = "input" | "stream"

/** Where an error was found. */
export interface DbnErrorPlace {
  /** Byte offset from the start of `space`. */
  readonly offset: number
  readonly space: DbnOffsetSpace
}

/**
 * Error of the DBN codec. `reason` is for programs; `message` says what, where and what to do next. Never retryable:
 * the same bytes give the same error.
 */
export class DbnError extends Error {
  override readonly name = "DbnError"
  /** For `catchTag` of Effect users; this module itself does not use Effect. */
  readonly _tag = "DbnError"
  readonly reason: DbnErrorReason
  /** Byte offset of the trouble; undefined when encoding. */
  readonly offset: number | undefined
  /** What `offset` counts. The two differ for compressed input only. */
  readonly space: DbnOffsetSpace | undefined

  constructor(reason: DbnErrorReason, text: string, place?: DbnErrorPlace, options?: ErrorOptions) {
    super(place === undefined ? text : `${text} (${placeText(place)})`, options)
    this.reason = reason
    this.offset = place?.offset
    this.space = place?.space
  }
}

const placeText = (place: DbnErrorPlace): string =>
  place.space === "input"
    ? `at byte ${place.offset} of the input`
    : `at byte ${place.offset} of the DBN stream`
