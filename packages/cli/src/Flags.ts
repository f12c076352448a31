/** Options and arguments that several commands share, with the same words everywhere. */
import { MarketSchema, UnixNanos } from "@data-manager/core"
import { Option } from "effect"
import { Argument, Flag } from "effect/cli"

const timeForms =
  "a date or time such as 2026-01-05, 2026-01-05T14:30 or 2026-01-05T14:30:00.123456789Z (UTC)"

/** A moment. */
export const time = (name: string, description: string) =>
  Flag.String(name).pipe(
    Flag.filterMap(
      (text) => Option.fromUndefinedOr(UnixNanos.parse(text)),
      () => timeForms
    ),
    Flag.withMetavar("TIME"),
    Flag.optional,
    Flag.map(Option.getOrUndefined),
    Flag.withDescription(description)
  )

/** `--start` and `--end` with the meaning of their absence. */
export const range = (absent: { readonly start: string; readonly end: string }) => ({
  start: time("start", `First moment, inclusive; ISO 8601, UTC. Default: ${absent.start}`),
  end: time("end", `Last moment, exclusive; ISO 8601, UTC. Default: ${absent.end}`)
})

const split = (texts: ReadonlyArray<string>): ReadonlyArray<string> =>
  texts
    .flatMap((text) => text.split(","))
    .map((text) => text.trim())
    .filter((text) => text !== "")

/** `-s A,B -s C`. */
export const symbols = Flag.String("symbols").pipe(
  Flag.withAlias("s"),
  Flag.withMetavar("A,B"),
  Flag.atLeast(0),
  Flag.map(split),
  Flag.withDescription("Symbols, separated by commas or given several times")
)

/** `-p databento`. */
export const provider = Flag.String("provider").pipe(
  Flag.withAlias("p"),
  Flag.withMetavar("NAME"),
  Flag.optional,
  Flag.map(Option.getOrUndefined),
  Flag.withDescription("Provider, such as databento")
)

/** `--schema mbp-1`, one of the schemas given. */
export const schema = (offered: ReadonlyArray<MarketSchema.MarketSchema>, description: string) =>
  Flag.Literals("schema", offered).pipe(
    Flag.withMetavar("SCHEMA"),
    Flag.optional,
    Flag.map(Option.getOrUndefined),
    Flag.withDescription(description)
  )

/** Schemas of one kind of rows. */
export const schemasOf = (kind: MarketSchema.RowKind): ReadonlyArray<MarketSchema.MarketSchema> =>
  MarketSchema.all.filter((name) => MarketSchema.kind(name) === kind)

/** A whole number within bounds. */
export const count = (name: string, minimum: number, maximum: number, description: string) =>
  Flag.Int(name).pipe(
    Flag.filter(
      (value) => value >= minimum && value <= maximum,
      () => `a whole number from ${minimum} to ${maximum}`
    ),
    Flag.withMetavar("N"),
    Flag.optional,
    Flag.map(Option.getOrUndefined),
    Flag.withDescription(description)
  )

/** An option without a value. */
export const toggle = (name: string, description: string) =>
  Flag.Boolean(name).pipe(Flag.withoutNegation, Flag.withDefault(false), Flag.withDescription(description))

/** An optional text. */
export const text = (name: string, metavar: string, description: string) =>
  Flag.String(name).pipe(
    Flag.withMetavar(metavar),
    Flag.optional,
    Flag.map(Option.getOrUndefined),
    Flag.withDescription(description)
  )

/** One symbol. */
export const symbol = Argument.String("SYMBOL").pipe(
  Argument.withDescription(
    "DATASET:RAW_SYMBOL such as GLBX.MDP3:ESH6, or a short form such as ESH6 where it is unique"
  )
)

/** Any number of symbols. */
export const symbolList = (min: number) =>
  Argument.String("SYMBOL").pipe(
    Argument.variadic({ min }),
    Argument.withDescription("DATASET:RAW_SYMBOL such as GLBX.MDP3:ESH6, or a short form where it is unique")
  )
