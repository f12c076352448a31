/** `dm start`: the service. */
import { Option } from "effect"
import { Command, Flag } from "effect/cli"
import { lazily } from "../Action.ts"
import * as Flags from "../Flags.ts"

export const startCommand = Command.make(
  "start",
  {
    checkConfig: Flags.toggle("check-config", "Check configuration, symbols and keys, and end"),
    logFormat: Flag.Literals("log-format", ["text", "json"]).pipe(
      Flag.withMetavar("FORM"),
      Flag.optional,
      Flag.map(Option.getOrUndefined),
      Flag.withDescription("Form of the log on standard error. Default: configuration, else text")
    )
  },
  (options) =>
    lazily(
      () => import("../actions/Start.ts"),
      (action, session) => action.start(session, options)
    )
).pipe(
  Command.withShortDescription("Collect live data around the clock"),
  Command.withDescription(
    "Collects every enabled symbol live, stores it and publishes it in the ring, until it is told to end. Rows are safe on " +
      "disk before they are in the database: a database that is away is caught up with later. SIGTERM or Ctrl-C ends it in " +
      "order: what has come is written first, within ten seconds; the rest waits for the next start. SIGHUP reads the symbols " +
      "file again. `dm status` shows how it is doing; health, metrics and control are on the port and the socket of [control]."
  ),
  Command.withExamples([
    { command: "dm start", description: "With ./data-manager.toml, or the defaults" },
    { command: "dm start --check-config", description: "Whether it would start" },
    { command: "dm start -c /etc/data-manager.toml", description: "As a system service" }
  ])
)
