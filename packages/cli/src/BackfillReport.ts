/** What a backfill says: the plan with its price, and what became of it, for people and programs. */
import {
  type Backfill,
  type BackfillPlan,
  Coverage,
  Decimal,
  type Estimate,
  type ProviderError,
  type StoreError,
  UnixNanos
} from "@data-manager/core"
import { bytes, grouped, plural, rate, seconds } from "./NumberText.ts"
import type { Paint } from "./Paint.ts"
import { table } from "./Table.ts"
import { short } from "./TimeText.ts"

/** A plan and what it would take. */
export interface PricedPlan {
  readonly plan: BackfillPlan.BackfillPlan
  readonly estimate: Estimate
}

/** What became of the chunks of all plans. */
export interface BackfillOutcome {
  readonly done: ReadonlyArray<Backfill.ChunkSummary>
  readonly failed: ReadonlyArray<{
    readonly chunk: BackfillPlan.BackfillChunk
    readonly error: ProviderError | StoreError
  }>
  readonly seconds: number
}

const symbolsText = (symbols: ReadonlyArray<string>): string =>
  symbols.length <= 3
    ? symbols.join(", ")
    : `${symbols.slice(0, 2).join(", ")} and ${symbols.length - 2} more`

const dollars = (cost: Decimal.Decimal | undefined): string => {
  if (cost === undefined) return ""
  const value = Decimal.toNumber(cost)
  return value > 0 && value < 0.01 ? "< 0.01" : value.toFixed(2)
}

/** A row per plan. */
export const planTable = (plans: ReadonlyArray<PricedPlan>, paint: Paint): ReadonlyArray<string> => {
  // Of providers whose pace is known beforehand.
  const isTimed = plans.some(({ estimate }) => estimate.seconds !== undefined)
  return table(
    [
      { header: "dataset" },
      { header: "schema" },
      { header: "symbols" },
      { header: "from" },
      { header: "to" },
      { header: "chunks", align: "right" },
      { header: "requests", align: "right" },
      { header: "records", align: "right" },
      { header: "bytes", align: "right" },
      { header: "USD", align: "right" },
      ...(isTimed ? [{ header: "time", align: "right" } as const] : [])
    ],
    plans.map(({ plan: { request, chunks }, estimate }) => {
      const symbols = [...new Set(chunks.flatMap((chunk) => chunk.symbols))]
      const start = chunks[0]?.range.start
      const end = chunks.reduce<bigint | undefined>(
        (last, { range }) => (last === undefined || range.end > last ? range.end : last),
        undefined
      )
      return [
        request.dataset,
        request.schema,
        symbolsText(symbols),
        start === undefined ? "" : short(start),
        end === undefined ? "" : short(end),
        grouped(chunks.length),
        grouped(estimate.requests),
        estimate.records === undefined ? "" : grouped(estimate.records),
        estimate.bytes === undefined ? "" : bytes(estimate.bytes),
        dollars(estimate.costUsd),
        ...(isTimed ? [estimate.seconds === undefined ? "" : seconds(estimate.seconds)] : [])
      ]
    }),
    paint
  )
}

/** Sentences about what is not fetched, and why. */
export const planNotes = (plans: ReadonlyArray<PricedPlan>): ReadonlyArray<string> => [
  ...plans.flatMap(({ plan: { outside, request } }) =>
    outside.map(
      ({ start, end }) =>
        `${request.dataset} ${request.schema}: the provider has nothing from ${short(start)} to ${short(end)}`
    )
  ),
  ...plans.flatMap(({ plan: { complete, request } }) =>
    complete.length === 0 ? [] : [`${request.dataset}: held already: ${symbolsText(complete)}`]
  ),
  ...plans.flatMap(({ plan: { revised, request } }) =>
    revised.map(
      ({ start, end }) =>
        `${request.dataset} ${request.schema}: revised by the provider since it was fetched, so fetched again: ${short(start)} to ${short(end)}`
    )
  ),
  ...plans.flatMap(({ plan: { skipped, request } }) =>
    skipped.expired === 0n
      ? []
      : [`${request.dataset}: what retention removed is left out; --include-expired fetches it again`]
  )
]

/** The command that fetches a failed chunk again. */
export const repeatCommand = (provider: string, chunk: BackfillPlan.BackfillChunk): string => {
  const { dataset, schema, stypeIn, symbols, range } = chunk
  const end = UnixNanos.toIso(range.end)
  return `dm backfill -p ${provider} --dataset ${dataset} -s '${symbols.join(",")}' --stype-in ${stypeIn} --schema ${schema} --start ${UnixNanos.toIso(range.start)} --end ${end}`
}

/** Symbols that were asked for and that no chunk knew; for programs that should not take nothing for an answer. */
export const unknownSymbols = ({ done, failed }: BackfillOutcome): ReadonlyArray<string> => {
  const unknown = new Set(done.flatMap((summary) => summary.unknown))
  for (const { chunk, unknown: here, known } of done) {
    if (unknown.size === 0) break
    const absent = new Set(here)
    if (!known) for (const symbol of chunk.symbols) if (!absent.has(symbol)) unknown.delete(symbol)
  }
  for (const { chunk } of failed) for (const symbol of chunk.symbols) unknown.delete(symbol)
  return [...unknown]
}

