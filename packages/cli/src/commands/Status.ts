/** `dm status`: health of the service and the database. */
import { Command } from "effect/cli"
import { lazily } from "../Action.ts"
import * as Flags from "../Flags.ts"

export const statusCommand = Command.make(
  "status",
  { watch: Flags.toggle("watch", "Show the running service again every second, until Ctrl-C") },
  (options) =>
    lazily(
      () => import("../actions/Status.ts"),
      (action, session) => action.status(session, options)
    )
).pipe(
  Command.withShortDescription("Health of the service and the database"),
  Command.withDescription(
    "Shows the service of this configuration, where one runs: its feeds, spool, writer and ring. Then which database is used, what it can do, its migrations, tables and open imports. Exit code 3 when something " +
      "is unhealthy: a feed that does not run, rows that wait, the server cannot be reached, there is no database yet, or migrations are missing."
  ),
  Command.withExamples([
    { command: "dm status" },
    { command: "dm status --watch", description: "The running service, every second" },
    { command: "dm status --json | jq .healthy", description: "For monitoring" }
  ])
)
