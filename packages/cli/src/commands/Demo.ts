/** `dm demo`: the whole system. */
import { Option } from "effect"
import { Command, Flag } from "effect/cli"
import { lazily } from "../Action.ts"
import * as Flags from "../Flags.ts"

export const demoCommand = Command.make(
  "demo",
  {
    only: Flag.Literals("only", ["live", "history", "strategy"]).pipe(
      Flag.withMetavar("PART"),
      Flag.optional,
      Flag.map(Option.getOrUndefined),
      Flag.withDescription(
        "live: simulator, service and strategy. history: a day as a file, imported and queried. strategy: the strategy alone, " +
          "on the service of the configuration, until Ctrl-C"
      )
    ),
    seconds: Flags.count("seconds", 1, 3_600, "How long the live part collects. Default: 10"),
    rate: Flags.count("rate", 1, 10_000_000, "Live trades per second. Default: 5000"),
    trades: Flags.count("trades", 1_000, 100_000_000, "Trades of the synthetic day. Default: 1000000"),
    symbols: Flags.symbols,
    keep: Flags.toggle("keep", "Keep the files and the database that were made")
  },
  (options) =>
    lazily(
      () => import("../actions/Demo.ts"),
      (action, session) => action.demo(session, options)
    )
).pipe(
  Command.withShortDescription("The whole system on made-up markets; no key, no network"),
  Command.withDescription(
    "First live: a simulator of the vendor, the service with its embedded database and ring, and a strategy on it that prints " +
      "its signals and how old the trades are when they come; at the end every trade that was sent is in the database, " +
      "once. Everything is in a folder of its own and removed. Then history: a synthetic trading day of 200 symbols as a DBN " +
      "file, imported into an embedded database that is kept, with what is held, bars, a query with its time, and what to try " +
      "next."
  ),
  Command.withExamples([
    { command: "dm demo" },
    { command: "dm demo --only live --seconds 60 --rate 200000", description: "More, for longer" },
    { command: "dm demo --data-dir /tmp/dm-demo --keep", description: "In a folder of your choice" },
    { command: "dm demo --only strategy", description: "Beside a `dm start` of yours" }
  ])
)
