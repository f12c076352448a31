/** `dm doctor`: checks of the environment, each with a fix. */
import { Command } from "effect/cli"
import { lazily } from "../Action.ts"

export const doctorCommand = Command.make("doctor", {}, () =>
  lazily(
    () => import("../actions/Doctor.ts"),
    (action, session) => action.doctor(session)
  )
).pipe(
  Command.withShortDescription("Checks the environment and says how to fix it"),
  Command.withDescription(
    "Checks Node, the configuration, folders, disk, the database server and its settings, and the clock. Each problem " +
      "comes with what to do. Exit code 3 when a check fails; warnings alone do not count."
  ),
  Command.withExamples([{ command: "dm doctor" }, { command: "dm doctor --json" }])
)
