/** Pictures of bars made of characters: candles with an axis of prices, and a line of eighth blocks for volumes. */
import type { Paint } from "./Paint.ts"

/** One candle; prices as doubles, because a picture needs no more. */
export interface Candle {
  readonly open: number
  readonly high: number
  readonly low: number
  readonly close: number
  readonly volume: number
  /** Text under the candle's column, shown where there is room. */
  readonly label: string
}

const blocks = "▁▂▃▄▅▆▇█"

/** A value per character, from the smallest to the largest; blanks where there is no value. */
export const sparkline = (values: ReadonlyArray<number>): string => {
  const known = values.filter(Number.isFinite)
  if (known.length === 0) return " ".repeat(values.length)
  const low = Math.min(...known)
  const span = Math.max(...known) - low
  return values
    .map((value) =>
      Number.isFinite(value) ? blocks[span === 0 ? 3 : Math.round(((value - low) / span) * 7)]! : " "
    )
    .join("")
}

/** Heights from zero: an empty bar has no block. */
const volumeLine = (values: ReadonlyArray<number>): string => {
  const most = Math.max(...values.filter(Number.isFinite), 0)
  return values
    .map((value) => (value > 0 && most > 0 ? blocks[Math.max(0, Math.ceil((value / most) * 8) - 1)]! : " "))
    .join("")
}

// Upper and lower half of a character cell: nothing, wick, body.
const glyphs = [
  [" ", "╷", "╻"],
  ["╵", "│", "╽"],
  ["╹", "╿", "┃"]
] as const

interface Scale {
  readonly low: number
  /** Half cells per unit of price. */
  readonly factor: number
  readonly halves: number
}

/** Which half cell a price is in, 0 at the bottom. */
const half = (scale: Scale, price: number): number =>
  Math.min(scale.halves - 1, Math.max(0, Math.floor((price - scale.low) * scale.factor)))

const columnOf = (candle: Candle, scale: Scale, rows: number): ReadonlyArray<string> => {
  const { open, high, low, close } = candle
  if (![open, high, low, close].every(Number.isFinite)) return Array.from({ length: rows }, () => " ")
  const [top, bottom] = [half(scale, high), half(scale, low)]
  const [bodyTop, bodyBottom] = [half(scale, Math.max(open, close)), half(scale, Math.min(open, close))]
  const partAt = (h: number): 0 | 1 | 2 =>
    h >= bodyBottom && h <= bodyTop ? 2 : h >= bottom && h <= top ? 1 : 0
  return Array.from({ length: rows }, (_, row) => {
    const upper = (rows - row) * 2 - 1
    return glyphs[partAt(upper)][partAt(upper - 1)]
  })
}

/** Labels under their columns, as many as fit without touching. */
const labelLine = (candles: ReadonlyArray<Candle>): string => {
  let line = ""
  for (const [i, { label }] of candles.entries()) {
    if (label === "" || (line !== "" && i < line.length + 2)) continue
    if (i + label.length > Math.max(candles.length, label.length)) break
    line = line.padEnd(i) + label
  }
  return line
}

/**
 * Candles from left to right, one column each, as many of the newest as fit into `columns`; green where the close is not
 * below the open, red otherwise. Empty where no bar has prices.
 */
export const candles = (
  bars: ReadonlyArray<Candle>,
  size: { readonly columns: number; readonly rows: number },
  formatPrice: (price: number) => string,
  paint: Paint
): ReadonlyArray<string> => {
  const room = Math.max(10, size.columns - 16)
  const shown = bars.slice(-room)
  const highs = shown.map(({ high }) => high).filter(Number.isFinite)
  const lows = shown.map(({ low }) => low).filter(Number.isFinite)
  if (highs.length === 0 || lows.length === 0) return []
  const [low, high] = [Math.min(...lows), Math.max(...highs)]
  const halves = size.rows * 2
  const scale: Scale = { low, factor: high > low ? halves / (high - low) : 0, halves }
  const drawn = shown.map((bar) => {
    const color = bar.close >= bar.open ? paint.green : paint.red
    return columnOf(bar, scale, size.rows).map((glyph) => (glyph === " " ? glyph : color(glyph)))
  })
  const axis = Array.from({ length: size.rows }, (_, row) =>
    row % 4 === 0 || row === size.rows - 1
      ? formatPrice(high - ((high - low) * row) / Math.max(1, size.rows - 1))
      : ""
  )
  const width = Math.max(...axis.map((text) => text.length))
  const lines = axis.map((text, row) => {
    const cell = drawn.map((column) => column[row]).join("")
    return `${paint.dim(`${text.padStart(width)} ${text === "" ? "│" : "┤"}`)}${cell}`
  })
  const blank = " ".repeat(width)
  return [
    ...lines,
    `${blank} ${paint.dim("│")}${paint.cyan(volumeLine(shown.map(({ volume }) => volume)))}`,
    `${blank}  ${paint.dim(labelLine(shown))}`
  ].map((line) => line.trimEnd())
}
