/** `dm tail`: rows of a ring as they come. */
import { Decimal, type StartPosition, UnixNanos } from "@data-manager/core"
import { Option } from "effect"
import { Command, Flag } from "effect/cli"
import { lazily } from "../Action.ts"
import * as Flags from "../Flags.ts"
import { placeOptions, ringName } from "./Ring.ts"

const startOf = (text: string): StartPosition | undefined => {
  if (text === "latest") return { _tag: "Latest" }
  if (text === "oldest") return { _tag: "Oldest" }
  if (/^\d{1,18}$/.test(text)) return { _tag: "Sequence", sequence: BigInt(text) }
  const time = UnixNanos.parse(text)
  return time === undefined ? undefined : { _tag: "Time", time }
}

const from = Flag.String("from").pipe(
  Flag.filterMap(
    (text) => Option.fromUndefinedOr(startOf(text)),
    () => "latest, oldest, the position of a row, or a time such as 2026-01-05T14:30 (UTC)"
  ),
  Flag.withMetavar("WHERE"),
  Flag.optional,
  Flag.map(Option.getOrUndefined),
  Flag.withDescription(
    "latest, oldest, the position of a row, or a time: what was published since, and up to a second more. Default: latest"
  )
)

const decimal = (name: string, metavar: string, description: string) =>
  Flag.String(name).pipe(
    Flag.filterMap(
      (text) => Option.fromUndefinedOr(Decimal.parse(text)),
      () => "a decimal number such as 0.5"
    ),
    Flag.withMetavar(metavar),
    Flag.optional,
    Flag.map(Option.getOrUndefined),
    Flag.withDescription(description)
  )

export const tailCommand = Command.make(
  "tail",
  {
    name: ringName,
    symbols: Flags.symbols,
    from,
    last: Flags.count("last", 1, 8_192, "Begin with the newest N rows of each symbol"),
    limit: Flags.count("limit", 1, Number.MAX_SAFE_INTEGER, "End after N rows. Default: go on until Ctrl-C"),
    minQuantity: decimal("min-quantity", "SIZE", "Only trades of at least this size"),
    minPriceChange: decimal(
      "min-price-change",
      "PERCENT",
      "Only trades whose price is this far from the last one shown of the symbol"
    ),
    throttle: Flags.count("throttle", 1, 86_400_000, "At most one trade per symbol in so many milliseconds"),
    ...placeOptions
  },
  (options) =>
    lazily(
      () => import("../actions/Tail.ts"),
      (action, session) => action.tail(session, options)
    )
).pipe(
  Command.withDescription(
    "Prints rows of a ring as they are published, until Ctrl-C (exit code 130) or --limit (exit code 0). What was lost, and " +
      "a producer that ends, dies or comes back, is told between the rows; the command waits for the next producer. It " +
      "never slows the producer down: an output that is too slow loses rows, and says which."
  ),
  Command.withShortDescription("Rows of a ring as they come"),
  Command.withExamples([
    { command: "dm tail", description: "Every row of the configuration's ring from now on" },
    {
      command: "dm tail dm-main -s BINANCE.SPOT:BTCUSDT --last 20",
      description: "One symbol, with its history"
    },
    { command: "dm tail dm-main --from oldest --limit 1000 --json", description: "JSON lines for programs" }
  ])
)
