/** `dm coverage`: which times are held. */
import { MarketSchema } from "@data-manager/core"
import { Command } from "effect/cli"
import { lazily } from "../Action.ts"
import * as Flags from "../Flags.ts"

export const coverageCommand = Command.make(
  "coverage",
  {
    names: Flags.symbolList(0),
    symbols: Flags.symbols,
    provider: Flags.provider,
    schema: Flags.schema(MarketSchema.all, "One schema alone. Default: all"),
    ...Flags.range({ start: "the beginning", end: "the end" }),
    daily: Flags.toggle("daily", "Rows per day instead of ranges")
  },
  (options) =>
    lazily(
      () => import("../actions/Coverage.ts"),
      (action, session) => action.coverage(session, options)
    )
).pipe(
  Command.withShortDescription("Which times are held"),
  Command.withDescription(
    "Shows for which times the data is complete: held, missing (with its cause), none (the provider has nothing) or " +
      "expired (removed by retention). Ranges are on the clock by which the dataset is indexed and exclude their end."
  ),
  Command.withExamples([
    { command: "dm coverage", description: "Everything" },
    { command: "dm coverage GLBX.MDP3:ESH6 --daily", description: "Rows per day of one symbol" },
    { command: "dm coverage -p databento --schema trades --json" }
  ])
)
