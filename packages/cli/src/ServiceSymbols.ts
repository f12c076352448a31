/** The symbols file of a running service: read again when it changes, and when SIGHUP comes. */
import { stat } from "node:fs/promises"
import type { ConfigError, SymbolEntry } from "@data-manager/core"
import { Effect, Latch, SubscriptionRef } from "effect"
import { onHangup } from "./ExitCode.ts"
import { plural } from "./NumberText.ts"
import * as SymbolsFile from "./SymbolsFile.ts"

/** Time between two looks at the file. */
const Pause = "5 seconds"

/** Entries of the file, and how to follow it. */
export interface FollowedSymbols {
  readonly entries: SubscriptionRef.SubscriptionRef<ReadonlyArray<SymbolEntry>>
  /** Reads the file when it has changed, until interrupted. A file with mistakes changes nothing. */
  readonly follow: Effect.Effect<never>
}

/** Tells one content of a file from another; the time of writing alone may be the same. */
const stampOf = (path: string): Effect.Effect<string> =>
  Effect.promise(() =>
    stat(path).then(
      ({ ino, mtimeMs, size }) => `${mtimeMs} ${size} ${ino}`,
      () => "none"
    )
  )

const reload = ({ entries }: Pick<FollowedSymbols, "entries">, path: string): Effect.Effect<void> =>
  SymbolsFile.load(path).pipe(
    Effect.tap((read) => SubscriptionRef.set(entries, read)),
    Effect.flatMap((read) => Effect.logInfo(`${path} is read again: ${plural(read.length, "symbol")}`)),
    Effect.catch((error) => Effect.logError(`the symbols stay as they were: ${error.message}`))
  )

/** Reads the file, and prepares to follow it. */
export const open = (path: string): Effect.Effect<FollowedSymbols, ConfigError> =>
  Effect.gen(function* () {
    let stamp = yield* stampOf(path)
    const entries = yield* SubscriptionRef.make(yield* SymbolsFile.load(path))
    // Whoever sends the signal wants the file to be read, whatever its time says.
    let isAsked = false
    const asked = Latch.makeUnsafe(false)
    onHangup(() => {
      isAsked = true
      asked.openUnsafe()
    })
    const look = Effect.gen(function* () {
      yield* Effect.timeoutOption(asked.await, Pause)
      const isWanted = isAsked
      isAsked = false
      asked.closeUnsafe()
      const current = yield* stampOf(path)
      if (current === stamp && !isWanted) return
      stamp = current
      yield* reload({ entries }, path)
    })
    return { entries, follow: Effect.forever(look) }
  })
