/**
 * Finds on which line of a TOML text each key stands, so that a problem with a value can point at it. It reads any text
 * without failing, because it also serves files that the parser refuses; it does not judge them.
 */

/** One table header or `key = value`. */
export interface TomlEntry {
  /** Dotted path, including the table it stands in. Quotes around names are removed. */
  readonly key: string
  /** 1-based. */
  readonly line: number
  /** First line of the value's text without comment; empty for a table header. */
  readonly value: string
}

const bare = /[A-Za-z0-9_-]/

/** Names of a key path that begins at `at`, and where it ends. */
const keyPath = (
  text: string,
  at: number
): { readonly names: ReadonlyArray<string>; readonly end: number } => {
  const names: Array<string> = []
  let i = at
  for (;;) {
    while (text[i] === " " || text[i] === "\t") i++
    const quote = text[i]
    let name = ""
    if (quote === '"' || quote === "'") {
      const close = text.indexOf(quote, i + 1)
      const newline = text.indexOf("\n", i)
      if (close < 0 || (newline >= 0 && newline < close)) return { names, end: i }
      name = text.slice(i + 1, close)
      i = close + 1
    } else while (i < text.length && bare.test(text[i]!)) name += text[i++]
    if (name === "") return { names, end: i }
    names.push(name)
    while (text[i] === " " || text[i] === "\t") i++
    if (text[i] !== ".") return { names, end: i }
    i++
  }
}

/** End of the string that begins at `at`: one past its closing quotes, or the end of its line when it is not closed. */
const stringEnd = (text: string, at: number): number => {
  const quote = text[at]!
  const long = quote.repeat(3)
  if (text.startsWith(long, at)) {
    const close = text.indexOf(long, at + 3)
    return close < 0 ? text.length : close + 3
  }
  let i = at + 1
  while (i < text.length && text[i] !== quote && text[i] !== "\n")
    i += quote === '"' && text[i] === "\\" ? 2 : 1
  return text[i] === quote ? i + 1 : i
}

/** End of the value that begins at `at`: the newline or comment after it, brackets and strings skipped. */
const valueEnd = (text: string, at: number): number => {
  let depth = 0
  let i = at
  while (i < text.length) {
    const c = text[i]!
    if (c === '"' || c === "'") {
      i = stringEnd(text, i)
      continue
    }
    if (c === "#") {
      if (depth <= 0) return i
      while (i < text.length && text[i] !== "\n") i++
      continue
    }
    if (c === "[" || c === "{") depth++
    if (c === "]" || c === "}") depth--
    if (c === "\n" && depth <= 0) return i
    i++
  }
  return i
}

/** Every table header and key of a text, in its order. Keys inside inline tables are not listed. */
export const scanToml = (text: string): ReadonlyArray<TomlEntry> => {
  const entries: Array<TomlEntry> = []
  let table: ReadonlyArray<string> = []
  let line = 1
  let i = text.startsWith("\uFEFF") ? 1 : 0
  const advance = (end: number): void => {
    for (; i < end; i++) if (text[i] === "\n") line++
  }
  while (i < text.length) {
    const c = text[i]!
    if (c === "#") {
      const newline = text.indexOf("\n", i)
      i = newline < 0 ? text.length : newline
    } else if (c === "[") {
      const { names, end } = keyPath(text, text[i + 1] === "[" ? i + 2 : i + 1)
      table = names
      entries.push({ key: names.join("."), line, value: "" })
      const newline = text.indexOf("\n", end)
      i = newline < 0 ? text.length : newline
    } else if (bare.test(c) || c === '"' || c === "'") {
      const { names, end } = keyPath(text, i)
      const isKey = text[end] === "="
      const stop = isKey ? valueEnd(text, end + 1) : Math.max(end, i + 1)
      const value = isKey
        ? text
            .slice(end + 1, stop)
            .trim()
            .split("\n", 1)[0]!
        : ""
      if (isKey) entries.push({ key: [...table, ...names].join("."), line, value })
      advance(stop)
    } else advance(i + 1)
  }
  return entries
}
