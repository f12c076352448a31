/** `dm query trades|quotes|bars|book|conflicts`: rows of one symbol, for eyes and for programs. */
import { MarketSchema, Timeframe } from "@data-manager/core"
import { Option } from "effect"
import { Command, Flag } from "effect/cli"
import { lazily } from "../Action.ts"
import * as Flags from "../Flags.ts"

const rowOptions = {
  symbol: Flags.symbol,
  ...Flags.range({
    start: "with --end the first row held, else so that the newest rows are shown",
    end: "now"
  })
}

const limit = (rows: number) =>
  Flags.count(
    "limit",
    0,
    1_000_000_000,
    `Most rows to print, 0 for all. Default: ${rows}; with --json and --start all`
  )

/** `--timeframe` and its siblings, for bars. */
export const barOptions = {
  timeframe: Flag.Literals("timeframe", [...Timeframe.all, ...Flags.schemasOf("bars")]).pipe(
    Flag.withAlias("t"),
    Flag.withMetavar("LENGTH"),
    Flag.withDefault("1m"),
    Flag.withDescription(
      "Length of a bar, or a series of the provider's by its schema: ohlcv-eod has one bar per session. Default: 1m"
    )
  ),
  source: Flag.Literals("source", ["trades", "provider"]).pipe(
    Flag.withMetavar("SOURCE"),
    Flag.optional,
    Flag.map(Option.getOrUndefined),
    Flag.withDescription(
      "Bars made from the stored trades, or the provider's own. Default: trades, and provider for a schema"
    )
  ),
  fill: Flags.toggle("fill", "Put a bar without volume where nothing was traded")
}

/** `--schema` of quotes. */
export const quoteSchema = Flags.schema(
  Flags.schemasOf("quotes"),
  "Which quotes. Default: the one that is held"
)

/** `--schema` of books. */
export const bookSchema = Flags.schema(Flags.schemasOf("book"), "Which books. Default: the one that is held")

const trades = Command.make("trades", { ...rowOptions, limit: limit(20) }, (options) =>
  lazily(
    () => import("../actions/Query.ts"),
    (action, session) => action.query(session, { kind: "trades", ...options })
  )
).pipe(
  Command.withDescription(
    "Trades of a symbol, in time order: price, size, aggressor side and the venue's id."
  ),
  Command.withShortDescription("Trades"),
  Command.withExamples([
    { command: "dm query trades GLBX.MDP3:ESH6", description: "The newest 20" },
    {
      command: "dm query trades ESH6 --start 2026-01-05T14:30 --end 2026-01-05T14:31 --limit 0 --json",
      description: "A minute, as JSON lines with exact numbers"
    }
  ])
)

const quotes = Command.make("quotes", { ...rowOptions, limit: limit(20), schema: quoteSchema }, (options) =>
  lazily(
    () => import("../actions/Query.ts"),
    (action, session) => action.query(session, { kind: "quotes", ...options })
  )
).pipe(
  Command.withDescription("Best bid and ask of a symbol, in time order."),
  Command.withShortDescription("Best bid and ask"),
  Command.withExamples([
    { command: "dm query quotes GLBX.MDP3:ESH6 --limit 5", description: "The newest 5" },
    {
      command: "dm query quotes ESH6 --schema bbo-1s --start 2026-01-05 --end 2026-01-06",
      description: "Quotes sampled every second"
    }
  ])
)

const bars = Command.make("bars", { ...rowOptions, limit: limit(60), ...barOptions }, (options) =>
  lazily(
    () => import("../actions/Query.ts"),
    (action, session) => action.query(session, { kind: "bars", ...options })
  )
).pipe(
  Command.withDescription("Open, high, low, close and volume of a symbol, with a picture of candles."),
  Command.withShortDescription("Open, high, low, close, volume"),
  Command.withExamples([
    {
      command: "dm query bars GLBX.MDP3:ESH6 --start 2026-01-05 --end 2026-01-06 --timeframe 5m",
      description: "A day in bars of five minutes"
    },
    { command: "dm query bars ESH6 -t 1h --json", description: "The newest hours as JSON lines" },
    { command: "dm query bars ESH6 -t ohlcv-eod", description: "The provider's bars of whole sessions" }
  ])
)

const book = Command.make("book", { ...rowOptions, limit: limit(5), schema: bookSchema }, (options) =>
  lazily(
    () => import("../actions/Query.ts"),
    (action, session) => action.query(session, { kind: "book", ...options })
  )
).pipe(
  Command.withDescription("Order books of up to ten levels."),
  Command.withShortDescription("Order books"),
  Command.withExamples([
    { command: "dm query book GLBX.MDP3:ESH6 --limit 1", description: "The newest book" },
    { command: "dm query book ESH6 --start 2026-01-05T14:30 --json", description: "Books as JSON lines" }
  ])
)

const conflicts = Command.make(
  "conflicts",
  {
    names: Flags.symbolList(0),
    symbols: Flags.symbols,
    provider: Flags.provider,
    schema: Flags.schema(MarketSchema.all, "One schema alone. Default: all"),
    ...Flags.range({ start: "the beginning", end: "the end" }),
    limit: Flags.count(
      "limit",
      0,
      1_000_000_000,
      "Most conflicts to print, 0 for all. Default: 20; with --json all"
    )
  },
  (options) =>
    lazily(
      () => import("../actions/Conflicts.ts"),
      (action, session) => action.conflicts(session, options)
    )
).pipe(
  Command.withDescription(
    "Rows whose key met different content: what is stored, what was set aside, in which fields they differ, and the run " +
      "that brought it. Of all symbols where none is named; * and ? stand for any text and any character."
  ),
  Command.withShortDescription("Rows that met another content under their key"),
  Command.withExamples([
    { command: "dm query conflicts", description: "The first 20" },
    { command: "dm query conflicts 'GLBX.MDP3:ES*' --json", description: "Both rows whole, as JSON lines" }
  ])
)

export const queryCommand = Command.make("query").pipe(
  Command.withDescription(
    "Shows stored rows of one symbol. Ranges include --start and exclude --end; times are UTC. " +
      "Without --start the newest rows are shown."
  ),
  Command.withShortDescription("Look at stored trades, quotes, bars and books"),
  Command.withExamples([
    { command: "dm query bars GLBX.MDP3:ESH6 --timeframe 5m", description: "Candles" },
    { command: "dm query trades ESH6 --limit 5 --json", description: "For programs" }
  ]),
  Command.withSubcommands([trades, quotes, bars, book, conflicts])
)
