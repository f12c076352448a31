/**
 * Control messages of the live gateway: lines of `key=value` joined by `|`. Lines may come split anywhere or several at
 * once; keys come in any order; unknown ones are ignored.
 */

/** Most bytes of a line. */
export const MAX_LINE_BYTES = 64 * 1024

/** The fields of a line; a part without `=` is a key with an empty value. */
export type LineFields = ReadonlyMap<string, string>

/** Reads a line without its LF. */
export const parseLine = (line: string): LineFields =>
  new Map(
    line.split("|").map((part) => {
      const at = part.indexOf("=")
      return at < 0 ? [part.trim(), ""] : [part.slice(0, at).trim(), part.slice(at + 1)]
    })
  )

/** Cuts incoming bytes into lines. */
export class LineBuffer {
  readonly #decoder = new TextDecoder()
  #text = ""
  readonly #lines: Array<string> = []

  /** Adds bytes. */
  push(chunk: Uint8Array): void {
    const parts = (this.#text + this.#decoder.decode(chunk, { stream: true })).split("\n")
    this.#text = parts.pop() as string
    for (const line of parts) this.#lines.push(line.endsWith("\r") ? line.slice(0, -1) : line)
  }

  /** Whether a line has grown beyond what the gateway takes. */
  get isTooLong(): boolean {
    return this.#text.length > MAX_LINE_BYTES || (this.#lines[0]?.length ?? 0) > MAX_LINE_BYTES
  }

  /** Whether the input ended, or stands, inside a line. */
  get hasRest(): boolean {
    return this.#text !== ""
  }

  /** The next line, left in place. */
  peek(): string | undefined {
    return this.#lines[0]
  }

  /** Takes the next line. */
  take(): string | undefined {
    return this.#lines.shift()
  }
}
