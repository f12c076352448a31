/** The command line `dm`: every command, its options and its help. What the commands do is loaded when they run. */
import { CliConfig, Command, GlobalFlag } from "effect/cli"
import { backfillCommand } from "./commands/Backfill.ts"
import { coverageCommand } from "./commands/Coverage.ts"
import { dbnCommand } from "./commands/Dbn.ts"
import { demoCommand } from "./commands/Demo.ts"
import { doctorCommand } from "./commands/Doctor.ts"
import { exportCommand } from "./commands/Export.ts"
import { importCommand } from "./commands/Import.ts"
import { initCommand } from "./commands/Init.ts"
import { migrateCommand } from "./commands/Migrate.ts"
import { providerCommand } from "./commands/Provider.ts"
import { queryCommand } from "./commands/Query.ts"
import { replayCommand } from "./commands/Replay.ts"
import { ringCommand } from "./commands/Ring.ts"
import { simCommand } from "./commands/Sim.ts"
import { startCommand } from "./commands/Start.ts"
import { statusCommand } from "./commands/Status.ts"
import { symbolsCommand } from "./commands/Symbols.ts"
import { tailCommand } from "./commands/Tail.ts"
import { globalFlags } from "./Session.ts"

export const dm = Command.make("dm").pipe(
  Command.withDescription(
    "Market data, collected once and served many times. Without configuration everything lives in an embedded " +
      "PostgreSQL; [database] url or DM_DATABASE_URL names a server of yours. Results go to standard output, everything " +
      "else to standard error."
  ),
  Command.withExamples([
    { command: "dm demo", description: "See everything work in a minute" },
    { command: "dm import ~/data/*.dbn.zst", description: "Load files" },
    { command: "dm query bars GLBX.MDP3:ESH6 --timeframe 5m", description: "Look at them" }
  ]),
  Command.withSubcommands([
    { group: "Begin", commands: [demoCommand, initCommand, simCommand, providerCommand] },
    {
      group: "Data",
      commands: [
        importCommand,
        backfillCommand,
        queryCommand,
        exportCommand,
        coverageCommand,
        symbolsCommand,
        dbnCommand
      ]
    },
    { group: "Live", commands: [startCommand, tailCommand, replayCommand, ringCommand] },
    { group: "Database", commands: [migrateCommand, statusCommand, doctorCommand] }
  ]),
  Command.withGlobalFlags(globalFlags)
)

/** Options that the parser brings itself: the wizard and its own log level are left out. */
export const cliConfig = CliConfig.make({
  builtIns: [GlobalFlag.Help, GlobalFlag.Version, GlobalFlag.Completions]
})
