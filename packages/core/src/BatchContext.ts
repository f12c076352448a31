/** What all rows of a batch share: who delivered them, and how ids in the columns turn into text. */
import { emptyDirectory, type InstrumentDirectory } from "./Instrument.ts"
import type { ReplayMark } from "./ReplayMark.ts"
import type { TradeKeyKind } from "./TradeKey.ts"

/** A batch is of one dataset of one provider. */
export interface BatchContext {
  /** `databento`, `binance`. */
  readonly provider: string
  /** `GLBX.MDP3`, `BINANCE.SPOT`. */
  readonly dataset: string
  /** Instruments that the `instrument` column refers to. */
  readonly instruments: InstrumentDirectory
  /** How the key column was made. */
  readonly keyKind: TradeKeyKind
  /** Venue name of a publisher id, where the provider numbers its publishers. */
  readonly venueOf: (publisher: number) => string | undefined
  /** The rows are a replay of stored ones; absent: they are live, or history that was asked for. */
  readonly replay?: ReplayMark | undefined
}

/** A context with the usual defaults: no instruments known, sequenced keys, unnamed publishers. */
export const batchContext = (
  context: Pick<BatchContext, "provider" | "dataset"> & Partial<BatchContext>
): BatchContext => ({
  instruments: emptyDirectory,
  keyKind: "sequenced",
  venueOf: () => undefined,
  ...context
})
