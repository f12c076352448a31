/** The file that keeps over a restart how symbols trade. */
import { Effect, FileSystem } from "effect"
import type { FreshnessMemory } from "./Freshness.ts"

/** A feed in the file. */
export interface KeptFeed {
  readonly key: string
  readonly memory: FreshnessMemory
}

const arrays = ["usual", "observed", "traded", "feedTraded", "watched"] as const

/** The file: a line of JSON that names the feeds and the lengths of their arrays, and these, 32-bit words, little-endian. */
export class FreshnessFile {
  readonly #fs: FileSystem.FileSystem
  readonly #path: string
  readonly #found: ReadonlyMap<string, FreshnessMemory>

  constructor(fs: FileSystem.FileSystem, path: string, found: ReadonlyMap<string, FreshnessMemory>) {
    this.#fs = fs
    this.#path = path
    this.#found = found
  }

  /** What cannot be read is learned again. */
  static readonly open = Effect.fnUntraced(function* (path: string) {
    const fs = yield* FileSystem.FileSystem
    const bytes = yield* Effect.orElseSucceed(fs.readFile(path), () => new Uint8Array())
    return new FreshnessFile(fs, path, parse(bytes))
  })

  get keys(): Iterable<string> {
    return this.#found.keys()
  }

  memoryOf(key: string): FreshnessMemory | undefined {
    return this.#found.get(key)
  }

  /** Writes the file anew, beside it first. Losing it costs hours of learning, no data: a failure is told, and that is all. */
  write(feeds: ReadonlyArray<KeptFeed>): Effect.Effect<void> {
    if (feeds.length === 0) return Effect.void
    const beside = `${this.#path}.new`
    const known = new Map([...this.#found, ...feeds.map(({ key, memory }) => [key, memory] as const)])
    return this.#fs.writeFile(beside, textOf(known), { mode: 0o600 }).pipe(
      Effect.andThen(this.#fs.rename(beside, this.#path)),
      Effect.catch((error) =>
        Effect.logWarning(`freshness: ${this.#path} cannot be written: ${error.message}`)
      )
    )
  }
}

interface KeptHead {
  readonly version: number
  readonly feeds: ReadonlyArray<{ readonly key: string; readonly lengths: ReadonlyArray<number> }>
}

/** Ends the first line. */
const LineEnd = 10

const textOf = (known: ReadonlyMap<string, FreshnessMemory>): Uint8Array => {
  const feeds = [...known].map(([key, memory]) => ({
    key,
    lengths: arrays.map((name) => memory[name].length)
  }))
  const head = new TextEncoder().encode(`${JSON.stringify({ version: 1, feeds } satisfies KeptHead)}\n`)
  const parts = [...known.values()].flatMap((memory) =>
    arrays.map((name) => {
      const { buffer, byteLength, byteOffset } = memory[name]
      return new Uint8Array(buffer, byteOffset, byteLength)
    })
  )
  const out = new Uint8Array(parts.reduce((sum, { length }) => sum + length, head.length))
  out.set(head)
  let at = head.length
  for (const part of parts) {
    out.set(part, at)
    at += part.length
  }
  return out
}

const parse = (bytes: Uint8Array): ReadonlyMap<string, FreshnessMemory> => {
  const found = new Map<string, FreshnessMemory>()
  try {
    let at = bytes.indexOf(LineEnd) + 1
    const { feeds, version } = JSON.parse(new TextDecoder().decode(bytes.subarray(0, at))) as KeptHead
    if (version !== 1) return found
    for (const { key, lengths } of feeds) {
      const take = (index: number): ArrayBuffer => {
        // A copy at an address of its own: Node's buffers slice into views.
        const part = new Uint8Array(bytes.subarray(at, at + 4 * lengths[index]!))
        at += part.length
        return part.buffer
      }
      const memory = {
        usual: new Float32Array(take(0)),
        observed: new Float32Array(take(1)),
        traded: new Uint32Array(take(2)),
        feedTraded: new Uint32Array(take(3)),
        watched: new Uint32Array(take(4))
      }
      if (isWhole(memory)) found.set(key, memory)
    }
  } catch {
    return new Map()
  }
  return found
}

const isWhole = ({ feedTraded, observed, traded, usual, watched }: FreshnessMemory): boolean =>
  usual.length % 24 === 0 &&
  observed.length === usual.length &&
  traded.length === (usual.length / 24) * 7 &&
  feedTraded.length === 7 &&
  watched.length === 7 &&
  usual.every((value) => value >= 0 && Number.isFinite(value)) &&
  observed.every((value) => value >= 0 && Number.isFinite(value))
