/**
 * Imports files into the store: ledger run, batches with their segments, coverage with the last of them.
 *
 * A file that fails is reported and the next one is imported. A file that was imported before is answered from the
 * ledger. After an interruption or a kill, importing the same file again continues behind its last committed segment.
 */
import { Cause, Clock, Effect, Exit, Queue, Stream } from "effect"
import type { FileEnd, FileEvent, FileHeader, FileSource } from "./FileSource.ts"
import type { MarketBatch } from "./MarketBatch.ts"
import { type IngestRun, MarketStore } from "./MarketStore.ts"
import type { ProviderError } from "./ProviderError.ts"
import type { StoreError } from "./StoreError.ts"

/** What became of one file. */
export interface ImportSummary {
  readonly path: string
  readonly header: FileHeader | undefined
  /** Records in the file, stored or not. */
  readonly records: number
  /** Rows that went to the store in this call; rows that an earlier call had committed are `resumed`. */
  readonly inserted: number
  readonly duplicates: number
  readonly conflicts: number
  readonly resumed: number
  readonly definitions: number
  readonly notStored: ReadonlyMap<string, number>
  /** Instruments for which coverage was claimed. */
  readonly coverageClaims: number
  /** The ledger knew the whole file: nothing was read or written. */
  readonly alreadyImported: boolean
  readonly notes: ReadonlyArray<string>
  readonly seconds: number
}

/** Progress of an import, for terminals and logs. */
export type ImportEvent =
  | {
      readonly _tag: "FileStarted"
      readonly path: string
      readonly bytes: number
      readonly header: FileHeader
    }
  | {
      readonly _tag: "Progress"
      readonly path: string
      readonly bytes: number
      readonly bytesRead: number
      /** Rows committed so far, and records seen that are not rows. */
      readonly rows: number
    }
  | { readonly _tag: "FileDone"; readonly summary: ImportSummary }
  | {
      readonly _tag: "FileFailed"
      readonly summary: ImportSummary
      readonly error: ProviderError | StoreError
    }

/** Options of an import. */
export interface ImportOptions {
  /** What happens where a key meets different content; see `AppendClaim`. Default "keep". */
  readonly onConflict?: "keep" | "replace" | undefined
  /** How rows are written; see `AppendClaim`. Files that do not fit the bulk profile fail. Default: the ordinary way. */
  readonly profile?: "bulk" | undefined
  /** Read files again that the ledger has as complete. */
  readonly again?: boolean | undefined
}

interface Tally {
  inserted: number
  duplicates: number
  conflicts: number
  resumed: number
  segment: number
  rows: number
  bytesRead: number
}

/**
 * Imports the files: definitions first, then the others in the given order. The stream never fails: what goes wrong
 * with a file is its `FileFailed`. A store that is away fails each file with the same error, so callers may stop early.
 */
export const run = <R>(
  files: ReadonlyArray<FileSource<R>>,
  options: ImportOptions = {}
): Stream.Stream<ImportEvent, never, MarketStore | R> =>
  Stream.callback<ImportEvent, never, MarketStore | R>(
    (queue) =>
      Effect.gen(function* () {
        const readable: Array<{ readonly file: FileSource<R>; readonly header: FileHeader }> = []
        for (const file of files) {
          const header = yield* Effect.result(file.header)
          if (header._tag === "Failure")
            yield* Queue.offer(queue, failed(emptySummary(file.path), header.failure))
          else readable.push({ file, header: header.success })
        }
        const ordered = [
          ...readable.filter(({ header }) => header.isDefinitions),
          ...readable.filter(({ header }) => !header.isDefinitions)
        ]
        for (const { file, header } of ordered) {
          yield* Queue.offer(queue, { _tag: "FileStarted", path: file.path, bytes: file.bytes, header })
          yield* Queue.offer(queue, yield* importFile(file, header, options, queue))
        }
        yield* Queue.end(queue)
      }),
    { bufferSize: 16 }
  )

const emptySummary = (path: string): ImportSummary => ({
  path,
  header: undefined,
  records: 0,
  inserted: 0,
  duplicates: 0,
  conflicts: 0,
  resumed: 0,
  definitions: 0,
  notStored: new Map(),
  coverageClaims: 0,
  alreadyImported: false,
  notes: [],
  seconds: 0
})

const failed = (summary: ImportSummary, error: ProviderError | StoreError): ImportEvent => ({
  _tag: "FileFailed",
  summary,
  error
})

