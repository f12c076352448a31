/** `dm backfill`: history from a provider, as far as the store lacks it. */
import { Decimal, MarketSchema } from "@data-manager/core"
import { Option } from "effect"
import { Command, Flag } from "effect/cli"
import { lazily } from "../Action.ts"
import * as Flags from "../Flags.ts"

const maxCost = Flag.String("max-cost").pipe(
  Flag.filterMap(
    (text) => Option.filter(Option.fromUndefinedOr(Decimal.parse(text)), ({ mantissa }) => mantissa >= 0n),
    () => "an amount of US dollars such as 5 or 0.25"
  ),
  Flag.withMetavar("USD"),
  Flag.optional,
  Flag.map(Option.getOrUndefined),
  Flag.withDescription("Refuse before the first byte where all of it costs more")
)

export const backfillCommand = Command.make(
  "backfill",
  {
    provider: Flags.provider,
    symbols: Flags.symbols,
    dataset: Flags.text("dataset", "NAME", "Dataset of symbols that do not name theirs, such as GLBX.MDP3"),
    schema: Flags.schema(MarketSchema.all, "What to fetch. Default: trades"),
    stypeIn: Flag.Literals("stype-in", ["auto", "raw_symbol", "parent", "continuous", "instrument_id"]).pipe(
      Flag.withMetavar("TYPE"),
      Flag.withDefault("auto"),
      Flag.withDescription(
        "How symbols are meant: auto, raw_symbol, parent, continuous, instrument_id. Default: auto, by their form"
      )
    ),
    ...Flags.range({ start: "none, it is required", end: "now" }),
    dryRun: Flags.toggle("dry-run", "Show the plan with records, bytes and money; fetch nothing"),
    maxCost,
    verify: Flags.toggle(
      "verify",
      "Compare the rows of each chunk with the provider's count before it counts as held"
    ),
    bulk: Flags.toggle(
      "bulk",
      "Write trades straight into the columnstore of TimescaleDB as far as they fit it: many rows of an instrument at a time"
    ),
    again: Flags.toggle("again", "Fetch again what is held, for data that the provider has revised"),
    includeExpired: Flags.toggle("include-expired", "Fetch again what retention has removed")
  },
  (options) =>
    lazily(
      () => import("../actions/Backfill.ts"),
      (action, session) => action.backfill(session, options)
    )
).pipe(
  Command.withShortDescription("Fetch history that is not held yet"),
  Command.withDescription(
    "Fetches history from a provider: only what coverage lacks, in chunks of days, each stored together with its coverage. " +
      "Interrupted or killed, the same command continues; finished chunks are not fetched again. A chunk that fails is " +
      "reported and the others go on; the exit code is 1 then."
  ),
  Command.withExamples([
    {
      command: "dm backfill -s GLBX.MDP3:ESH6,GLBX.MDP3:NQH6 --start 2026-01-05 --end 2026-01-10 --dry-run",
      description: "What it would take"
    },
    {
      command: "dm backfill -p databento -s GLBX.MDP3:ES.FUT --start 2026-01-05 --max-cost 5",
      description: "Every ES contract up to now, for 5 dollars at most"
    },
    {
      command:
        "dm backfill --dataset XNAS.ITCH -s AAPL,MSFT --schema ohlcv-1m --start 2025-01-01 --end 2026-01-01",
      description: "Bars of a year"
    }
  ])
)
