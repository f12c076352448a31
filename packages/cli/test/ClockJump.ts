/** Loaded before a program: with every SIGUSR2 its wall clock jumps, an hour forward, back, an hour backward, and so on. */
const jumps = [3_600_000, 0, -3_600_000, 0]
const now = Date.now.bind(Date)
let offset = 0
let next = 0

process.on("SIGUSR2", () => {
  offset = jumps[next % jumps.length]!
  next += 1
})

const OwnDate = Date
globalThis.Date = class extends OwnDate {
  constructor(...args: ReadonlyArray<unknown>) {
    super(...((args.length === 0 ? [now() + offset] : args) as [number]))
  }
  static override now(): number {
    return now() + offset
  }
} as DateConstructor
