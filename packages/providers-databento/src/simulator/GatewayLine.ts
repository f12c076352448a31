/**
 * Control messages of the live gateway: lines of `key=value` joined by `|`. Lines may come split anywhere or several at
 * once; keys come in any order; unknown ones are ignored.
 */

/** Most characters of a line. */
export const MAX_LINE_LENGTH = 64 * 1024
/** Most characters that may wait: a client that sends faster than it is answered is cut off. */
const MAX_WAITING = 32 * 1024 * 1024

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
  #waiting = 0

  /** Adds bytes. */
  push(chunk: Uint8Array): void {
    const parts = (this.#text + this.#decoder.decode(chunk, { stream: true })).split("\n")
    this.#text = parts.pop() as string
    for (const line of parts) {
      this.#lines.push(line.endsWith("\r") ? line.slice(0, -1) : line)
      this.#waiting += line.length
    }
  }

  /** Whether a line, or what waits in all, has grown beyond what the gateway takes. */
  get isTooLong(): boolean {
    const longest = Math.max(this.#text.length, this.#lines[0]?.length ?? 0)
    return longest > MAX_LINE_LENGTH || this.#waiting > MAX_WAITING
  }

  /** The next line, left in place. */
  peek(): string | undefined {
    return this.#lines[0]
  }

  /** Takes the next line. */
  take(): string | undefined {
    const line = this.#lines.shift()
    this.#waiting -= line?.length ?? 0
    return line
  }
}
