/**
 * What a service has left in its spool, written without one: where the service was not the active one any more, or was killed and
 * another is active now. Rows go into the store like those of an import: keys that are there already change nothing. The position
 * is that of this spool alone, so that no other service is moved.
 */
import { Effect, type FileSystem, Path } from "effect"
import type { FeedNote } from "./FeedEntry.ts"
import * as LiveInstruments from "./LiveInstruments.ts"
import * as LiveWriter from "./LiveWriter.ts"
import type { MarketStore } from "./MarketStore.ts"
import * as Spool from "./Spool.ts"
import type { SpoolError } from "./SpoolError.ts"
import type { StoreError } from "./StoreError.ts"

/** What was written. */
export interface LiveDrained {
  /** Rows that are new in the store, and such as it had. */
  readonly rows: bigint
  readonly duplicates: bigint
}

/**
 * Writes everything that a spool holds, and ends its sessions where it stopped. Waits for a store that is away. The spool must be
 * nobody else's at the time.
 */
export const run = (
  options: Omit<Spool.SpoolOptions, "instruments">,
  store: MarketStore["Service"],
  /** Told how to ask what is left, once the spool is open. */
  onOpened: (depth: Spool.Spool["Service"]["depth"]) => void = () => {}
): Effect.Effect<LiveDrained, StoreError | SpoolError, FileSystem.FileSystem | Path.Path> =>
  Effect.gen(function* () {
    const path = yield* Path.Path
    let instruments: LiveInstruments.LiveInstruments | undefined
    const spool = yield* Spool.make({
      ...options,
      instruments: () => instruments?.directory ?? new Map()
    })
    onOpened(spool.depth)
    instruments = yield* LiveInstruments.open(path.join(options.folder, "instruments.jsonl"))
    // No session begins under this name.
    const writer = LiveWriter.make({ store, spool, instruments, instance: "drain" })
    yield* Effect.raceFirst(writer.run, writer.written(spool.opened.next - 1n))
    yield* endSessions(store, yield* spool.id)
    const { duplicates, rows } = writer.status()
    return { rows, duplicates }
  }).pipe(Effect.scoped)

const endSessions = Effect.fnUntraced(function* (store: MarketStore["Service"], stream: string) {
  const open = yield* store.openFeedSessions
  const notes = open
    .filter(({ session }) => session.startsWith(`${stream}/`))
    .map(({ session }): FeedNote => ({ _tag: "SessionEnded", session }))
  if (notes.length > 0) yield* store.noteFeed(notes)
})
