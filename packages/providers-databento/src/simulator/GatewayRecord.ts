/** Records that the live gateway sends about the session itself, in every version of DBN. */
import { SYMBOL_CSTR_LEN } from "../dbn/DbnMetadata.ts"
import type { DbnRecord } from "../dbn/DbnRecord.ts"
import type { DbnVersion } from "../dbn/Layout.ts"
import { blankRecord, encodeRecord } from "../dbn/RecordEncoder.ts"
import { stypeCode } from "../dbn/SType.ts"
import { ErrorCode } from "../GatewayCode.ts"
import { downgraded } from "./RecordDowngrade.ts"

/** Whether the gateway closes the session after an error. */
export const isFatal = (code: number): boolean =>
  code !== ErrorCode.symbolResolutionFailed && code !== ErrorCode.skippedRecords

/** A symbol that was asked for and the instrument it means. */
export interface MappedSymbol {
  readonly instrumentId: number
  readonly stypeIn: string
  readonly symbolIn: string
  readonly rawSymbol: string
  /** ns since the epoch, end exclusive. */
  readonly start: bigint
  readonly end: bigint
}

const ERROR_BYTES = 302
const SYSTEM_BYTES = 303

/** A record type that has no meaning in any version. */
const UNKNOWN_RTYPE = 0xee

/** Text as a field of so many bytes holds it: what a client sent may be anything. */
const plain = (text: string, bytes: number): string =>
  text.replaceAll(/[^\x20-\x7e]/g, "?").slice(0, bytes - 1)

/** Encodes gateway records of one session. */
export class GatewayRecords {
  readonly #version: DbnVersion
  readonly #tsOut: boolean

  constructor(version: DbnVersion, tsOut: boolean) {
    this.#version = version
    this.#tsOut = tsOut
  }

  system(code: number, text: string, time: bigint): Uint8Array {
    return this.#encode(blankRecord("system", { msg: plain(text, SYSTEM_BYTES), code, tsEvent: time }), time)
  }

  error(code: number, text: string, time: bigint, isLast = true): Uint8Array {
    return this.#encode(
      blankRecord("error", {
        err: plain(text, ERROR_BYTES),
        code,
        isLast: isLast ? 1 : 0,
        tsEvent: time
      }),
      time
    )
  }

  mapping(mapped: MappedSymbol, time: bigint): Uint8Array {
    return this.#encode(
      blankRecord("symbol_mapping", {
        instrumentId: mapped.instrumentId,
        tsEvent: time,
        stypeIn: stypeCode(mapped.stypeIn) ?? 0xff,
        stypeInSymbol: plain(mapped.symbolIn, SYMBOL_CSTR_LEN),
        stypeOut: stypeCode("raw_symbol") as number,
        stypeOutSymbol: plain(mapped.rawSymbol, SYMBOL_CSTR_LEN),
        startTs: mapped.start,
        endTs: mapped.end
      }),
      time
    )
  }

  /** A record of a type that no client knows. */
  unknown(time: bigint): Uint8Array {
    return this.#encode(
      {
        type: "unknown",
        rtype: UNKNOWN_RTYPE,
        publisherId: 0,
        instrumentId: 0,
        tsEvent: time,
        body: new Uint8Array(24)
      },
      time
    )
  }

  #encode(record: DbnRecord, time: bigint): Uint8Array {
    const older = downgraded(record, this.#version)
    return encodeRecord(this.#tsOut ? { ...older, tsOut: time } : older, {
      version: this.#version,
      tsOut: this.#tsOut
    })
  }
}
