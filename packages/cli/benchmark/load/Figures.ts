/** Figures of a load run: what was measured beside what was wanted. */
import { loadavg } from "node:os"

let isMissed = false

/** Prints a figure; one that misses its target makes the run fail in the end. */
export const figure = (what: string, value: string, isMet?: boolean, target = ""): void => {
  const judged = isMet === undefined ? "" : isMet ? `  ok (${target})` : `  MISSED (${target})`
  if (isMet === false) isMissed = true
  console.log(`  ${what.padEnd(46)} ${value}${judged}`)
}

export const heading = (text: string): void =>
  console.log(
    `\n${text}   [load average ${loadavg()
      .map((it) => it.toFixed(1))
      .join(" ")}]`
  )

/** Ends the run with a code that says whether every figure met its target. */
export const finish = (): never => process.exit(isMissed ? 1 : 0)

export const millions = (value: number): string => `${(value / 1e6).toFixed(2)} M`
export const megabytes = (value: number): string => `${(value / 1e6).toFixed(0)} MB`
export const micros = (value: number): string => `${(value / 1_000).toFixed(0)} us`
export const percent = (value: number): string => `${(value * 100).toFixed(1)} %`

export const sleep = (millis: number): Promise<void> => new Promise((done) => setTimeout(done, millis))

/** A distribution in which every value stands for so many rows. */
export class Distribution {
  readonly #values: Array<readonly [value: number, rows: number]> = []
  #rows = 0

  add(value: number, rows: number): void {
    this.#values.push([value, rows])
    this.#rows += rows
  }

  get rows(): number {
    return this.#rows
  }

  /** Sorted once asked; call after the last `add`. */
  quantile(share: number): number {
    this.#values.sort(([a], [b]) => a - b)
    let rows = 0
    for (const [value, count] of this.#values) {
      rows += count
      if (rows >= share * this.#rows) return value
    }
    return Number.NaN
  }
}
