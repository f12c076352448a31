/** Lengths of bars that can be asked for. Bars start at multiples of their length since the epoch, in UTC. */

const table = {
  "1s": 1,
  "1m": 60,
  "5m": 300,
  "15m": 900,
  "30m": 1800,
  "1h": 3600,
  "4h": 14400,
  "1d": 86400
} as const

/** `1m`, `1h`, `1d` and so on. */
export type Timeframe = keyof typeof table

/** Every offered timeframe, shortest first. */
export const all = Object.keys(table) as ReadonlyArray<Timeframe>

/** Length in seconds. */
export const seconds = (timeframe: Timeframe): number => table[timeframe]

/** Whether a text names an offered timeframe. */
export const is = (text: string): text is Timeframe => Object.hasOwn(table, text)
