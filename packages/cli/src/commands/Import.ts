/** `dm import`: files into the store. */
import { Argument, Command } from "effect/cli"
import { lazily } from "../Action.ts"
import * as Flags from "../Flags.ts"

export const fileOptions = {
  dbnVersion: Flags.count(
    "dbn-version",
    1,
    3,
    "DBN version of fragments, which have no header to tell it. Default: 3"
  ),
  tsOut: Flags.toggle("ts-out", "Records of fragments carry the gateway's send time")
}

export const importCommand = Command.make(
  "import",
  {
    files: Argument.String("FILE").pipe(
      Argument.variadic({ min: 1 }),
      Argument.withDescription(
        "Files, patterns such as 'data/*.dbn.zst', or folders, which are searched for DBN files"
      )
    ),
    dryRun: Flags.toggle("dry-run", "Show what is in each file; write nothing"),
    dataset: Flags.text("dataset", "NAME", "Dataset of fragments, such as GLBX.MDP3"),
    ...fileOptions,
    replace: Flags.toggle(
      "replace",
      "Where a stored row has the same key and other content, keep the file's row instead of the stored one"
    ),
    bulk: Flags.toggle(
      "bulk",
      "Write trades straight into the columnstore of TimescaleDB, for large files of few instruments; what does not fit is refused"
    ),
    again: Flags.toggle("again", "Read files again that are known as completely imported")
  },
  (options) =>
    lazily(
      () => import("../actions/Import.ts"),
      (action, session) => action.importFiles(session, options)
    )
).pipe(
  Command.withShortDescription("Load DBN files; a second time adds nothing"),
  Command.withDescription(
    "Loads DBN files (.dbn, .dbn.zst, .dbz, fragments; any version) into the database. Every row is stored exactly once: " +
      "a file that was imported before is recognised, and an interrupted import continues where it stopped. " +
      "A bad file is reported and the others are still imported; the exit code is 1 then."
  ),
  Command.withExamples([
    { command: "dm import ~/data/glbx-mdp3-20260105.trades.dbn.zst", description: "One file" },
    { command: "dm import ~/data", description: "Every DBN file in a folder and below" },
    {
      command: "dm import --dry-run 'data/*.dbn.zst'",
      description: "What is in the files, without a database"
    },
    {
      command: "dm import --dataset GLBX.MDP3 --dbn-version 2 part.dbn.frag",
      description: "A fragment, which does not say what it is"
    },
    {
      command: "dm import --bulk 'history/*.trades.dbn.zst'",
      description: "Years of trades, one instrument a file, on TimescaleDB"
    }
  ])
)
