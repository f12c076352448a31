/** `dm migrate`: the database's schema. */
import { Command } from "effect/cli"
import { lazily } from "../Action.ts"
import * as Flags from "../Flags.ts"

export const migrateCommand = Command.make(
  "migrate",
  {
    up: Flags.toggle("up", "Apply what is missing"),
    down: Flags.toggle(
      "down",
      "Take back the newest migration, or all above --to. Drops tables with their data"
    ),
    to: Flags.count("to", 0, 9999, "Version to go up or down to. 0 with --down removes everything"),
    status: Flags.toggle("status", "Show what is applied (the default)"),
    roles: Flags.text(
      "roles",
      "PREFIX",
      "With --up: hand all tables over to the roles PREFIX_owner, PREFIX_writer and PREFIX_reader, made where missing"
    )
  },
  (options) =>
    lazily(
      () => import("../actions/Migrate.ts"),
      (action, session) => action.migrate(session, options)
    )
).pipe(
  Command.withShortDescription("The database's schema: status, up, down"),
  Command.withDescription(
    "Creates and updates the tables of an outside database. The embedded database is migrated by itself. " +
      "Each migration is one transaction, and several processes may try at once. Without an option the state is shown."
  ),
  Command.withExamples([
    { command: "dm migrate", description: "What is applied" },
    { command: "dm migrate --up", description: "Bring the database up to date" },
    { command: "dm migrate --up --roles md", description: "Owner, writers and readers of their own" },
    { command: "dm migrate --down --to 0", description: "Remove all tables and all data" }
  ])
)
