/** Colours of a terminal, or none. */

type Painter = (text: string) => string

/** How the parts of an output are coloured. */
export interface Paint {
  readonly colored: boolean
  readonly bold: Painter
  readonly dim: Painter
  readonly red: Painter
  readonly green: Painter
  readonly yellow: Painter
  readonly cyan: Painter
}

const same: Painter = (text) => text

/** No colours: files, pipes, NO_COLOR. */
export const plain: Paint = {
  colored: false,
  bold: same,
  dim: same,
  red: same,
  green: same,
  yellow: same,
  cyan: same
}

const code =
  (on: number, off: number): Painter =>
  (text) =>
    text === "" ? text : `\u001b[${on}m${text}\u001b[${off}m`

/** Colours as the terminal's theme has them. */
export const vivid: Paint = {
  colored: true,
  bold: code(1, 22),
  dim: code(2, 22),
  red: code(31, 39),
  green: code(32, 39),
  yellow: code(33, 39),
  cyan: code(36, 39)
}
