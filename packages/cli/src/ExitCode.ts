/** How `dm` ends: the exit codes, and the failures that carry one. */
import { Data } from "effect"

/** Documented exit codes. */
export const ExitCode = {
  ok: 0,
  /** The command failed, or did only a part. */
  failed: 1,
  /** The command line or the configuration is wrong; nothing was done. */
  usage: 2,
  /** `dm status` and `dm doctor` found something unhealthy. */
  unhealthy: 3,
  /** Ctrl-C or a termination signal. */
  interrupted: 130
} as const

let interruption: number = ExitCode.interrupted

/** Sets the exit code after a signal: for a service, whose ordinary end that is. */
export const afterInterruption = (code: number): void => {
  interruption = code
}

/** The exit code after a signal. */
export const codeOfInterruption = (): number => interruption

let hangup: (() => void) | undefined

/** Does something else than end when SIGHUP comes: for a service that reads its files again. */
export const onHangup = (listener: () => void): void => {
  hangup = listener
}

/** What to do when SIGHUP comes; undefined where it ends the command as other signals do. */
export const hangupListener = (): (() => void) | undefined => hangup

/** The command line makes no sense: wrong date, unknown schema, options that exclude each other. Exit code 2. */
export class UsageError extends Data.TaggedError("UsageError")<{
  readonly message: string
}> {}

/** A failure of the program's surroundings with what to do about it: a file that cannot be written. Exit code 1. */
export class CommandError extends Data.TaggedError("CommandError")<{
  readonly message: string
}> {}

/** The command has told everything already; only its exit code is left to set. */
export class Ended extends Data.TaggedError("Ended")<{
  readonly exitCode: number
}> {}

/** Everything was said, and a part of it was a failure. */
export const partlyFailed = new Ended({ exitCode: ExitCode.failed })

/** Everything was said, and something is unhealthy. */
export const unhealthy = new Ended({ exitCode: ExitCode.unhealthy })
