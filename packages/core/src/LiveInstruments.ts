/**
 * Instruments of a live service: numbers that need no database and stay the same over restarts, so that rows which wait on
 * disk keep their meaning. The file has a line of JSON per claim; what is registered is on disk before its number is given
 * out. Whoever stores rows registers the claims there and puts the store's numbers in place of these.
 */
import { Effect, FileSystem, Option, Schema, type Scope, Semaphore } from "effect"
import type { RegisterListings } from "./FileSource.ts"
import type { Instrument, InstrumentDirectory, InstrumentId, ListingClaim } from "./Instrument.ts"
import * as LocalInstruments from "./LocalInstruments.ts"
import { StoreError, StoreServerFault } from "./StoreError.ts"

/** A claim, and the number of its instrument here. */
export interface NumberedClaim {
  readonly id: InstrumentId
  readonly claim: ListingClaim
}

/** The instruments. */
export interface LiveInstruments {
  /** Gives claims their instruments. Fails where the file cannot be written. */
  readonly register: RegisterListings
  readonly directory: InstrumentDirectory
  /** Claims from a place in their order on; they only become more. */
  readonly claimsFrom: (place: number) => ReadonlyArray<NumberedClaim>
}

/** bigints are text with an n: `1700000000000000000n`; nothing else in a claim looks like that and is no number. */
const BigText = /^-?\d+n$/

const encode = (value: unknown): string =>
  JSON.stringify(value, (_, inner: unknown) => (typeof inner === "bigint" ? `${inner}n` : inner))

const Line = Schema.Struct({
  id: Schema.Int,
  claim: Schema.StructWithRest(
    Schema.Struct({
      provider: Schema.String,
      dataset: Schema.String,
      rawSymbol: Schema.optionalKey(Schema.String),
      nativeId: Schema.optionalKey(Schema.Int),
      valid: Schema.Struct({ start: Schema.BigInt, end: Schema.BigInt }),
      defaultPriceScale: Schema.Int,
      defaultSizeScale: Schema.Int
    }),
    [Schema.Record(Schema.String, Schema.Unknown)]
  )
})
const decodeLine = Schema.decodeUnknownOption(Line)

/** A line; undefined where it is not whole. */
const decode = (line: string): NumberedClaim | undefined => {
  try {
    const value: unknown = JSON.parse(line, (_, inner: unknown) =>
      typeof inner === "string" && BigText.test(inner) ? BigInt(inner.slice(0, -1)) : inner
    )
    return Option.getOrUndefined(decodeLine(value)) as NumberedClaim | undefined
  } catch {
    return undefined
  }
}

const failed = (path: string, cause: unknown): StoreError =>
  new StoreError({
    operation: "remember instruments",
    reason: new StoreServerFault({ detail: `${path} cannot be read or written: ${String(cause)}` }),
    cause
  })

/** What makes two claims of an instrument say the same. */
const contentOf = ({ details: _, ...claim }: ListingClaim): string => encode(claim)

/** Opens the file, or makes it; the newest claim of each content is kept. */
export const open = (
  path: string
): Effect.Effect<LiveInstruments, StoreError, FileSystem.FileSystem | Scope.Scope> =>
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    const found = (yield* fs.exists(path)) ? yield* fs.readFileString(path) : ""
    const lines = found.split("\n").flatMap((line) => decode(line) ?? [])
    const local = LocalInstruments.make()
    const claims: Array<NumberedClaim> = []
    const known = new Set<string>()
    for (const { id, claim } of lines) {
      const [instrument] = yield* local.register([claim])
      if (instrument!.id !== id) return yield* Effect.fail(`line of instrument ${id} is out of order`)
      if (!known.has(contentOf(claim))) claims.push({ id, claim })
      known.add(contentOf(claim))
    }
    yield* replace(fs, path, claims)
    const file = yield* fs.open(path, { flag: "a", mode: 0o600 })
    const turn = yield* Semaphore.make(1)
    /** Numbered, and not on disk: a write that failed is made up for by the next one, so that numbers stay in order. */
    let unwritten: Array<NumberedClaim> = []
    const register = Effect.fnUntraced(function* (asked: ReadonlyArray<ListingClaim>) {
      const instruments: ReadonlyArray<Instrument> = yield* local.register(asked)
      asked.forEach((claim, i) => {
        const content = contentOf(claim)
        if (!known.has(content)) unwritten.push({ id: instruments[i]!.id, claim })
        known.add(content)
      })
      if (unwritten.length === 0) return instruments
      // A line that was cut by a failure before is ended by the first byte.
      yield* file.writeAll(new TextEncoder().encode(`\n${textOf(unwritten)}`))
      yield* file.sync
      claims.push(...unwritten)
      unwritten = []
      return instruments
    })
    return {
      register: (asked) =>
        turn
          .withPermits(1)(register(asked))
          .pipe(
            Effect.catch((cause) => Effect.fail(cause instanceof StoreError ? cause : failed(path, cause)))
          ),
      directory: local.directory,
      claimsFrom: (place) => claims.slice(place)
    } satisfies LiveInstruments
  }).pipe(Effect.catch((cause) => Effect.fail(cause instanceof StoreError ? cause : failed(path, cause))))

const textOf = (claims: ReadonlyArray<NumberedClaim>): string =>
  claims.map((claim) => `${encode(claim)}\n`).join("")

/** Writes the file anew, beside it first: a crash leaves the old one or the new one. */
const replace = Effect.fnUntraced(function* (
  fs: FileSystem.FileSystem,
  path: string,
  claims: ReadonlyArray<NumberedClaim>
) {
  const beside = `${path}.new`
  yield* Effect.scoped(
    Effect.gen(function* () {
      const file = yield* fs.open(beside, { flag: "w", mode: 0o600 })
      yield* file.writeAll(new TextEncoder().encode(textOf(claims)))
      yield* file.sync
    })
  )
  yield* fs.rename(beside, path)
})
