/** `dm replay`: stored rows through a ring once more, as fast as they came or faster. */
import { MarketSchema } from "@data-manager/core"
import { Duration, Option } from "effect"
import { Command, Flag } from "effect/cli"
import { lazily } from "../Action.ts"
import * as Flags from "../Flags.ts"
import { placeOptions } from "./Ring.ts"

/** What `--schema` takes: kinds that rings have. "quotes" is the schema of quotes that is held. */
const offered: ReadonlyArray<string> = ["quotes", ...Flags.schemasOf("trades"), ...Flags.schemasOf("quotes")]

const schemas = Flag.String("schema").pipe(
  Flag.map((text) => text.split(",").map((part) => part.trim())),
  Flag.filter(
    (parts) => parts.every((part) => offered.includes(part)),
    () => `one or several of ${offered.join(", ")}, separated by commas`
  ),
  Flag.map((parts) =>
    [...new Set(parts)].map((part): "quotes" | MarketSchema.MarketSchema =>
      MarketSchema.is(part) ? part : "quotes"
    )
  ),
  Flag.withMetavar("A,B"),
  Flag.withDefault(["trades"] as const),
  Flag.withDescription(
    "What to replay: trades, quotes (the schema that is held), or schemas. Default: trades"
  )
)

const speedOf = (text: string): number | "max" | undefined => {
  if (text === "max") return "max"
  const speed = /^\d+(\.\d+)?x?$/.test(text) ? Number.parseFloat(text) : 0
  return speed > 0 ? speed : undefined
}

const speed = Flag.String("speed").pipe(
  Flag.filterMap(
    (text) => Option.fromUndefinedOr(speedOf(text)),
    () => "a number above 0 such as 10 or 0.5, or max"
  ),
  Flag.withMetavar("N"),
  Flag.withDefault(1),
  Flag.withDescription("Times real time, or max: as fast as possible. Default: 1")
)

const unitMillis: { readonly [unit: string]: number } = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 }

const durationOf = (text: string): Duration.Duration | undefined => {
  const [, number, unit] = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(text) ?? []
  return number === undefined || unit === undefined
    ? undefined
    : Duration.millis(Number(number) * unitMillis[unit]!)
}

const maxGap = Flag.String("max-gap").pipe(
  Flag.filterMap(
    (text) => Option.fromUndefinedOr(durationOf(text)),
    () => "a time such as 500ms, 5s, 2m or 1h"
  ),
  Flag.withMetavar("TIME"),
  Flag.optional,
  Flag.map(Option.getOrUndefined),
  Flag.withDescription(
    "Longest wait between two rows, as waited: longer silence is cut. Default: silence takes its time"
  )
)

export const replayCommand = Command.make(
  "replay",
  {
    names: Flags.symbolList(0),
    symbols: Flags.symbols,
    ...Flags.range({ start: "the first row held", end: "the last row held" }),
    schemas,
    speed,
    maxGap,
    ring: Flags.text(
      "ring",
      "NAME",
      "Ring to replay into. Default: [realtime.shm] name with -replay behind it"
    ),
    waitReaders: Flags.count("wait-readers", 1, 128, "Begin when so many readers are connected"),
    strict: Flags.toggle("strict", "Refuse a window that is not known to be complete, instead of a warning"),
    ...placeOptions
  },
  (options) =>
    lazily(
      () => import("../actions/Replay.ts"),
      (action, session) => action.replay(session, options)
    )
).pipe(
  Command.withDescription(
    "Publishes stored rows in a ring of their own, in the order of the store and at the pace at which they came, or a multiple " +
      "of it. Readers subscribe as to a live ring; every row says that it is a replay. The first row goes out at once. Ctrl-C " +
      "ends it between two rows (exit code 130). With --speed max readers that ask not to be overtaken are waited for; others, " +
      "such as dm tail, lose visibly."
  ),
  Command.withShortDescription("Stored rows through a ring once more"),
  Command.withExamples([
    {
      command: "dm replay GLBX.MDP3:ESH6 --start 2026-01-05T14:30 --end 2026-01-05T15:00",
      description: "Half an hour as it was"
    },
    {
      command:
        "dm replay ESH6 NQH6 --schema trades,quotes --start 2026-01-05 --end 2026-01-06 --speed 60 --max-gap 5s",
      description: "A day in minutes, with quotes, never silent for more than 5 seconds"
    },
    {
      command: "dm replay ESH6 --start 2026-01-05 --end 2026-01-06 --speed max --wait-readers 1",
      description: "As fast as possible, once a reader is there"
    }
  ])
)