/** Rows that were stored the ordinary way although the bulk profile was asked for. */
const unfitNotes = (done: ReadonlyArray<Backfill.ChunkSummary>): ReadonlyArray<string> => {
  const unfit = done.flatMap((summary) => summary.unfit ?? [])
  if (unfit.length === 0) return []
  const rows = unfit.reduce((sum, each) => sum + each.rows, 0)
  return [`${plural(rows, "row")} did not fit the bulk profile and went the ordinary way: ${unfit[0]!.why}`]
}

/** Sentences at the end. */
export const outcomeNotes = (provider: string, outcome: BackfillOutcome): ReadonlyArray<string> => {
  const { done, failed, seconds: elapsed } = outcome
  const sum = (of: (summary: Backfill.ChunkSummary) => number): number =>
    done.reduce((total, summary) => total + of(summary), 0)
  const inserted = sum((summary) => summary.inserted)
  const known = sum((summary) => summary.duplicates)
  const conflicts = sum((summary) => summary.conflicts)
  const never = unknownSymbols(outcome)
  const unknown = [...new Set(done.flatMap((summary) => summary.unknown))].filter(
    (symbol) => !never.includes(symbol)
  )
  const fetched = done.filter((summary) => !summary.known).length
  const before = done.length - fetched
  const speed = inserted > 0 && elapsed >= 0.1 ? `, ${rate(inserted, elapsed)}` : ""
  return [
    `${plural(inserted, "new row")} from ${plural(fetched, "chunk")} in ${seconds(elapsed)}${speed}` +
      (known > 0 ? `; ${plural(known, "row")} known before` : ""),
    ...(before > 0 ? [`${plural(before, "chunk")} fetched before`] : []),
    ...(conflicts > 0 ? [`${plural(conflicts, "row")} replaced stored ones of other content`] : []),
    ...unfitNotes(done),
    ...(unknown.length > 0 ? [`not listed for all of this time: ${symbolsText(unknown)}`] : []),
    ...(never.length > 0
      ? [
          `not known to the provider in this time: ${symbolsText(never)}; ` +
            "check the spelling (`dm symbols discover` asks for what is listed), --dataset and --stype-in"
        ]
      : []),
    ...(failed.length > 0
      ? [
          `${plural(failed.length, "chunk")} failed; to fetch them again:`,
          ...failed.map(({ chunk }) => `  ${repeatCommand(provider, chunk)}`)
        ]
      : [])
  ]
}

const rangeJson = ({ start, end }: { readonly start: bigint; readonly end: bigint }) => ({
  start: UnixNanos.toIso(start),
  end: UnixNanos.toIso(end)
})

/** A plan for programs; counts are numbers where they are exact, money is text. */
export const planJson = ({ plan, estimate }: PricedPlan): object => ({
  dataset: plan.request.dataset,
  schema: plan.request.schema,
  stype_in: plan.request.stypeIn,
  chunks: plan.chunks.map((chunk) => ({ symbols: chunk.symbols, ...rangeJson(chunk.range) })),
  complete: plan.complete,
  outside: plan.outside.map(rangeJson),
  revised: plan.revised.map(rangeJson),
  skipped_seconds: {
    held: Number(plan.skipped.held / UnixNanos.PerSecond),
    expired: Number(plan.skipped.expired / UnixNanos.PerSecond),
    none: Number(plan.skipped.none / UnixNanos.PerSecond)
  },
  missing_seconds: Number(
    plan.chunks.reduce(
      (total, chunk) => total + Coverage.duration([chunk.range]) * BigInt(chunk.symbols.length),
      0n
    ) / UnixNanos.PerSecond
  ),
  requests: estimate.requests,
  records: estimate.records === undefined ? null : Number(estimate.records),
  bytes: estimate.bytes === undefined ? null : Number(estimate.bytes),
  cost_usd: estimate.costUsd === undefined ? null : Decimal.format(estimate.costUsd),
  seconds: estimate.seconds ?? null
})

/** The whole backfill for programs. */
export const outcomeJson = (
  provider: string,
  plans: ReadonlyArray<PricedPlan>,
  outcome: BackfillOutcome | undefined
): object => ({
  provider,
  plans: plans.map(planJson),
  ...(outcome === undefined
    ? { dry_run: true }
    : {
        dry_run: false,
        chunks: outcome.done.map((summary) => ({
          dataset: summary.chunk.dataset,
          symbols: summary.chunk.symbols,
          ...rangeJson(summary.chunk.range),
          inserted: summary.inserted,
          duplicates: summary.duplicates,
          conflicts: summary.conflicts,
          unfit_for_bulk: summary.unfit?.rows ?? 0,
          unknown: summary.unknown,
          known_before: summary.known
        })),
        failed: outcome.failed.map(({ chunk, error }) => ({
          dataset: chunk.dataset,
          symbols: chunk.symbols,
          ...rangeJson(chunk.range),
          error: error.message,
          repeat: repeatCommand(provider, chunk)
        })),
        unknown: unknownSymbols(outcome),
        seconds: outcome.seconds
      })
})
