/**
 * Standard output and error. The result of a command goes to standard output, and nothing else does; progress, logs and
 * messages for people go to standard error.
 *
 * A reader that goes away (`dm query ... | head`) ends the program quietly: writes then wait for ever, and `onGone`
 * tells the program to stop.
 */
import { Effect } from "effect"

let gone = false
const listeners: Array<() => void> = []

/** Calls back once the reader of standard output is gone. */
export const onGone = (listener: () => void): void => {
  listeners.push(listener)
}

const isBrokenPipe = (error: unknown): boolean =>
  error instanceof Error &&
  "code" in error &&
  (error.code === "EPIPE" || error.code === "ERR_STREAM_DESTROYED")

/** Installs what keeps a broken pipe from being an error. Any other failure of standard output is thrown. */
export const install = (): void => {
  process.stdout.on("error", (error) => {
    if (!isBrokenPipe(error)) throw error
    if (gone) return
    gone = true
    for (const listener of listeners) listener()
  })
  process.stderr.on("error", () => {})
}

/** Writes to standard output and waits until it has been taken. */
export const write = (chunk: string | Uint8Array): Effect.Effect<void> =>
  chunk.length === 0
    ? Effect.void
    : Effect.callback<void>((resume) => {
        if (gone) return
        process.stdout.write(chunk, (error) => {
          if (error === undefined || error === null) resume(Effect.void)
        })
      })

/** One line, or several, on standard output. */
export const writeLine = (line: string): Effect.Effect<void> => write(`${line}\n`)

/** A message for people on standard error. */
export const note = (line: string): Effect.Effect<void> =>
  Effect.sync(() => {
    process.stderr.write(`${line}\n`)
  })
