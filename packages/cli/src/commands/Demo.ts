/** `dm demo`: a synthetic day through everything. */
import { Command } from "effect/cli"
import { lazily } from "../Action.ts"
import * as Flags from "../Flags.ts"

export const demoCommand = Command.make(
  "demo",
  {
    trades: Flags.count("trades", 1_000, 100_000_000, "Trades of the synthetic day. Default: 1000000"),
    keep: Flags.toggle("keep", "Keep the DBN file that was made")
  },
  (options) =>
    lazily(
      () => import("../actions/Demo.ts"),
      (action, session) => action.demo(session, options)
    )
).pipe(
  Command.withShortDescription("A synthetic trading day through everything; no key, no network"),
  Command.withDescription(
    "Makes a synthetic trading day of 200 symbols as a DBN file, imports it into an embedded database of its own, shows " +
      "what is held, bars with candles and a query with its time, and what to try next. Every run gives the same data."
  ),
  Command.withExamples([
    { command: "dm demo" },
    { command: "dm demo --data-dir /tmp/dm-demo --keep", description: "In a folder of your choice" }
  ])
)
