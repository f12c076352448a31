/**
 * The bridge from a command's declaration to what it does. Declarations are light, so that help is fast; actions load
 * the store, codecs and file access, and are imported when they run.
 */
import type { ConfigError, ProviderError, StoreError, TransportError } from "@data-manager/core"
import { Effect, Logger, References } from "effect"
import type { CommandError, Ended, UsageError } from "./ExitCode.ts"
import { stderrLogger } from "./Log.ts"
import { type logLevels, type Session, session } from "./Session.ts"

/** Everything a command may fail with. Each kind has its exit code, see `Main`. */
export type CommandFailure =
  | CommandError
  | ConfigError
  | Ended
  | ProviderError
  | StoreError
  | TransportError
  | UsageError

/** What a command does. */
export type Action = Effect.Effect<void, CommandFailure>

const levels = {
  all: "All",
  trace: "Trace",
  debug: "Debug",
  info: "Info",
  warn: "Warn",
  error: "Error",
  fatal: "Fatal",
  none: "None"
} as const satisfies Record<(typeof logLevels)[number], string>

/** Sets the least important level that is logged. */
export const atLogLevel =
  (level: keyof typeof levels) =>
  <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.provideService(self, References.MinimumLogLevel, levels[level])

/** Loads the module of an action and runs it, with logs on standard error. */
export const lazily = <M>(load: () => Promise<M>, use: (module: M, session: Session) => Action) =>
  Effect.gen(function* () {
    const current = yield* session
    const module = yield* Effect.promise(load)
    yield* use(module, current).pipe(
      atLogLevel(current.logLevel ?? "info"),
      Effect.provide(Logger.layer([stderrLogger(current.err)]))
    )
  })
