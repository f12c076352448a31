/** Limits in money and size for what is billed: asked for before, refused before. */
import { Decimal, ProviderBudgetExceeded, ProviderError } from "@data-manager/core"
import { Effect } from "effect"
import type { DataRequest } from "./HistoricalRequest.ts"
import type { Metadata } from "./Metadata.ts"

/** What a billed request may take at the most. */
export interface RequestLimits {
  /** Refuse before anything is billed where the service asks for more, US dollars. */
  readonly maxCostUsd?: Decimal.Decimal | undefined
  /** Refuse before anything is billed where there is more: bytes of uncompressed records, as the service bills them. */
  readonly maxBytes?: bigint | undefined
}

/** Asks for price and size of a request where there is a limit to either, and refuses what is above it. */
export const checkLimits = (
  metadata: Metadata,
  request: DataRequest,
  { maxBytes, maxCostUsd }: RequestLimits
): Effect.Effect<void, ProviderError> =>
  maxBytes === undefined && maxCostUsd === undefined
    ? Effect.void
    : Effect.gen(function* () {
        const [{ value: cost }, { value: bytes }] = yield* Effect.all(
          [metadata.cost(request), metadata.billableSize(request)],
          { concurrency: 2 }
        )
        const takes = `this costs ${Decimal.format(cost)} USD for ${bytes} bytes`
        if (maxCostUsd !== undefined && Decimal.compare(cost, maxCostUsd) > 0)
          return yield* exceeded(request, cost, {
            detail: `${takes}, the limit is ${Decimal.format(maxCostUsd)} USD`,
            limitUsd: Decimal.toNumber(maxCostUsd)
          })
        if (maxBytes !== undefined && bytes > maxBytes)
          return yield* exceeded(request, cost, { detail: `${takes}, the limit is ${maxBytes} bytes` })
      })

const exceeded = (
  request: DataRequest,
  cost: Decimal.Decimal,
  { detail, limitUsd }: { readonly detail: string; readonly limitUsd?: number }
): ProviderError =>
  new ProviderError({
    provider: "databento",
    operation: `${request.dataset} ${request.schema}`,
    reason: new ProviderBudgetExceeded({
      detail: `${detail}: nothing was fetched`,
      costUsd: Decimal.toNumber(cost),
      limitUsd
    })
  })