const importFile = Effect.fnUntraced(function* <R>(
  file: FileSource<R>,
  header: FileHeader,
  options: ImportOptions,
  queue: Queue.Queue<ImportEvent, Cause.Done>
) {
  const started = yield* Clock.currentTimeMillis
  const tally: Tally = {
    inserted: 0,
    duplicates: 0,
    conflicts: 0,
    resumed: 0,
    segment: 0,
    rows: 0,
    bytesRead: 0
  }
  const exit = yield* Effect.exit(store(file, header, options, queue, tally))
  const seconds = ((yield* Clock.currentTimeMillis) - started) / 1000
  const { inserted, duplicates, conflicts, resumed } = tally
  const base: ImportSummary = {
    ...emptySummary(file.path),
    header,
    inserted,
    duplicates,
    conflicts,
    resumed,
    seconds
  }
  if (Exit.isFailure(exit)) {
    const error = Cause.findErrorOption(exit.cause)
    if (error._tag === "Some") return failed(base, error.value)
    return yield* Effect.failCause(exit.cause as Cause.Cause<never>)
  }
  const end = exit.value
  if (end === undefined) return { _tag: "FileDone", summary: { ...base, alreadyImported: true } } as const
  const summary: ImportSummary = {
    ...base,
    records: end.records,
    definitions: end.definitions,
    notStored: end.notStored,
    coverageClaims: end.coverage.length,
    notes: end.notes
  }
  return end.failure === undefined ? ({ _tag: "FileDone", summary } as const) : failed(summary, end.failure)
})

/** Stores one file; undefined where the ledger says that all of it is there. */
const store = Effect.fnUntraced(function* <R>(
  file: FileSource<R>,
  header: FileHeader,
  options: ImportOptions,
  queue: Queue.Queue<ImportEvent, Cause.Done>,
  tally: Tally
) {
  const market = yield* MarketStore
  const fingerprint = options.again === true ? undefined : yield* file.fingerprint
  const ledger = yield* market.beginRun({
    kind: "import",
    source: file.path,
    provider: header.provider,
    dataset: header.dataset,
    schema: header.schema,
    fingerprint
  })
  if (ledger.completedAt !== undefined) return undefined
  // The newest batch is held back until its successor comes: coverage goes with the last one, in its transaction.
  let held: MarketBatch | undefined
  const commit = Effect.fnUntraced(function* (batch: MarketBatch, end: FileEnd | undefined) {
    yield* append(market, ledger, batch, end, options, tally)
    yield* Queue.offer(queue, {
      _tag: "Progress",
      path: file.path,
      bytes: file.bytes,
      bytesRead: tally.bytesRead,
      rows: tally.rows
    })
  })
  let end: FileEnd | undefined
  const onEvent = Effect.fnUntraced(function* (event: FileEvent) {
    switch (event._tag) {
      case "Advanced":
        tally.bytesRead = event.bytesRead
        return
      case "Batch": {
        const previous = held
        held = event.batch
        tally.bytesRead = event.bytesRead
        if (previous !== undefined) yield* commit(previous, undefined)
        return
      }
      case "End":
        end = event
    }
  })
  yield* Effect.scoped(Stream.runForEach(file.events(market.registerListings), onEvent))
  const last = end as FileEnd | undefined
  if (held !== undefined) yield* commit(held, last)
  // A last segment that the ledger had already was skipped together with its claim.
  if (last !== undefined && last.coverage.length > 0 && tally.segment <= ledger.nextSegment)
    yield* market.claimCoverage(last.coverage)
  if (last !== undefined && last.failure === undefined) yield* market.completeRun(ledger.id)
  return last
})

const append = Effect.fnUntraced(function* (
  market: MarketStore["Service"],
  ledger: IngestRun,
  batch: MarketBatch,
  end: FileEnd | undefined,
  options: ImportOptions,
  tally: Tally
) {
  const segment = tally.segment++
  tally.rows += batch.length
  if (segment < ledger.nextSegment) {
    tally.resumed += batch.length
    return
  }
  const result = yield* market.append(batch, {
    run: ledger.id,
    segment,
    coverage: end?.coverage,
    onConflict: options.onConflict,
    profile: options.profile
  })
  if (result.skipped) {
    tally.resumed += batch.length
    return
  }
  tally.inserted += result.inserted
  tally.duplicates += result.duplicates
  tally.conflicts += result.conflicts
})
