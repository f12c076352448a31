/** `dm dbn`: what is in a DBN file. */
import { Argument, Command } from "effect/cli"
import { lazily } from "../Action.ts"
import * as Flags from "../Flags.ts"
import { fileOptions } from "./Import.ts"

export const dbnCommand = Command.make(
  "dbn",
  {
    files: Argument.String("FILE").pipe(
      Argument.variadic({ min: 1 }),
      Argument.withDescription("DBN files: raw, zstd, legacy DBZ, fragments. - reads standard input")
    ),
    metadata: Flags.toggle("metadata", "The header as one JSON object, as it is stored"),
    csv: Flags.toggle("csv", "Records as CSV; a header line wherever the kind of record changes"),
    pretty: Flags.toggle(
      "pretty",
      "Decimal prices and ISO times in JSON and CSV instead of the stored integers"
    ),
    upgrade: Flags.toggle("upgrade", "Records in the layout of DBN version 3"),
    limit: Flags.count(
      "limit",
      0,
      Number.MAX_SAFE_INTEGER,
      "Most records per file. Default: all; 10 in the summary"
    ),
    ...fileOptions
  },
  (options) =>
    lazily(
      () => import("../actions/Dbn.ts"),
      (action, session) => action.dbn(session, options)
    )
).pipe(
  Command.withShortDescription("Inspect any DBN file"),
  Command.withDescription(
    "Shows what is in DBN files of any version. Without a form it prints the header, what kinds of records there are and " +
      "the first of them; --json and --csv print every record. A file that ends inside a record gives its whole records, " +
      "a message and exit code 1."
  ),
  Command.withExamples([
    { command: "dm dbn trades.dbn.zst", description: "A summary" },
    { command: "dm dbn trades.dbn.zst --json --limit 3", description: "Three records as they are stored" },
    {
      command: "zstd -dc x.dbn.zst | dm dbn - --csv --pretty",
      description: "From a pipe, readable prices and times"
    },
    { command: "dm dbn part.dbn.frag --dbn-version 1 --json", description: "A fragment" }
  ])
)
