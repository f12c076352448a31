/** `dm ring inspect|list|clean`: the shared-memory rings of this host. */

import { Option } from "effect"
import { Argument, Command } from "effect/cli"
import { lazily } from "../Action.ts"
import * as Flags from "../Flags.ts"

/** `--dir` and `--owner` of rings. */
export const placeOptions = {
  dir: Flags.text(
    "dir",
    "DIR",
    "Folder of the rings. Default: [realtime.shm] dir, else this user's folder in /dev/shm"
  ),
  owner: Flags.text(
    "owner",
    "USER",
    "User name or number that the ring must belong to. Default: [realtime.shm] owner, else this user"
  )
}

/** The name of a ring, or that of the configuration. */
export const ringName = Argument.String("NAME").pipe(
  Argument.optional,
  Argument.map(Option.getOrUndefined),
  Argument.withDescription(
    "Name of the ring, as `dm ring list` shows it; quotes have NAME_quotes. Default: [realtime.shm] name"
  )
)

const inspect = Command.make(
  "inspect",
  {
    name: ringName,
    all: Flags.toggle("all", "List every instrument of the dictionary, not only the first ten"),
    ...placeOptions
  },
  (options) =>
    lazily(
      () => import("../actions/Ring.ts"),
      (action, session) => action.inspect(session, options)
    )
).pipe(
  Command.withDescription(
    "Shows a ring without becoming its reader: header, generations, whether its producer lives, the rate over half a " +
      "second, readers with lag and loss, the dictionary. What readers say about themselves is not checked."
  ),
  Command.withShortDescription("Header, producer, rate, readers, dictionary"),
  Command.withExamples([
    { command: "dm ring inspect", description: "The ring of the configuration" },
    { command: "dm ring inspect dm-main --json", description: "For programs" }
  ])
)

const list = Command.make("list", { ...placeOptions }, (options) =>
  lazily(
    () => import("../actions/Ring.ts"),
    (action, session) => action.list(session, options)
  )
).pipe(
  Command.withDescription("The rings of a folder: kind, size, state, position, readers."),
  Command.withShortDescription("The rings that there are"),
  Command.withExamples([{ command: "dm ring list" }])
)

const clean = Command.make(
  "clean",
  {
    names: Argument.String("NAME").pipe(
      Argument.variadic({ min: 0 }),
      Argument.withDescription("Rings to look at. Default: all of the folder")
    ),
    dryRun: Flags.toggle("dry-run", "Only say what would be removed"),
    olderThan: Flags.count(
      "older-than",
      0,
      31_536_000,
      "Seconds a producer that did not end in order must be silent. Default: 60"
    ),
    dir: placeOptions.dir
  },
  (options) =>
    lazily(
      () => import("../actions/Ring.ts"),
      (action, session) => action.clean(session, options)
    )
).pipe(
  Command.withDescription(
    "Removes rings that nobody can need: closed or replaced ones, damaged ones, those from before the last boot, those " +
      "whose producer died, and what a killed producer left half made. Rings with a producer or living readers, of other " +
      "users, and files that are no rings stay; the reason is told for each."
  ),
  Command.withShortDescription("Remove rings that nobody can need"),
  Command.withExamples([
    { command: "dm ring clean --dry-run", description: "What would go, and why the rest stays" },
    { command: "dm ring clean dm-main", description: "One ring" }
  ])
)

export const ringCommand = Command.make("ring").pipe(
  Command.withDescription(
    "The shared-memory rings of this host, through which other processes receive live data. `dm tail` shows their rows."
  ),
  Command.withShortDescription("Shared-memory rings: inspect, list, clean"),
  Command.withExamples([{ command: "dm ring list" }, { command: "dm ring inspect dm-main" }]),
  Command.withSubcommands([inspect, list, clean])
)
