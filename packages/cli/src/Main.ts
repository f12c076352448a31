/**
 * Runs a command line: signals, the words for what went wrong, and the exit code.
 *
 * The first SIGINT, SIGTERM or SIGHUP interrupts the command, so that its finalizers run; a second one ends at once. A service
 * takes SIGHUP for itself.
 * When the reader of standard output goes away the command is interrupted as well, and that is no failure.
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Cause, Effect, Exit } from "effect"
import { CliConfig, type CliError, CliOutput, Command, type HelpDoc } from "effect/cli"
import type { CommandFailure } from "./Action.ts"
import { cliConfig, dm } from "./Cli.ts"
import { codeOfInterruption, ExitCode, hangupListener } from "./ExitCode.ts"
import { helpPage } from "./Help.ts"
import * as Output from "./Output.ts"
import { plain, vivid } from "./Paint.ts"
import { colorAllowed } from "./Session.ts"

type Failure = CliError.CliError | CommandFailure

const wantsColor = (stream: NodeJS.WriteStream, argv: ReadonlyArray<string>): boolean =>
  colorAllowed(stream) && !argv.includes("--no-color")

/** Help on request goes to standard output; help because of a mistake does not mix with results. */
const presenter = (argv: ReadonlyArray<string>): CliOutput.Presenter => {
  const page = (stream: NodeJS.WriteStream, doc: HelpDoc.HelpDoc): string =>
    helpPage(doc, stream.columns || 100, wantsColor(stream, argv) ? vivid : plain)
  return {
    present: (event) => {
      switch (event._tag) {
        case "Version":
          return Output.writeLine(`${event.name} ${event.version}`)
        case "Help":
          return event.reason === "Requested" || event.commandPath.length === 1
            ? Output.writeLine(page(process.stdout, event.helpDoc))
            : Output.note(page(process.stderr, event.helpDoc))
        case "InvalidInvocation":
          return Output.note(
            [
              ...event.errors.map((error) => `${event.commandPath.join(" ")}: ${error.message}`),
              `Usage: ${event.helpDoc.usage}`,
              `Try '${event.commandPath.join(" ")} --help'.`
            ].join("\n")
          )
      }
    }
  }
}

/** A database URL that cannot be read is a wrong configuration; what a server says is not. */
const isWrongUrl = ({ operation, reason }: Extract<Failure, { readonly _tag: "StoreError" }>): boolean =>
  operation === "read database url" && reason._tag === "StoreBadRequest"

/** What to say about a failure, and the exit code; nothing to say where it was said before. */
const verdict = (failure: Failure): { readonly message?: string; readonly code: number } => {
  switch (failure._tag) {
    case "Ended":
      return { code: failure.exitCode }
    case "ShowHelp":
      // `dm` alone asks for help; a group without its command, or a mistake, is a wrong command line.
      return {
        code: failure.errors.length === 0 && failure.commandPath.length === 1 ? ExitCode.ok : ExitCode.usage
      }
    case "UsageError":
    case "ConfigError":
      return { message: failure.message, code: ExitCode.usage }
    case "StoreError":
      return {
        message: failure.message,
        code: isWrongUrl(failure) ? ExitCode.usage : ExitCode.failed
      }
    case "ProviderError":
    case "TransportError":
    case "CommandError":
      return { message: failure.message, code: ExitCode.failed }
    default:
      return { message: failure.message, code: ExitCode.usage }
  }
}

const defectText = (defect: unknown): string =>
  `internal error, please report it: ${defect instanceof Error ? (defect.stack ?? defect.message) : String(defect)}`

/** The exit code of a finished command; what went wrong is told on the way. */
const conclude = (exit: Exit.Exit<void, Failure>): number => {
  if (Exit.isSuccess(exit)) return ExitCode.ok
  const { cause } = exit
  if (Cause.hasInterruptsOnly(cause)) return codeOfInterruption()
  const failure = Cause.findErrorOption(cause)
  if (failure._tag === "Some") {
    const { message, code } = verdict(failure.value)
    if (message !== undefined) process.stderr.write(`${message.replace(/^/gm, "dm: ")}\n`)
    return code
  }
  for (const reason of cause.reasons)
    if (reason._tag === "Die") process.stderr.write(`dm: ${defectText(reason.defect)}\n`)
  return ExitCode.failed
}

/** Runs the command line and ends the process with its exit code. */
export const main = (argv: ReadonlyArray<string>, version: string): void => {
  Output.install()
  const program: Effect.Effect<void, Failure> = Command.runWith(dm, { version })(argv).pipe(
    Effect.provideService(CliOutput.Presenter, presenter(argv)),
    Effect.provideService(CliConfig.CliConfig, cliConfig),
    Effect.provide(NodeServices.layer)
  )
  const fiber = Effect.runFork(program)
  // The program may wait for nothing but a database process; the timer keeps Node alive until the fiber is done.
  const alive = setInterval(() => {}, 2 ** 30)
  let gone = false
  let interrupted = false
  const interrupt = (): void => {
    if (interrupted) process.exit(ExitCode.interrupted)
    interrupted = true
    fiber.interruptUnsafe()
  }
  Output.onGone(() => {
    gone = true
    fiber.interruptUnsafe()
  })
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, interrupt)
  process.on("SIGHUP", () => (hangupListener() ?? interrupt)())
  fiber.addObserver((exit) => {
    clearInterval(alive)
    const code = conclude(exit)
    process.exit(
      gone && code === ExitCode.interrupted ? ExitCode.ok : interrupted ? codeOfInterruption() : code
    )
  })
}
