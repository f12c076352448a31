/**
 * The reload of a live service: what is collected, of the recent past, from store and spool, while live rows are held back. It
 * always ends with their release.
 */
import { Clock, Duration, Effect, Option, Stream } from "effect"
import type { HubPublication } from "./HubPublication.ts"
import type { InstrumentRegistry } from "./InstrumentRegistry.ts"
import type { LiveWriter } from "./LiveWriter.ts"
import type { MarketBatch } from "./MarketBatch.ts"
import type { MarketSchema } from "./MarketSchema.ts"
import type { MarketStore } from "./MarketStore.ts"
import type { Publication } from "./Publication.ts"
import * as Reload from "./Reload.ts"
import type { Spool } from "./Spool.ts"
import type { SpoolError } from "./SpoolError.ts"
import * as UnixNanos from "./UnixNanos.ts"

/** What it works with. */
export interface LiveReloadOptions {
  readonly store: MarketStore["Service"]
  readonly registry: InstrumentRegistry["Service"]
  readonly spool: Spool["Service"]
  readonly writer: LiveWriter
  readonly publication: Publication["Service"]
  readonly publishing: HubPublication
  /** How far back, from now. */
  readonly window: Duration.Input
  /** About how long live rows may be held back: a third each for the store to catch up with the spool, and for reading either. */
  readonly timeout: Duration.Input
  readonly defaultSchemas: ReadonlyArray<MarketSchema>
}

/** How it went, or goes. */
export interface LiveReloadStatus {
  readonly state: Reload.ReloadState
  readonly rows: number
  readonly spooledRows: number
  /** From when on the rows are whole, ns; undefined before they are there. */
  readonly since: bigint | undefined
}

/** A reload that can be run. */
export interface LiveReload {
  /** Never fails: what goes wrong is logged, and live rows go on without the past. */
  readonly run: Effect.Effect<void>
  readonly status: () => LiveReloadStatus
}

const patienceOf = ({ timeout }: LiveReloadOptions): number =>
  Duration.toMillis(Duration.fromInputUnsafe(timeout)) / 3

/** A reload; nothing happens before it runs. */
export const make = (options: LiveReloadOptions): LiveReload => {
  let status: LiveReloadStatus = { state: "running", rows: 0, spooledRows: 0, since: undefined }
  const { publishing } = options
  const isHolding = (): boolean => publishing.held() !== undefined
  const work = Effect.gen(function* () {
    const spooled = yield* leftInSpool(options)
    const end = BigInt(yield* Clock.currentTimeMillis) * UnixNanos.PerMilli
    const length = Duration.toNanosUnsafe(Duration.fromInputUnsafe(options.window))
    // Clocks of venues may be ahead of this machine's.
    const range = { start: end - length, end: end + 60n * UnixNanos.PerSecond }
    const { defaultSchemas, publication, registry, store } = options
    const patience = patienceOf(options)
    const held = () => publishing.held() ?? []
    const putBack = ({ instruments, schemas }: Reload.Collected) =>
      Reload.reload({
        store,
        publication,
        instruments,
        schemas,
        range,
        spooled,
        held,
        timeout: patience,
        isWanted: isHolding
      })
    const done = yield* Reload.collected(store, registry, range, defaultSchemas).pipe(
      Effect.timeout(patience),
      Effect.flatMap(putBack),
      Effect.catchTags({
        StoreError: (error) => Effect.andThen(withoutStore(error), putBack(nothing)),
        TimeoutError: (error) => Effect.andThen(withoutStore(error), putBack(nothing))
      })
    )
    status = { ...done, state: isHolding() ? "done" : "cut-short" }
    yield* tell(status)
  })
  const run = work.pipe(
    Effect.catchCause((cause) => {
      status = { ...status, state: "failed" }
      return Effect.logWarning(
        "recent rows were not put back into the ring; live rows go on without them",
        cause
      )
    }),
    Effect.ensuring(publishing.release)
  )
  return { run, status: () => status }
}

/** What waits in the spool needs no store. */
const nothing: Reload.Collected = { instruments: [], schemas: [] }

const withoutStore = ({ message }: { readonly message: string }): Effect.Effect<void> =>
  Effect.logWarning(
    `recent rows cannot be read from the store and are not put back into the ring: ${message}`
  )

const tell = ({ rows, since, spooledRows, state }: LiveReloadStatus): Effect.Effect<void> => {
  const from = since === undefined || rows === 0 ? "" : `, whole since ${UnixNanos.toIso(since)}`
  const more = spooledRows === 0 ? "" : `, and ${spooledRows} that are not in the store yet`
  const what = `put ${rows} stored rows back into the ring${from}${more}`
  return state === "done"
    ? Effect.logInfo(`${what}; live rows follow`)
    : Effect.logWarning(`${what}, and no more: live rows are too many to be held back any longer`)
}

/**
 * What an earlier process left in the spool: nothing, once the writer has it in the store; where the store is away, or slow, the
 * rows themselves. They are written later, in order, before those of this process.
 */
const leftInSpool = (options: LiveReloadOptions): Effect.Effect<ReadonlyArray<MarketBatch>, SpoolError> =>
  Effect.gen(function* () {
    const { spool, writer } = options
    const patience = patienceOf(options)
    const last = spool.opened.next - 1n
    if (last < spool.opened.first) return []
    if (Option.isSome(yield* Effect.timeoutOption(writer.written(last), patience))) return []
    const { committed } = writer.status()
    const from = committed < spool.opened.first ? spool.opened.first : committed + 1n
    const batches: Array<MarketBatch> = []
    const read = spool.read(from).pipe(
      Stream.takeWhile((spooled) => spooled._tag === "SpoolHole" || spooled.frame <= last),
      Stream.takeUntil((spooled) => spooled._tag === "SpooledEntry" && spooled.frame === last),
      Stream.runForEach((spooled) =>
        Effect.sync(() => {
          if (spooled._tag === "SpooledEntry" && spooled.entry._tag === "FeedRows")
            batches.push(spooled.entry.batch)
        })
      )
    )
    yield* Effect.timeoutOption(read, patience)
    return batches
  })
