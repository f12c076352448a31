/**
 * The symbols that a store had when it was read last, in a file: a service that starts while its store is away collects them.
 * Only what can be read again is believed; a file that is damaged is none.
 */
import { Effect, FileSystem, Schema } from "effect"
import * as MarketSchema from "./MarketSchema.ts"
import type { SymbolEntry } from "./MarketStore.ts"

/** What is remembered. */
export interface RememberedSymbols {
  /** Undefined where nothing is. */
  readonly read: Effect.Effect<ReadonlyArray<SymbolEntry> | undefined>
  /** Remembers these instead; where that cannot be done, it is told in the log. */
  readonly write: (entries: ReadonlyArray<SymbolEntry>) => Effect.Effect<void>
}

const File = Schema.Array(
  Schema.Struct({
    symbol: Schema.String,
    provider: Schema.String,
    dataset: Schema.String,
    stypeIn: Schema.String,
    schemas: Schema.Array(Schema.Literals(MarketSchema.all)),
    enabled: Schema.Boolean,
    source: Schema.Literals(["database", "config", "discovery"]),
    discoveredAt: Schema.BigIntFromString,
    removedAt: Schema.optional(Schema.BigIntFromString),
    assetClass: Schema.optional(Schema.String),
    exchange: Schema.optional(Schema.String)
  })
)
const Text = Schema.fromJsonString(File)
const decode = Schema.decodeUnknownEffect(Text)
const encode = Schema.encodeEffect(Text)

/** Remembers in a file, whose folder is made where it is not there. */
export const make = (path: string): Effect.Effect<RememberedSymbols, never, FileSystem.FileSystem> =>
  Effect.map(FileSystem.FileSystem, (fs) => {
    const folder = path.slice(0, Math.max(path.lastIndexOf("/"), path.lastIndexOf("\\")))
    return {
      read: fs.readFileString(path).pipe(
        Effect.flatMap(decode),
        Effect.catch(() => Effect.succeed(undefined))
      ),
      write: (entries) =>
        Effect.gen(function* () {
          const text = yield* encode(entries)
          if (folder !== "") yield* fs.makeDirectory(folder, { recursive: true, mode: 0o700 })
          // Beside it first: a crash leaves the old one or the new one.
          yield* fs.writeFileString(`${path}.new`, text, { mode: 0o600 })
          yield* fs.rename(`${path}.new`, path)
        }).pipe(Effect.catch((error) => Effect.logWarning(`${path} cannot be written: ${String(error)}`)))
    }
  })
