/** `dm init`: configuration files to start from. */
import { Argument, Command } from "effect/cli"
import { lazily } from "../Action.ts"
import * as Flags from "../Flags.ts"

export const initCommand = Command.make(
  "init",
  {
    directory: Argument.String("DIR").pipe(
      Argument.withDefault("."),
      Argument.withDescription("Folder to write to; made when missing. Default: the working directory")
    ),
    force: Flags.toggle("force", "Replace files that exist")
  },
  (options) =>
    lazily(
      () => import("../actions/Init.ts"),
      (action, session) => action.init(session, options)
    )
).pipe(
  Command.withShortDescription("Write a commented data-manager.toml and symbols.toml"),
  Command.withDescription(
    "Writes data-manager.toml with every setting, its meaning and its default, and an example symbols.toml. " +
      "Nothing needs to be changed to begin: the defaults use an embedded database."
  ),
  Command.withExamples([
    { command: "dm init", description: "In this folder" },
    { command: "dm init config", description: "In a folder of its own; dm finds config/data-manager.toml" }
  ])
)
