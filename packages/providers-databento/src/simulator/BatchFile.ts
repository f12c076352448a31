/** The files that a batch job delivers. */
import { createHash } from "node:crypto"
import { civilFromDays, dateOfDay, dayOfNanos, NANOS_PER_DAY } from "../dbn/IsoDate.ts"
import type { DbnVersion } from "../dbn/Layout.ts"
import { type DataRequest, encoded, selectionOf, type TextForm } from "./DataRequest.ts"
import { conditions } from "./MetadataEndpoint.ts"
import { daysOf, type Range } from "./RequestForm.ts"
import type { Selection } from "./Selection.ts"
import { symbologyJson } from "./SymbologyEndpoint.ts"

/** How a job's data is cut into files. */
export interface SplitForm {
  readonly symbols: boolean
  readonly duration: "day" | "week" | "month" | "year" | "none"
  /** Most bytes of records per file. */
  readonly size: number | undefined
}

/** A file. */
export interface BatchFile {
  readonly filename: string
  readonly bytes: Uint8Array
  /** `sha256:` and hexadecimal text. */
  readonly hash: string
  /** Records in it; 0 for those that describe the job. */
  readonly records: number
}

/** Days since the epoch on which the period after that of `day` begins. Weeks begin on Sunday, UTC. */
const nextPeriod = (day: number, duration: SplitForm["duration"]): number => {
  if (duration === "none") return Number.POSITIVE_INFINITY
  if (duration === "day") return day + 1
  if (duration === "week") return day + 7 - ((day + 4) % 7)
  const [year, month] = civilFromDays(day)
  for (let next = day + 1; ; next++) {
    const [y, m] = civilFromDays(next)
    if (y !== year || (duration === "month" && m !== month)) return next
  }
}

const periods = (range: Range, duration: SplitForm["duration"]): ReadonlyArray<Range> => {
  const list: Array<Range> = []
  for (let start = range.start; start < range.end; ) {
    const next = nextPeriod(dayOfNanos(start), duration)
    const limit = Number.isFinite(next) ? BigInt(next) * NANOS_PER_DAY : range.end
    const end = limit < range.end ? limit : range.end
    list.push({ start, end })
    start = end
  }
  return list
}

/** First position of a selection whose index time is at or after `time`. */
const positionAt = (selection: Selection, time: bigint): number => {
  let low = 0
  let high = selection.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (selection.table.times[selection.row(middle)]! < time) low = middle + 1
    else high = middle
  }
  return low
}

/** Positions `[from, to)` in runs of at most `bytes`. */
const runs = (
  selection: Selection,
  from: number,
  to: number,
  bytes: number | undefined
): ReadonlyArray<readonly [from: number, to: number]> => {
  if (bytes === undefined) return [[from, to]]
  const { offsets } = selection.table
  const list: Array<readonly [number, number]> = []
  let first = from
  let size = 0
  for (let at = from; at < to; at++) {
    const row = selection.row(at)
    const length = offsets[row + 1]! - offsets[row]!
    if (size + length > bytes && at > first) {
      list.push([first, at])
      first = at
      size = 0
    }
    size += length
  }
  return [...list, [first, to]]
}

const joined = (chunks: Iterable<Uint8Array>): Uint8Array => Buffer.concat([...chunks])

const file = (filename: string, bytes: Uint8Array, records = 0): BatchFile => ({
  filename,
  bytes,
  records,
  hash: `sha256:${createHash("sha256").update(bytes).digest("hex")}`
})

/** A file that describes the job. */
export const jsonFile = (filename: string, value: unknown): BatchFile =>
  file(filename, new TextEncoder().encode(JSON.stringify(value, null, 2)))

const baseName = (request: DataRequest, range: Range): string => {
  const days = daysOf(range)
  const first = dateOfDay(days.first)
  const last = dateOfDay(days.end - 1)
  const dataset = request.dataset.name.toLowerCase().replaceAll(".", "-")
  return `${dataset}-${first === last ? first : `${first}-${last}`}.${request.schema}`
}

const extension = (form: TextForm): string => `.${form.encoding}${form.compression === "zstd" ? ".zst" : ""}`

/** A request per raw symbol of the answer, with the part of the name that tells them apart. */
const bySymbol = (request: DataRequest): ReadonlyArray<readonly [suffix: string, request: DataRequest]> => {
  const { dataset, symbols, stypeIn, stypeOut, range } = request
  const days = daysOf(range)
  const raw = dataset.symbols.resolve(symbols, stypeIn, "raw_symbol", days.first, days.end)
  const names = new Set([...raw.intervals.values()].flatMap((list) => list.map((it) => it.value)))
  return [...names].sort().map((symbol) => [
    `.${symbol.replaceAll(/[^\w.+-]/g, "_")}`,
    {
      ...request,
      symbols: [symbol],
      stypeIn: "raw_symbol",
      resolution: dataset.symbols.resolve([symbol], "raw_symbol", stypeOut, days.first, days.end)
    }
  ])
}

/** The data files of a job: periods without a record have none. */
export const dataFiles = (
  request: DataRequest,
  form: TextForm,
  split: SplitForm,
  version: DbnVersion
): ReadonlyArray<BatchFile> => {
  const files: Array<BatchFile> = []
  for (const [suffix, own] of split.symbols ? bySymbol(request) : ([["", request]] as const)) {
    const selection = selectionOf(own, version)
    for (const range of periods(request.range, split.duration)) {
      const from = positionAt(selection, range.start)
      const to = positionAt(selection, range.end)
      if (from === to && split.duration !== "none") continue
      const pieces = runs(selection, from, to, split.size)
      pieces.forEach(([first, last], i) => {
        const part = pieces.length > 1 ? `.${String(i).padStart(4, "0")}` : ""
        const name = `${baseName(own, range)}${suffix}${part}${extension(form)}`
        files.push(file(name, joined(encoded(own, selection, form, range, first, last)), last - first))
      })
    }
  }
  return files
}

/** The files that say what a job's data means. */
export const supportFiles = (request: DataRequest, job: unknown): ReadonlyArray<BatchFile> => {
  const days = daysOf(request.range)
  return [
    jsonFile("metadata.json", { version: 1, ...(job as object) }),
    jsonFile("symbology.json", symbologyJson(request.resolution, { ...request, ...days })),
    jsonFile("condition.json", conditions(request.dataset, days.first, days.end - 1))
  ]
}
