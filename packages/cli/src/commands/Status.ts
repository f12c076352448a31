/** `dm status`: health of the database. */
import { Command } from "effect/cli"
import { lazily } from "../Action.ts"

export const statusCommand = Command.make("status", {}, () =>
  lazily(
    () => import("../actions/Status.ts"),
    (action, session) => action.status(session)
  )
).pipe(
  Command.withShortDescription("Health and size of the database"),
  Command.withDescription(
    "Shows which database is used, what it can do, its migrations, tables and open imports. Exit code 3 when something " +
      "is unhealthy: the server cannot be reached, there is no database yet, or migrations are missing."
  ),
  Command.withExamples([
    { command: "dm status" },
    { command: "dm status --json | jq .healthy", description: "For monitoring" }
  ])
)
