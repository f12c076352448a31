/** `dm symbols list|add|remove|enable|disable|discover|resolve`: what is known and collected. */
import { MarketSchema } from "@data-manager/core"
import { Argument, Command, Flag } from "effect/cli"
import { lazily } from "../Action.ts"
import * as Flags from "../Flags.ts"

const list = Command.make(
  "list",
  {
    provider: Flags.provider,
    symbols: Flags.symbols,
    removed: Flags.toggle("removed", "Also entries that were removed on purpose")
  },
  (options) =>
    lazily(
      () => import("../actions/Symbols.ts"),
      (action, session) => action.list(session, options)
    )
).pipe(
  Command.withDescription(
    "Lists instruments that are known from data and symbols that are collected, with provider, asset class, venue and " +
      "the time for which the name stands for the instrument."
  ),
  Command.withShortDescription("What is known"),
  Command.withExamples([
    { command: "dm symbols list -p databento" },
    { command: "dm symbols list -s 'GLBX.MDP3:ES*' --json", description: "By pattern, for programs" }
  ])
)

const add = Command.make(
  "add",
  {
    symbol: Argument.String("SYMBOL").pipe(
      Argument.withDescription("DATASET:SYMBOL such as GLBX.MDP3:ES.FUT, as the provider writes it")
    ),
    provider: Flag.String("provider").pipe(
      Flag.withAlias("p"),
      Flag.withMetavar("NAME"),
      Flag.withDescription("Provider, such as databento")
    ),
    stypeIn: Flag.Literals("stype-in", ["raw_symbol", "parent", "continuous", "instrument_id"]).pipe(
      Flag.withMetavar("TYPE"),
      Flag.withDefault("auto"),
      Flag.withDescription(
        "raw_symbol (ESH6), parent (ES.FUT), continuous (ES.c.0) or instrument_id. Default: by the form of the symbol"
      )
    ),
    schemas: Flag.Literals("schema", MarketSchema.all).pipe(
      Flag.withMetavar("SCHEMA"),
      Flag.atLeast(0),
      Flag.withDescription("What to collect; several times for several. Default: [symbols] default_schemas")
    ),
    disabled: Flags.toggle("disabled", "Known, but not collected")
  },
  (options) =>
    lazily(
      () => import("../actions/Symbols.ts"),
      (action, session) => action.add(session, options)
    )
).pipe(
  Command.withDescription("Adds a symbol to those that are collected, or brings a removed one back."),
  Command.withShortDescription("Collect a symbol"),
  Command.withExamples([
    { command: "dm symbols add GLBX.MDP3:ES.FUT -p databento", description: "All E-mini S&P 500 futures" },
    { command: "dm symbols add XNAS.ITCH:AAPL -p databento --schema trades --schema mbp-1" }
  ])
)

const remove = Command.make(
  "remove",
  {
    symbol: Argument.String("SYMBOL").pipe(Argument.withDescription("As `dm symbols list` shows it"))
  },
  (options) =>
    lazily(
      () => import("../actions/Symbols.ts"),
      (action, session) => action.remove(session, options)
    )
).pipe(
  Command.withDescription(
    "Stops collecting a symbol. Its data stays; discovery will not bring it back, `dm symbols add` does."
  ),
  Command.withShortDescription("Stop collecting a symbol"),
  Command.withExamples([{ command: "dm symbols remove GLBX.MDP3:ES.FUT" }])
)

const enable = Command.make(
  "enable",
  {
    symbol: Argument.String("SYMBOL").pipe(Argument.withDescription("As `dm symbols list` shows it"))
  },
  (options) =>
    lazily(
      () => import("../actions/Symbols.ts"),
      (action, session) => action.setEnabled(session, { ...options, enabled: true })
    )
).pipe(
  Command.withDescription("Collects a symbol that is known: one that was disabled, or that discovery found."),
  Command.withShortDescription("Collect a known symbol"),
  Command.withExamples([{ command: "dm symbols enable GLBX.MDP3:ES.FUT" }])
)

const disable = Command.make(
  "disable",
  {
    symbol: Argument.String("SYMBOL").pipe(Argument.withDescription("As `dm symbols list` shows it"))
  },
  (options) =>
    lazily(
      () => import("../actions/Symbols.ts"),
      (action, session) => action.setEnabled(session, { ...options, enabled: false })
    )
).pipe(
  Command.withDescription("Stops collecting a symbol, which stays known with its settings. Its data stays."),
  Command.withShortDescription("Pause a symbol"),
  Command.withExamples([{ command: "dm symbols disable GLBX.MDP3:ES.FUT" }])
)

const resolve = Command.make(
  "resolve",
  {
    names: Flags.symbolList(1),
    ...Flags.range({ start: "any time", end: "any time" })
  },
  (options) =>
    lazily(
      () => import("../actions/Symbols.ts"),
      (action, session) => action.resolve(session, options)
    )
).pipe(
  Command.withDescription(
    "Tells which instrument a name stands for. Names come back: ESH6 is March 2016 and March 2026, so a time may be needed."
  ),
  Command.withShortDescription("Which instrument a name means"),
  Command.withExamples([
    { command: "dm symbols resolve ESH6", description: "A short form" },
    {
      command: "dm symbols resolve GLBX.MDP3:ESH6 --start 2026-01-05 --end 2026-01-06",
      description: "At a time"
    }
  ])
)

const discover = Command.make(
  "discover",
  {
    provider: Flags.provider,
    dataset: Flags.text("dataset", "NAME", "One dataset alone. Default: those of the configuration")
  },
  (options) =>
    lazily(
      () => import("../actions/Discover.ts"),
      (action, session) => action.discover(session, options)
    )
).pipe(
  Command.withDescription(
    "Asks providers what they list and adds symbols that are not known yet. What is known stays as it is: nothing is " +
      "re-enabled, and removed symbols do not come back. Symbols that [symbols] include matches are collected from then on."
  ),
  Command.withShortDescription("Ask providers what they list"),
  Command.withExamples([
    { command: "dm symbols discover" },
    { command: "dm symbols discover -p databento --dataset GLBX.MDP3 --json" }
  ])
)

export const symbolsCommand = Command.make("symbols").pipe(
  Command.withDescription("The symbols that are known and collected."),
  Command.withShortDescription(
    "Known and collected symbols: list, add, remove, enable, disable, discover, resolve"
  ),
  Command.withExamples([{ command: "dm symbols list" }, { command: "dm symbols resolve ESH6" }]),
  Command.withSubcommands([list, add, remove, enable, disable, discover, resolve])
)
