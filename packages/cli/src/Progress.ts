/** A line of progress on a terminal, rewritten in place. Nothing is written where nobody watches. */
import { bytes, grouped, rate, seconds } from "./NumberText.ts"
import { cells, printable } from "./Table.ts"

/** How far a job has come. */
export interface ProgressState {
  /** What is being worked on. */
  readonly label: string
  readonly rows: number
  readonly bytesRead: number
  /** All bytes there are; 0 where it is not known. */
  readonly bytesTotal: number
  readonly elapsedSeconds: number
}

const bar = (part: number, width: number): string => {
  const filled = Math.round(Math.min(1, Math.max(0, part)) * width)
  return `${"█".repeat(filled)}${"░".repeat(width - filled)}`
}

/** Seconds until the end at the pace so far; undefined before there is a pace. */
export const remaining = (state: ProgressState): number | undefined => {
  const { bytesRead, bytesTotal, elapsedSeconds } = state
  if (bytesTotal === 0 || bytesRead === 0 || elapsedSeconds < 0.5) return undefined
  return (Math.max(0, bytesTotal - bytesRead) / bytesRead) * elapsedSeconds
}

/** The line: `file.dbn  ██████░░░░  61 %  1,234,567 rows  400,000 rows/s  ETA 0:12`, cut to the width. */
export const progressLine = (state: ProgressState, columns: number): string => {
  const { bytesRead, bytesTotal, elapsedSeconds, rows } = state
  const part = bytesTotal === 0 ? undefined : bytesRead / bytesTotal
  const left = remaining(state)
  const numbers = [
    ...(part === undefined
      ? [bytes(bytesRead)]
      : [`${bar(part, 12)} ${Math.floor(Math.min(1, part) * 100)} %`]),
    `${grouped(rows)} rows`,
    ...(elapsedSeconds < 0.5 ? [] : [rate(rows, elapsedSeconds)]),
    ...(left === undefined || left === 0 ? [] : [`ETA ${seconds(left)}`])
  ].join("  ")
  const room = columns - 1 - cells(numbers) - 2
  if (room < 8) return numbers.slice(0, Math.max(0, columns - 1))
  const label = printable(state.label)
  const shown = label.length > room ? `…${label.slice(label.length - room + 1)}` : label
  return `${shown}  ${numbers}`
}

/** A line on standard error that is rewritten at most ten times a second. */
export interface LineWriter {
  readonly show: (line: () => string) => void
  /** Removes the line, so that other messages have the terminal. */
  readonly clear: () => void
}

/** Writes where standard error is a terminal. */
export const lineWriter = (watched: boolean): LineWriter => {
  if (!watched) return { show: () => {}, clear: () => {} }
  let last = 0
  let shown = false
  return {
    show: (line) => {
      const now = performance.now()
      if (now - last < 100) return
      last = now
      shown = true
      process.stderr.write(`\r\u001b[2K${line()}`)
    },
    clear: () => {
      if (shown) process.stderr.write("\r\u001b[2K")
      shown = false
      last = 0
    }
  }
}

/** `LineWriter` of a job's progress. */
export interface ProgressWriter {
  readonly show: (state: ProgressState) => void
  /** Removes the line, so that other messages have the terminal. */
  readonly clear: () => void
}

/** Writes to standard error where it is a terminal. */
export const progressWriter = (watched: boolean): ProgressWriter => {
  const { clear, show } = lineWriter(watched)
  return { clear, show: (state) => show(() => progressLine(state, process.stderr.columns || 80)) }
}
