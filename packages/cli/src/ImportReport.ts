/** What an import says: progress while it runs, a table and totals at its end, or one JSON document. */
import type { FileImport, ProviderError, StoreError } from "@data-manager/core"
import { bytes, grouped, plural, rate, seconds } from "./NumberText.ts"
import type { Paint } from "./Paint.ts"
import { table } from "./Table.ts"

type ImportSummary = FileImport.ImportSummary

/** One file when it is over. */
export interface FileOutcome {
  readonly summary: ImportSummary
  readonly bytes: number
  readonly error: ProviderError | StoreError | undefined
}

const sum = (outcomes: ReadonlyArray<FileOutcome>, of: (summary: ImportSummary) => number): number =>
  outcomes.reduce((total, { summary }) => total + of(summary), 0)

const resultOf = ({ summary, error }: FileOutcome): string => {
  if (error !== undefined) return "failed"
  if (summary.alreadyImported) return "known already"
  if (summary.definitions > 0 && summary.inserted === 0) return plural(summary.definitions, "definition")
  return summary.resumed > 0 ? "completed" : "imported"
}

/** Rows that were in the store before this import. */
const known = ({ duplicates, resumed }: ImportSummary): number => duplicates + resumed

const count = (value: number): string => (value === 0 ? "" : grouped(value))

/** A row per file. */
export const outcomeTable = (outcomes: ReadonlyArray<FileOutcome>, paint: Paint): ReadonlyArray<string> => {
  const conflicts = outcomes.some(({ summary }) => summary.conflicts > 0)
  return table(
    [
      { header: "file" },
      { header: "dataset" },
      { header: "content" },
      {
        header: "result",
        paint: (cell, row) => (outcomes[row]?.error === undefined ? paint.green(cell) : paint.red(cell))
      },
      { header: "new rows", align: "right" },
      { header: "known rows", align: "right" },
      ...(conflicts ? [{ header: "conflicts", align: "right", paint: paint.yellow } as const] : []),
      { header: "not stored", align: "right" },
      { header: "size", align: "right" },
      { header: "time", align: "right" }
    ],
    outcomes.map((outcome) => {
      const { summary } = outcome
      const notStored = [...summary.notStored.values()].reduce((total, n) => total + n, 0)
      return [
        summary.path,
        summary.header?.dataset ?? "",
        summary.header?.content ?? "",
        resultOf(outcome),
        count(summary.inserted),
        count(known(summary)),
        ...(conflicts ? [count(summary.conflicts)] : []),
        count(notStored),
        bytes(outcome.bytes),
        summary.alreadyImported || summary.header === undefined ? "" : seconds(summary.seconds)
      ]
    }),
    paint
  )
}

/** Records without a table, of all files together, by the vendor's name. */
const notStoredOf = (outcomes: ReadonlyArray<FileOutcome>): ReadonlyMap<string, number> => {
  const total = new Map<string, number>()
  for (const { summary } of outcomes)
    for (const [name, n] of summary.notStored) total.set(name, (total.get(name) ?? 0) + n)
  return total
}

/** Sentences under the table: totals, what was not stored, conflicts, notes of the files. */
export const outcomeNotes = (
  outcomes: ReadonlyArray<FileOutcome>,
  elapsed: number
): ReadonlyArray<string> => {
  const inserted = sum(outcomes, (summary) => summary.inserted)
  const knownRows = sum(outcomes, known)
  const conflicts = sum(outcomes, (summary) => summary.conflicts)
  const definitions = sum(outcomes, (summary) => summary.definitions)
  const failed = outcomes.filter(({ error }) => error !== undefined).length
  const whole = outcomes.filter(({ summary }) => summary.alreadyImported).length
  const good = outcomes.length - failed
  const speed = inserted > 0 && elapsed >= 0.1 ? `, ${rate(inserted, elapsed)}` : ""
  const notStored = [...notStoredOf(outcomes)].map(([name, n]) => `${name} ${grouped(n)}`)
  return [
    ...(inserted > 0 || definitions > 0 || good > whole
      ? [
          `${plural(inserted, "new row")} from ${plural(good - whole, "file")} in ${seconds(elapsed)}${speed}` +
            (knownRows > 0 ? `; ${plural(knownRows, "row")} known before` : "")
        ]
      : []),
    ...(whole > 0
      ? [
          whole === outcomes.length
            ? `nothing new: ${whole === 1 ? "this file was" : `all ${grouped(whole)} files were`} imported before`
            : `${plural(whole, "file")} imported before`
        ]
      : []),
    ...(good > whole && inserted === 0 && definitions === 0 && whole === 0 ? ["nothing new"] : []),
    ...(conflicts > 0
      ? [
          `${plural(conflicts, "row")} met a stored row of the same key and other content; both are kept: dm query conflicts shows them`
        ]
      : []),
    ...(notStored.length > 0 ? [`counted, but not stored yet: ${notStored.join(", ")}`] : []),
    ...(failed > 0 ? [`${plural(failed, "file")} failed`] : []),
    ...outcomes.flatMap(({ summary }) => summary.notes.map((text) => `${summary.path}: ${text}`))
  ]
}

const fileJson = ({ summary, bytes: size, error }: FileOutcome): object => ({
  path: summary.path,
  bytes: size,
  dataset: summary.header?.dataset ?? null,
  content: summary.header?.content ?? null,
  schema: summary.header?.schema ?? null,
  result: error !== undefined ? "failed" : summary.alreadyImported ? "already_imported" : "imported",
  records: summary.records,
  inserted: summary.inserted,
  duplicates: summary.duplicates,
  conflicts: summary.conflicts,
  resumed: summary.resumed,
  definitions: summary.definitions,
  not_stored: Object.fromEntries(summary.notStored),
  coverage_claims: summary.coverageClaims,
  notes: summary.notes,
  seconds: summary.seconds,
  error: error?.message ?? null
})

/** The whole import for programs; arguments that gave no file are failures, too. */
export const outcomeJson = (
  outcomes: ReadonlyArray<FileOutcome>,
  problems: ReadonlyArray<string>,
  elapsed: number
): object => ({
  files: outcomes.map(fileJson),
  problems,
  inserted: sum(outcomes, (summary) => summary.inserted),
  known: sum(outcomes, known),
  conflicts: sum(outcomes, (summary) => summary.conflicts),
  not_stored: Object.fromEntries(notStoredOf(outcomes)),
  failed: outcomes.filter(({ error }) => error !== undefined).length + problems.length,
  seconds: elapsed
})
