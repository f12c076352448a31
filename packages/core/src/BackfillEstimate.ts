/**
 * What a plan would take, and the refusal of one that is too dear.
 *
 * A provider that bills answers by calls which it counts, so neighbouring chunks of the same symbols are priced as the one
 * request that they could be: years of a symbol are a few calls, not a few per week.
 */
import { Effect } from "effect"
import type { BackfillChunk, BackfillPlan } from "./BackfillPlan.ts"
import * as Decimal from "./Decimal.ts"
import type { Estimate, HistoryRequest, Provider } from "./Provider.ts"
import { isUnknownSymbols, ProviderBudgetExceeded, ProviderError } from "./ProviderError.ts"

/** Up to so many chunks are priced one by one: exact, and answered before anybody waits. */
const PricedAlone = 16

/**
 * A price of spans leaves out what each chunk may fetch beside its own time so that groups of rows are whole: moments at
 * every inner border. Where a limit is within this share of the price, chunks are priced one by one after all.
 */
const NearLimitPercent = 2n

/** Estimates of one provider asked at the same time. */
const AtOnce = 8

/**
 * What plans would take, an estimate each. Figures that the provider does not give for every part are absent; a part that it
 * will not serve as asked fails when it is fetched, not here. `maxCostUsd` is the limit that the sum will be compared with,
 * if any: near to it the price is worked out chunk by chunk.
 */
export const estimatePlans = Effect.fnUntraced(function* <R>(
  provider: Provider<R>,
  plans: ReadonlyArray<BackfillPlan>,
  maxCostUsd?: Decimal.Decimal | undefined
) {
  const estimates = yield* Effect.forEach(plans, ({ chunks }) =>
    estimateSpans(provider, spansOf(provider, chunks))
  )
  const { costUsd } = sumEstimates(estimates)
  return maxCostUsd === undefined || !isNear(costUsd, maxCostUsd)
    ? estimates
    : yield* Effect.forEach(plans, ({ chunks }) => estimateSpans(provider, chunks.map(alone)))
})

/** What one plan would take. */
export const estimate = <R>(
  provider: Provider<R>,
  plan: BackfillPlan
): Effect.Effect<Estimate, ProviderError, R> => estimateSpans(provider, spansOf(provider, plan.chunks))

/** Requests that follow each other in time, priced as one. */
interface PricedSpan {
  readonly request: HistoryRequest
  readonly chunks: number
}

const alone = (request: BackfillChunk): PricedSpan => ({ request, chunks: 1 })

/**
 * Chunks as spans to price. Where one request may have any length, chunks of one list of symbols that meet are one span;
 * other providers work their estimates out themselves, chunk by chunk.
 */
const spansOf = <R>(
  { capabilities }: Provider<R>,
  chunks: ReadonlyArray<BackfillChunk>
): ReadonlyArray<PricedSpan> => {
  if (!capabilities.billed || capabilities.maxDays > 0 || chunks.length <= PricedAlone)
    return chunks.map(alone)
  const spans: Array<PricedSpan> = []
  const open = new Map<string, number>()
  for (const chunk of chunks) {
    const key = chunk.symbols.join()
    const at = open.get(key)
    const last = at === undefined ? undefined : spans[at]!
    if (last === undefined || last.request.range.end !== chunk.range.start) {
      open.set(key, spans.length)
      spans.push(alone(chunk))
      continue
    }
    const range = { start: last.request.range.start, end: chunk.range.end }
    spans[at!] = { request: { ...last.request, range }, chunks: last.chunks + 1 }
  }
  return spans
}

/** What a request of symbols that mean nothing in its time takes. */
const nothing = { records: 0n, bytes: 0n, costUsd: Decimal.make(0n, 0) }

const estimateSpans = <R>(
  provider: Provider<R>,
  spans: ReadonlyArray<PricedSpan>
): Effect.Effect<Estimate, ProviderError, R> => {
  const one = ({ request, chunks }: PricedSpan): Effect.Effect<Estimate, ProviderError, R> =>
    provider.estimate(request).pipe(
      Effect.map((part) => ({ ...part, requests: part.requests * chunks })),
      Effect.catch((error) =>
        isUnknownSymbols(error)
          ? Effect.succeed({ ...nothing, requests: chunks })
          : error.reason._tag === "ProviderBadRequest"
            ? Effect.succeed({ requests: chunks })
            : Effect.fail(error)
      )
    )
  return Effect.map(Effect.forEach(spans, one, { concurrency: AtOnce }), sumEstimates)
}

/** Whether a price is below the limit, but by so little that what it leaves out may count. */
const isNear = (cost: Decimal.Decimal | undefined, limit: Decimal.Decimal): boolean => {
  if (cost === undefined || Decimal.compare(cost, limit) > 0) return false
  const { mantissa, exponent } = cost
  return Decimal.compare(Decimal.make(mantissa * (100n + NearLimitPercent), exponent - 2), limit) > 0
}

/** What several requests take together; a figure that one of them lacks is absent. */
export const sumEstimates = (parts: ReadonlyArray<Estimate>): Estimate => {
  const all = <A>(pick: (part: Estimate) => A | undefined): ReadonlyArray<A> | undefined => {
    const values = parts.map(pick)
    return values.includes(undefined) ? undefined : (values as ReadonlyArray<A>)
  }
  const sum = (values: ReadonlyArray<bigint> | undefined): bigint | undefined =>
    values?.reduce((a, b) => a + b, 0n)
  const weights = all((part) => part.weight)
  return {
    requests: parts.reduce((n, part) => n + part.requests, 0),
    records: sum(all((part) => part.records)),
    bytes: sum(all((part) => part.bytes)),
    costUsd: all((part) => part.costUsd)?.reduce(Decimal.add, Decimal.make(0n, 0)),
    weight:
      weights === undefined || weights.length === 0
        ? undefined
        : { units: weights.reduce((n, { units }) => n + units, 0), perMinute: weights[0]!.perMinute },
    seconds: all((part) => part.seconds)?.reduce((a, b) => a + b, 0)
  }
}

/** Refuses a plan that costs more than the limit, or whose price cannot be told, before anything is fetched. */
export const checkBudget = <R>(
  provider: Provider<R>,
  cost: Estimate,
  maxCostUsd: Decimal.Decimal | undefined
): Effect.Effect<void, ProviderError> => {
  if (maxCostUsd === undefined) return Effect.void
  const refuse = (detail: string, costUsd?: number) =>
    Effect.fail(
      new ProviderError({
        provider: provider.id,
        operation: "backfill",
        reason: new ProviderBudgetExceeded({ detail, costUsd, limitUsd: Decimal.toNumber(maxCostUsd) })
      })
    )
  const limit = `the limit is ${Decimal.format(maxCostUsd)} USD: nothing was fetched`
  if (cost.costUsd === undefined)
    return provider.capabilities.billed ? refuse(`the price cannot be told, ${limit}`) : Effect.void
  return Decimal.compare(cost.costUsd, maxCostUsd) <= 0
    ? Effect.void
    : refuse(`this costs ${Decimal.format(cost.costUsd)} USD, ${limit}`, Decimal.toNumber(cost.costUsd))
}
