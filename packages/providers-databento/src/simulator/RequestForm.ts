/** Parameters of HTTP requests: dates, times, symbols, choices; what is wrong with one becomes a 422. */
import { UnixNanos } from "@data-manager/core"
import { type KnownSchema, schemas } from "../dbn/DbnSchema.ts"
import { dateFromIso, dayOfDate, dayOfNanos, NANOS_PER_DAY } from "../dbn/IsoDate.ts"
import { type KnownSType, knownStype, stypes } from "../dbn/SType.ts"
import type { Catalogue, SimulatedDataset } from "./Catalogue.ts"
import { caseProblem, parameterProblem } from "./HttpReply.ts"
import { ALL_SYMBOLS } from "./SymbolDirectory.ts"

/** Most symbols of one request. */
export const MAX_SYMBOLS = 2000

/** A range of time, ns since the epoch, end exclusive. */
export interface Range {
  readonly start: bigint
  readonly end: bigint
}

/** What a header of DBN can hold as a symbol. */
const SYMBOL = /^[\x20-\x7e]{1,70}$/
/** A datetime without minutes, which the vendor accepts. */
const HOUR = /^\d{4}-\d{2}-\d{2}[T ]\d{2}$/
const DATE = /^\d{4}-\d{2}-\d{2}$/

/** Parameters by name; empty ones count as absent, as the Python client sends them. */
export class RequestForm {
  readonly #place: "body" | "query"
  readonly #values: URLSearchParams

  constructor(place: "body" | "query", values: URLSearchParams) {
    this.#place = place
    this.#values = values
  }

  text(name: string): string | undefined {
    const value = this.#values.get(name)
    return value === null || value === "" || value === "None" ? undefined : value
  }

  required(name: string): string {
    return this.text(name) ?? this.#fail(name, "field required")
  }

  choice<T extends string>(name: string, allowed: ReadonlyArray<T>, absent?: T): T {
    const value = this.text(name) ?? absent ?? this.required(name)
    const known = allowed.find((it) => it === value)
    return known ?? this.#fail(name, `${JSON.stringify(value)} is not one of ${allowed.join(", ")}`)
  }

  flag(name: string, absent = false): boolean {
    const value = this.text(name)?.toLowerCase()
    if (value === undefined) return absent
    if (value === "true" || value === "1") return true
    if (value === "false" || value === "0") return false
    return this.#fail(name, `${JSON.stringify(value)} is no boolean`)
  }

  count(name: string): number | undefined {
    const value = this.text(name)
    if (value === undefined) return undefined
    if (!/^\d{1,15}$/.test(value) || Number(value) === 0) this.#fail(name, "a positive integer is needed")
    return Number(value)
  }

  schema(): KnownSchema {
    return this.choice("schema", schemas, "trades")
  }

  stype(name: "stype_in" | "stype_out"): KnownSType {
    const known = knownStype(this.text(name) ?? "")
    return known ?? this.choice(name, stypes, name === "stype_in" ? "raw_symbol" : "instrument_id")
  }

  /** The symbols asked for; `ALL_SYMBOLS` where none are named. */
  symbols(): ReadonlyArray<string> {
    const list = (this.text("symbols") ?? ALL_SYMBOLS)
      .split(",")
      .map((symbol) => symbol.trim())
      .filter((symbol) => symbol !== "")
    if (list.length > MAX_SYMBOLS)
      throw caseProblem(
        422,
        "symbology_too_many_symbols",
        `${list.length} symbols in one request, at most ${MAX_SYMBOLS} are allowed`
      )
    const odd = list.find((symbol) => !SYMBOL.test(symbol))
    if (odd !== undefined) this.#fail("symbols", `${JSON.stringify(odd.slice(0, 80))} cannot be a symbol`)
    return list.length === 0 ? [ALL_SYMBOLS] : [...new Set(list)]
  }

  dataset(catalogue: Catalogue): SimulatedDataset {
    const name = this.required("dataset")
    const dataset = catalogue.get(name)
    if (dataset === undefined)
      throw caseProblem(422, "data_no_data_found_for_request", `Unknown dataset ${JSON.stringify(name)}`)
    return dataset
  }

  /** A day since the epoch. */
  day(name: string): number | undefined {
    const value = this.text(name)
    if (value === undefined) return undefined
    const date = dateFromIso(value.slice(0, 10))
    const day = date === undefined ? undefined : dayOfDate(date)
    return day ?? this.#fail(name, `${JSON.stringify(value)} is no date YYYY-MM-DD`)
  }

  time(name: string): bigint | undefined {
    const value = this.text(name)
    if (value === undefined) return undefined
    const time = /^\d{1,19}$/.test(value)
      ? BigInt(value)
      : UnixNanos.parse(HOUR.test(value) ? `${value}:00` : value)
    return time ?? this.#fail(name, `${JSON.stringify(value)} is neither ISO 8601 nor nanoseconds`)
  }

  /** `start` and `end` inside what the dataset has; an absent end follows from the resolution of the start. */
  range(dataset: SimulatedDataset): Range {
    const start = this.time("start") ?? this.#fail("start", "field required")
    const end = this.time("end") ?? start + resolution(this.required("start"))
    if (start >= end)
      throw caseProblem(
        422,
        "data_time_range_start_on_or_after_end",
        `start ${UnixNanos.toIso(start)} is not before end ${UnixNanos.toIso(end)}`
      )
    if (start < dataset.start)
      throw caseProblem(
        422,
        "data_start_before_available_start",
        `${dataset.name} begins at ${UnixNanos.toIso(dataset.start)}: start is before that`,
        { available_start: UnixNanos.toIso(dataset.start) }
      )
    if (end > dataset.end)
      throw caseProblem(
        422,
        "data_end_after_available_end",
        `${dataset.name} ends at ${UnixNanos.toIso(dataset.end)}: end is after that`,
        { available_end: UnixNanos.toIso(dataset.end) }
      )
    return { start, end }
  }

  #fail(name: string, message: string): never {
    throw parameterProblem(this.#place, name, message)
  }
}

/** What a start without an end stands for: its day, hour, minute or second; a nanosecond where it is a number. */
const resolution = (start: string): bigint => {
  if (DATE.test(start)) return NANOS_PER_DAY
  if (HOUR.test(start)) return 3600n * UnixNanos.PerSecond
  if (/^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}Z?$/.test(start)) return 60n * UnixNanos.PerSecond
  return /^\d+$/.test(start) || start.includes(".") ? 1n : UnixNanos.PerSecond
}

/** UTC days of a range: from that of its start to that behind its end. */
export const daysOf = (range: Range): { readonly first: number; readonly end: number } => ({
  first: dayOfNanos(range.start),
  end: dayOfNanos(range.end - 1n) + 1
})
