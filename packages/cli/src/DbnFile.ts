/** Reads DBN files block by block for commands that look into them: bytes from disk or standard input, any container. */
import { createReadStream } from "node:fs"
import { stat } from "node:fs/promises"
import {
  type Container,
  DbnDecoder,
  DbnError,
  type DbnMetadata,
  type DbnVersion,
  type RecordBlock,
  rtypeEntry,
  rtypeName
} from "@data-manager/providers-databento/dbn"
import { Effect, type Scope } from "effect"
import { CommandError } from "./ExitCode.ts"
import { fileProblem } from "./FileProblem.ts"

/** The name that stands for standard input. */
export const standardInput = "-"

/** How the bytes are to be understood. */
export interface DbnOptions {
  /** DBN version of records without a header. */
  readonly dbnVersion: number | undefined
  /** Records without a header carry the gateway's send time. */
  readonly tsOut: boolean
  /** Records in the layout of version 3. */
  readonly upgrade: boolean
}

const open = (path: string): Effect.Effect<AsyncIterable<Uint8Array>, CommandError, Scope.Scope> =>
  path === standardInput
    ? Effect.succeed(process.stdin)
    : Effect.gen(function* () {
        const info = yield* Effect.tryPromise({ try: () => stat(path), catch: fileProblem(path) })
        if (info.isDirectory())
          return yield* new CommandError({ message: `${path}: is a folder, not a file` })
        return yield* Effect.acquireRelease(
          Effect.sync(() => createReadStream(path, { highWaterMark: 1 << 18 })),
          (stream) => Effect.sync(() => stream.destroy())
        )
      })

/** Records that came without a header: the file's name says so, or the user does. */
export const isFragment = (path: string, options: Pick<DbnOptions, "dbnVersion" | "tsOut">): boolean =>
  options.dbnVersion !== undefined || options.tsOut || /\.frag(\.zst)?$/i.test(path)

const makeDecoder = (path: string, options: DbnOptions): DbnDecoder =>
  new DbnDecoder({
    ...(options.upgrade ? { upgrade: 3 } : {}),
    ...(isFragment(path, options)
      ? {
          fragment: {
            version: options.dbnVersion as DbnVersion | undefined,
            tsOut: options.tsOut ? true : undefined
          }
        }
      : {})
  })

/**
 * Hands every block of whole records to `onBlock`, until it answers `false`. What is wrong with the file or its bytes is
 * the failure; everything whole was handed over before.
 */
export const readBlocks = (
  path: string,
  options: DbnOptions,
  onBlock: (block: RecordBlock, container: Container) => Effect.Effect<boolean>
): Effect.Effect<void, CommandError> =>
  Effect.scoped(
    Effect.gen(function* () {
      const chunks = (yield* open(path))[Symbol.asyncIterator]()
      const decoder = yield* Effect.acquireRelease(
        Effect.sync(() => makeDecoder(path, options)),
        (made) => Effect.sync(() => made.close())
      )
      const attempt = <A>(body: () => A): Effect.Effect<A, CommandError> =>
        Effect.try({
          try: body,
          catch: (cause) => {
            if (cause instanceof DbnError) return new CommandError({ message: `${path}: ${cause.message}` })
            throw cause
          }
        })
      for (;;) {
        const chunk = yield* Effect.tryPromise({ try: () => chunks.next(), catch: fileProblem(path) })
        yield* attempt(() => (chunk.done === true ? decoder.end() : decoder.push(chunk.value)))
        for (;;) {
          const block = yield* attempt(() => decoder.take())
          if (block === undefined) break
          if (!(yield* onBlock(block, decoder.container ?? "raw"))) return
        }
        if (chunk.done === true) return
      }
    })
  )

/** The schema that people know a record type by. */
export const kindName = (rtype: number): string => rtypeEntry(rtype)?.schema ?? rtypeName(rtype)

/** Records of one type: how many, and their first and last venue time as two words each. */
interface Tally {
  count: number
  firstHigh: number
  firstLow: number
  lastHigh: number
  lastLow: number
}

const undefinedWord = 0xffffffff

/** Beyond this number instruments are no longer told apart, so that memory stays small. */
const mostInstruments = 1_000_000

/** Counts what goes by. */
export class DbnContent {
  metadata: DbnMetadata | undefined
  container: Container = "raw"
  version: DbnVersion = 3
  total = 0
  readonly #kinds = new Map<number, Tally>()
  readonly #instruments = new Set<number>()

  /** Adds the records of a block. */
  add(block: RecordBlock, container: Container): void {
    this.container = container
    this.version = block.version
    this.metadata ??= block.metadata
    this.total += block.length
    const { words } = block
    let instrument = -1
    for (let p = block.start; p < block.end; p += words[p]! & 0xff) {
      this.#count((words[p]! >>> 8) & 0xff, words[p + 3]! >>> 0, words[p + 2]! >>> 0)
      if (words[p + 1] === instrument) continue
      instrument = words[p + 1]!
      if (this.#instruments.size < mostInstruments) this.#instruments.add(instrument)
    }
  }

  #count(rtype: number, high: number, low: number): void {
    let tally = this.#kinds.get(rtype)
    if (tally === undefined) {
      tally = { count: 0, firstHigh: undefinedWord, firstLow: undefinedWord, lastHigh: 0, lastLow: 0 }
      this.#kinds.set(rtype, tally)
    }
    tally.count += 1
    if (high === undefinedWord && low === undefinedWord) return
    if (high < tally.firstHigh || (high === tally.firstHigh && low < tally.firstLow)) {
      tally.firstHigh = high
      tally.firstLow = low
    }
    if (high > tally.lastHigh || (high === tally.lastHigh && low > tally.lastLow)) {
      tally.lastHigh = high
      tally.lastLow = low
    }
  }

  /** Number of instruments, and whether there are more than were counted. */
  get instruments(): { readonly count: number; readonly more: boolean } {
    return { count: this.#instruments.size, more: this.#instruments.size >= mostInstruments }
  }

  /** What there is, most frequent first. Times in ns; undefined where no record has one. */
  kinds(): ReadonlyArray<{
    readonly rtype: number
    readonly count: number
    readonly range: readonly [first: bigint, last: bigint] | undefined
  }> {
    const nanos = (high: number, low: number): bigint => (BigInt(high) << 32n) | BigInt(low)
    return [...this.#kinds]
      .sort(([, a], [, b]) => b.count - a.count)
      .map(([rtype, t]) => ({
        rtype,
        count: t.count,
        range:
          t.firstHigh === undefinedWord && t.firstLow === undefinedWord
            ? undefined
            : [nanos(t.firstHigh, t.firstLow), nanos(t.lastHigh, t.lastLow)]
      }))
  }
}
