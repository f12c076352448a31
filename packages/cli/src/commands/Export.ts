/** `dm export trades|quotes|bars|book`: rows into a file or pipe, exact. */
import { Command, Flag } from "effect/cli"
import { lazily } from "../Action.ts"
import * as Flags from "../Flags.ts"
import { barOptions, bookSchema, quoteSchema } from "./Query.ts"

const exportOptions = {
  names: Flags.symbolList(0),
  symbols: Flags.symbols,
  ...Flags.range({ start: "the first row held", end: "the last row held" }),
  format: Flag.Literals("format", ["csv", "jsonl"]).pipe(
    Flag.withAlias("f"),
    Flag.withMetavar("FORMAT"),
    Flag.withDefault("auto"),
    Flag.withDescription(
      "csv with a header line, or jsonl: one JSON object per line. Default: as the name of the file ends, else csv"
    )
  ),
  output: Flag.String("output").pipe(
    Flag.withAlias("o"),
    Flag.withMetavar("FILE"),
    Flag.withDefault("-"),
    Flag.withDescription("File to write; it appears when it is complete. Default: standard output")
  ),
  compress: Flag.Literals("compress", ["none", "gzip", "zstd"]).pipe(
    Flag.withMetavar("HOW"),
    Flag.withDefault("auto"),
    Flag.withDescription("none, gzip or zstd. Default: as the name of the file ends (.gz, .zst)")
  ),
  force: Flags.toggle("force", "Replace a file that exists")
}

const trades = Command.make("trades", exportOptions, (options) =>
  lazily(
    () => import("../actions/Export.ts"),
    (action, session) => action.exportRows(session, { kind: "trades", ...options })
  )
).pipe(
  Command.withDescription("Trades with every stored column."),
  Command.withShortDescription("Trades"),
  Command.withExamples([
    {
      command: "dm export trades GLBX.MDP3:ESH6 --start 2026-01-05 --end 2026-01-06 -o es.csv",
      description: "A day as CSV"
    },
    { command: "dm export trades ESH6 -o es.csv.zst", description: "Everything held, compressed" }
  ])
)

const quotes = Command.make("quotes", { ...exportOptions, schema: quoteSchema }, (options) =>
  lazily(
    () => import("../actions/Export.ts"),
    (action, session) => action.exportRows(session, { kind: "quotes", ...options })
  )
).pipe(
  Command.withDescription("Quotes with every stored column."),
  Command.withShortDescription("Best bid and ask"),
  Command.withExamples([
    {
      command: "dm export quotes ESH6 --schema mbp-1 --format jsonl",
      description: "JSON lines to standard output"
    }
  ])
)

const bars = Command.make("bars", { ...exportOptions, ...barOptions }, (options) =>
  lazily(
    () => import("../actions/Export.ts"),
    (action, session) => action.exportRows(session, { kind: "bars", ...options })
  )
).pipe(
  Command.withDescription("Bars made from trades, or the provider's own."),
  Command.withShortDescription("Open, high, low, close, volume"),
  Command.withExamples([
    {
      command: "dm export bars -s ESH6,NQH6 -t 1d --format csv -o daily.csv",
      description: "Two symbols, daily"
    }
  ])
)

const book = Command.make("book", { ...exportOptions, schema: bookSchema }, (options) =>
  lazily(
    () => import("../actions/Export.ts"),
    (action, session) => action.exportRows(session, { kind: "book", ...options })
  )
).pipe(
  Command.withDescription("Order books; in CSV each level has its own columns."),
  Command.withShortDescription("Order books"),
  Command.withExamples([
    {
      command: "dm export book ESH6 --start 2026-01-05 --format jsonl -o book.jsonl.gz",
      description: "Compressed"
    }
  ])
)

export const exportCommand = Command.make("export").pipe(
  Command.withDescription(
    "Streams stored rows out as CSV or JSON lines: prices and sizes as exact decimals, times with nanoseconds, 64-bit " +
      "numbers as text. Memory use does not grow with the number of rows."
  ),
  Command.withShortDescription("Take rows out as CSV or JSON lines, exact"),
  Command.withExamples([
    { command: "dm export trades ESH6 --start 2026-01-05 --end 2026-01-06 -o es.csv", description: "A file" },
    { command: "dm export bars ESH6 -t 1h --format jsonl | head", description: "A pipe" }
  ]),
  Command.withSubcommands([trades, quotes, bars, book])
)
