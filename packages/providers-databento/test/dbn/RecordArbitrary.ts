/** Random records and metadata of every kind, from a seed; extremes and absent values are as frequent as others. */
import { SeededRandom } from "@data-manager/testing"
import {
  camelCase,
  type DbnMetadataInit,
  type DbnRecord,
  type DbnVersion,
  dateOfDay,
  type FieldSpec,
  layoutOf,
  type RecordFormat,
  rtypes,
  schemas,
  stypes
} from "../../src/dbn/index.ts"

const extremes: { readonly [type: string]: readonly [low: bigint, high: bigint] } = {
  u8: [0n, 255n],
  i8: [-128n, 127n],
  u16: [0n, 65535n],
  i16: [-32768n, 32767n],
  u32: [0n, 4294967295n],
  i32: [-2147483648n, 2147483647n],
  u64: [0n, 18446744073709551615n],
  ts: [0n, 18446744073709551615n],
  i64: [-9223372036854775808n, 9223372036854775807n],
  px: [-9223372036854775808n, 9223372036854775807n]
}

const letters = "ABCXYZ abcxyz0189.,:;'\"\\/-_\t\n\réあ𝄞"
const ascii = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789. -"

const text = (random: SeededRandom, bytes: number, alphabet: string): string => {
  const wanted = random.pick([0, 1, random.below(bytes + 1), bytes])
  let out = ""
  while (Buffer.byteLength(out) < wanted) out += random.pick([...alphabet])
  while (Buffer.byteLength(out) > bytes) out = [...out].slice(0, -1).join("")
  return out
}

const integer = (random: SeededRandom, type: string): bigint => {
  const [low, high] = extremes[type]!
  const value = BigInt.asUintN(64, random.anyI64())
  return random.pick([
    low,
    high,
    low + 1n,
    high - 1n,
    low + (value % (high - low + 1n)),
    low + ((value % 1000n) % (high - low + 1n))
  ])
}

const value = (random: SeededRandom, field: FieldSpec): unknown => {
  const [, , type, length] = field
  if (type === "cstr") return text(random, length! - 1, letters)
  if (type === "char") return random.pick(["", "A", "B", "T", "N", "~", " ", '"', "\\", "\n", "ÿ"])
  const number = integer(random, type)
  return ["u64", "ts", "i64", "px"].includes(type) ? number : Number(number)
}

const fill = (random: SeededRandom, fields: ReadonlyArray<FieldSpec>): { [name: string]: unknown } =>
  Object.fromEntries(fields.map((field) => [camelCase(field[1]), value(random, field)]))

/** A record of any type that the format has. */
export const anyRecord = (random: SeededRandom, format: RecordFormat): DbnRecord => {
  const rtype = random.chance(0.05) ? 0x42 : random.pick(rtypes).rtype
  return recordOf(random, rtype, format)
}

/** A random record of a type; one of unknown type has a body of random bytes. */
export const recordOf = (random: SeededRandom, rtype: number, format: RecordFormat): DbnRecord => {
  const layout = layoutOf(rtype, format.version)
  const body =
    layout === undefined
      ? { body: Uint8Array.from({ length: 4 * random.below(60) }, () => random.below(256)) }
      : {
          ...fill(random, layout.fields),
          ...(layout.levels === undefined
            ? {}
            : {
                levels: Array.from({ length: layout.levels.count }, () => fill(random, layout.levels!.fields))
              })
        }
  return {
    type: layout?.name ?? "unknown",
    rtype,
    publisherId: Number(integer(random, "u16")),
    instrumentId: Number(integer(random, "u32")),
    tsEvent: integer(random, "ts"),
    ...body,
    ...(format.tsOut === true ? { tsOut: integer(random, "ts") } : {})
  } as DbnRecord
}

/** A stream's worth of records. */
export const anyRecords = (random: SeededRandom, format: RecordFormat, count: number): Array<DbnRecord> =>
  Array.from({ length: count }, () => anyRecord(random, format))

/** Random metadata that a version can hold. */
export const anyMetadata = (random: SeededRandom, version: DbnVersion): DbnMetadataInit => {
  const symbolBytes = version === 1 ? 21 : 70
  const list = (): Array<string> =>
    Array.from({ length: random.below(6) }, () => text(random, symbolBytes, ascii))
  const day = random.below(30_000)
  return {
    dataset: text(random, 15, ascii),
    schema: random.pick([null, ...schemas, "schema-999"] as const),
    start: integer(random, "ts"),
    end: random.pick([null, 1n + (integer(random, "ts") % 1000000n)]),
    limit: random.pick([null, 1n + (integer(random, "ts") % 1000000n)]),
    stypeIn: random.pick([null, ...stypes, "stype-200"] as const),
    stypeOut: random.pick([...stypes, null] as const),
    tsOut: random.chance(0.5),
    symbols: list(),
    partial: list(),
    notFound: list(),
    mappings: Array.from({ length: random.below(4) }, () => ({
      rawSymbol: text(random, symbolBytes, ascii),
      intervals: Array.from({ length: random.below(4) }, (_, i) => ({
        startDate: dateOfDay(day + i * 10),
        endDate: dateOfDay(day + i * 10 + random.below(10)),
        symbol: text(random, symbolBytes, ascii)
      }))
    }))
  }
}

/** Cuts bytes into pieces of random length, empty ones among them. */
export const anySplit = (random: SeededRandom, bytes: Uint8Array): Array<Uint8Array> => {
  const pieces: Array<Uint8Array> = []
  const longest = random.pick([3, 50, 1000, 100_000])
  for (let at = 0; at < bytes.length; ) {
    const length = random.below(longest)
    pieces.push(bytes.subarray(at, at + length))
    at += length
  }
  return pieces
}

/** A generator for each of some seeds. */
export const forSeeds = (count: number, check: (random: SeededRandom, seed: number) => void): void => {
  for (let seed = 1; seed <= count; seed++) {
    try {
      check(new SeededRandom(seed), seed)
    } catch (error) {
      throw new Error(`seed ${seed}: ${error instanceof Error ? error.message : String(error)}`, {
        cause: error
      })
    }
  }
}
