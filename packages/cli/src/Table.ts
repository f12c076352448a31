/** Aligned tables of text. */
import type { Paint } from "./Paint.ts"

/** How a column stands: numbers to the right, decimals under their points. */
export interface Column {
  readonly header: string
  readonly align?: "left" | "right" | "decimal"
  readonly paint?: (cell: string, row: number) => string
}

// Wide characters (CJK, emoji) take two cells; symbols of some venues have them.
const wide =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{1f300}-\u{1faff}]/u
const zero = /\p{Mark}/u

/** Terminal cells a text takes; it must not hold colour codes. */
export const cells = (text: string): number => {
  if (/^[\x20-\x7e]*$/.test(text)) return text.length
  let width = 0
  for (const c of text) width += zero.test(c) ? 0 : wide.test(c) ? 2 : 1
  return width
}

// A symbol or path is data: it must not move the cursor or colour the terminal.
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is removed
const control = /[\u0000-\u001f\u007f-\u009f]/g

/** The text with control characters shown as `?`. */
export const printable = (text: string): string => text.replace(control, "?")

const digitsBehindPoint = (text: string): number => {
  const dot = text.indexOf(".")
  return dot < 0 ? 0 : text.length - dot
}

const alignDecimals = (column: ReadonlyArray<string>): ReadonlyArray<string> => {
  const most = Math.max(0, ...column.map(digitsBehindPoint))
  return column.map((text) => text + " ".repeat(text === "" ? 0 : most - digitsBehindPoint(text)))
}

/** The table as lines: a header, then the rows, columns two blanks apart, no blanks at the end of a line. */
export const table = (
  columns: ReadonlyArray<Column>,
  rows: ReadonlyArray<ReadonlyArray<string>>,
  paint: Paint
): ReadonlyArray<string> => {
  const laidOut = columns.map((column, c) => {
    const texts = rows.map((row) => printable(row[c] ?? ""))
    const cellsOf = column.align === "decimal" ? alignDecimals(texts) : texts
    const width = Math.max(cells(column.header), ...cellsOf.map(cells))
    const left = (column.align ?? "left") === "left"
    const place = (text: string, style: (text: string) => string): string => {
      const blanks = " ".repeat(width - cells(text))
      return left ? style(text) + blanks : blanks + style(text)
    }
    return {
      header: place(column.header, paint.dim),
      cells: cellsOf.map((text, row) =>
        place(text, (bare) => (paint.colored && column.paint !== undefined ? column.paint(bare, row) : bare))
      )
    }
  })
  const line = (parts: ReadonlyArray<string>): string => parts.join("  ").trimEnd()
  return [
    line(laidOut.map(({ header }) => header)),
    ...rows.map((_, row) => line(laidOut.map((column) => column.cells[row]!)))
  ]
}

/** Names and values below each other. */
export const facts = (
  entries: ReadonlyArray<readonly [name: string, value: string]>,
  paint: Paint
): ReadonlyArray<string> => {
  const width = Math.max(0, ...entries.map(([name]) => cells(name)))
  return entries.map(
    ([name, value]) => `${paint.dim(name)}${" ".repeat(width - cells(name))}  ${printable(value)}`
  )
}
