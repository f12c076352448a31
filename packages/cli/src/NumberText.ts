/** Numbers as people read them: thousands separators, sizes, durations, rates. Exact numbers go through `Decimal`. */

/** `1234567` as `1,234,567`; also for decimal text, whose fraction stays as it is. */
export const grouped = (value: number | bigint | string): string => {
  const text = value.toString()
  const dot = text.indexOf(".")
  const whole = dot < 0 ? text : text.slice(0, dot)
  return whole.replace(/\B(?=(\d{3})+(?!\d))/g, ",") + (dot < 0 ? "" : text.slice(dot))
}

const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]

/** `1536` as `1.5 KiB`. */
export const bytes = (value: number | bigint): string => {
  let size = Number(value)
  let unit = 0
  while (size >= 1024 && unit < units.length - 1) {
    size /= 1024
    unit += 1
  }
  return unit === 0
    ? `${size} B`
    : `${size < 10 ? size.toFixed(1) : grouped(Math.round(size))} ${units[unit]}`
}

/** `0.012` as `12 ms`, `3.25` as `3.3 s`, `75` as `1:15`, `3700` as `1:01:40`. */
export const seconds = (value: number): string => {
  if (value < 1) return `${Math.round(value * 1000)} ms`
  if (value < 59.95) return `${value.toFixed(1)} s`
  const whole = Math.round(value)
  const pad = (n: number): string => n.toString().padStart(2, "0")
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60]
  return h > 0 ? `${h}:${pad(m)}:${pad(s)}` : `${m}:${pad(s)}`
}

const spans = [
  [31_557_600_000_000_000n, "y"],
  [86_400_000_000_000n, "d"],
  [3_600_000_000_000n, "h"],
  [60_000_000_000n, "m"],
  [1_000_000_000n, "s"],
  [1_000_000n, "ms"],
  [1_000n, "us"],
  [1n, "ns"]
] as const

/** Nanoseconds in their two largest units: `1d 2h`, `13h 30m`, `250ms`. */
export const duration = (nanos: bigint): string => {
  const index = spans.findIndex(([length]) => nanos >= length)
  if (index < 0) return "0s"
  const [length, unit] = spans[index]!
  const next = spans[index + 1]
  const rest = next === undefined ? 0n : (nanos % length) / next[0]
  return `${nanos / length}${unit}${next === undefined || rest === 0n ? "" : ` ${rest}${next[1]}`}`
}

/** Rows per second; empty where no time has passed. */
export const rate = (rows: number, elapsed: number): string =>
  elapsed <= 0 ? "" : `${grouped(Math.round(rows / elapsed))} rows/s`

/** `1 row`, `2 rows`. */
export const plural = (count: number | bigint, noun: string): string =>
  `${grouped(count)} ${noun}${BigInt(count) === 1n ? "" : "s"}`
