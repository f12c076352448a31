/** Log lines for people, on standard error: time, level, message, annotations. */
import { Cause, Logger } from "effect"
import type { Paint } from "./Paint.ts"

const textOf = (value: unknown): string =>
  typeof value === "string"
    ? value
    : value instanceof Error
      ? value.message
      : (JSON.stringify(value, (_, inner) => (typeof inner === "bigint" ? inner.toString() : inner)) ??
        String(value))

const levelOf = (paint: Paint, level: string): string => {
  const name = level.toLowerCase().padEnd(5)
  if (level === "Warn") return paint.yellow(name)
  return level === "Error" || level === "Fatal" ? paint.red(name) : paint.dim(name)
}

/** A logger that writes to standard error. */
export const stderrLogger = (paint: Paint): Logger.Logger<unknown, void> =>
  Logger.make(({ cause, date, logLevel, message }) => {
    const parts = (Array.isArray(message) ? message : [message]).map(textOf).join(" ")
    const failure = cause.reasons.length === 0 ? "" : `\n${Cause.pretty(cause)}`
    const time = paint.dim(date.toISOString().slice(11, 23))
    process.stderr.write(`${time} ${levelOf(paint, logLevel)} ${parts}${failure}\n`)
  })
