/** What every transport checks of a subscription before it is opened, and where its reading starts. */
import type { RowKind } from "./MarketSchema.ts"
import { AllSymbols } from "./Provider.ts"
import type { StartPosition, SubscriptionKind } from "./Subscription.ts"
import { conditionProblem } from "./SubscriptionKindFiltered.ts"

/** Deepest snapshot of a symbol, rows. */
export const MaxSnapshotDepth = 8_192

/** Why a subscription cannot be served as asked, or undefined. `rows` is what the publication holds. */
export const requestProblem = (
  kind: SubscriptionKind,
  rows: RowKind,
  start: StartPosition | undefined
): string | undefined => {
  if (kind.symbols.length === 0) return `no symbols; give some, or "${AllSymbols}"`
  if (kind._tag === "Filtered")
    return rows === "trades" ? conditionProblem(kind) : `conditions are for trades, these are ${rows}`
  const depth =
    kind._tag === "SnapshotDelta" ? kind.snapshotDepth : start?._tag === "LastPerSymbol" ? start.count : 0
  if (!(Number.isInteger(depth) && depth >= 0 && depth <= MaxSnapshotDepth))
    return `depth is ${depth}; give 0 to ${MaxSnapshotDepth}`
  if (kind._tag === "SnapshotDelta" && start !== undefined && start._tag !== "Latest")
    return "a snapshot starts at the newest rows; leave the start position out"
  return undefined
}

/** Where reading starts. */
export const startPosition = (kind: SubscriptionKind, start: StartPosition | undefined): StartPosition =>
  kind._tag === "SnapshotDelta"
    ? { _tag: "LastPerSymbol", count: kind.snapshotDepth }
    : (start ?? { _tag: "Latest" })
