/** Log lines on standard error: for people (time, level, message), or a JSON document each. */

import { Cause, Logger, References } from "effect"
import type { Paint } from "./Paint.ts"
import { logLevels } from "./Session.ts"

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

const messageOf = (message: unknown): string =>
  (Array.isArray(message) ? message : [message]).map(textOf).join(" ")

/** A logger that writes to standard error. */
export const stderrLogger = (paint: Paint): Logger.Logger<unknown, void> =>
  Logger.make(({ cause, date, logLevel, message }) => {
    const failure = cause.reasons.length === 0 ? "" : `\n${Cause.pretty(cause)}`
    const time = paint.dim(date.toISOString().slice(11, 23))
    process.stderr.write(`${time} ${levelOf(paint, logLevel)} ${messageOf(message)}${failure}\n`)
  })

/** A logger that writes a line of JSON each to standard error; annotations are fields of their own. */
export const jsonLogger: Logger.Logger<unknown, void> = Logger.make(
  ({ cause, date, fiber, logLevel, message }) => {
    const line = {
      ...fiber.getRef(References.CurrentLogAnnotations),
      time: date.toISOString(),
      level: logLevel.toLowerCase(),
      message: messageOf(message),
      ...(cause.reasons.length === 0 ? {} : { error: Cause.pretty(cause) })
    }
    process.stderr.write(`${textOf(line)}\n`)
  }
)

type Level = (typeof logLevels)[number]

/** The least important level that is logged, while a service runs. */
export interface LevelSwitch {
  readonly get: () => Level
  readonly set: (level: Level) => void
}

/** A switch that stands at a level. */
export const levelSwitch = (level: Level): LevelSwitch => {
  let current = level
  return {
    get: () => current,
    set: (next) => {
      current = next
    }
  }
}

/** Lets through what a switch allows. The fibers of a service are to log everything, then. */
export const switched = (
  logger: Logger.Logger<unknown, void>,
  level: LevelSwitch
): Logger.Logger<unknown, void> =>
  Logger.make((options) => {
    if (logLevels.indexOf(options.logLevel.toLowerCase() as Level) >= logLevels.indexOf(level.get()))
      logger.log(options)
  })
