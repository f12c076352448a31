/** A limit in money for what is billed: asked for before, refused before. */
import { Decimal, ProviderBudgetExceeded, ProviderError } from "@data-manager/core"
import { Effect } from "effect"
import type { DataRequest } from "./HistoricalRequest.ts"
import type { Metadata } from "./Metadata.ts"

/** Asks for the price of a request where a limit is given, and refuses what is above it. */
export const checkCost = (
  metadata: Metadata,
  request: DataRequest,
  maxCostUsd: Decimal.Decimal | undefined
): Effect.Effect<void, ProviderError> =>
  maxCostUsd === undefined
    ? Effect.void
    : Effect.flatMap(metadata.cost(request), ({ value: cost }) =>
        Decimal.compare(cost, maxCostUsd) <= 0
          ? Effect.void
          : Effect.fail(
              new ProviderError({
                provider: "databento",
                operation: `${request.dataset} ${request.schema}`,
                reason: new ProviderBudgetExceeded({
                  detail: `this costs ${Decimal.format(cost)} USD, the limit is ${Decimal.format(maxCostUsd)} USD: nothing was fetched`,
                  costUsd: Decimal.toNumber(cost),
                  limitUsd: Decimal.toNumber(maxCostUsd)
                })
              })
            )
      )
