/** Feed notes as text: JSON in which times are decimal text, checked when it is read. */
import { Schema } from "effect"
import type { FeedNote } from "./FeedEntry.ts"
import * as MarketSchema from "./MarketSchema.ts"
import type { GapCause } from "./Provider.ts"

const causes: { readonly [C in GapCause]: C } = {
  disconnect: "disconnect",
  "slow-reader": "slow-reader",
  sequence: "sequence",
  overflow: "overflow",
  provider: "provider",
  crash: "crash",
  "disk-full": "disk-full",
  silence: "silence"
}

const session = { session: Schema.String }
const at = { at: Schema.BigIntFromString }
const instruments = Schema.Array(
  Schema.Int.pipe(Schema.check(Schema.isBetween({ minimum: 0, maximum: 0xffffffff })))
)

const Note = Schema.fromJsonString(
  Schema.Union([
    Schema.TaggedStruct("SessionStarted", {
      ...session,
      provider: Schema.String,
      dataset: Schema.String,
      schema: Schema.Literals(MarketSchema.all),
      ...at
    }),
    Schema.TaggedStruct("InstrumentsJoined", { ...session, instruments, ...at }),
    Schema.TaggedStruct("InstrumentsLeft", { ...session, instruments, ...at }),
    Schema.TaggedStruct("Watermark", { ...session, ...at }),
    Schema.TaggedStruct("RowsMissing", {
      ...session,
      instruments: Schema.optional(instruments),
      range: Schema.Struct({ start: Schema.BigIntFromString, end: Schema.BigIntFromString }),
      cause: Schema.Literals(Object.values(causes))
    }),
    Schema.TaggedStruct("SessionEnded", session)
  ])
)

/** A note as JSON. */
export const encode: (note: FeedNote) => string = Schema.encodeSync(Note)

/** The note of a text; throws `SchemaError` where it is none. */
export const decode: (text: string) => FeedNote = Schema.decodeSync(Note)
