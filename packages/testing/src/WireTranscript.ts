/**
 * A dialogue over a connection, written down: what each side said, in order, in a text that people read and a test plays.
 *
 *     # wire transcript 1
 *     < {"type":"hello","challenge":"5f1c"}\n          the server says this
 *     >~ \{"op":"login","proof":"[0-9a-f]{64}"\}\n     the client says something that matches
 *     > {"op":"subscribe"}\n                           the client says exactly this
 *     <= 44424e03 00000000                             bytes that are no text, in hexadecimal digits
 *     <.                                               the server closes (>. the client, <! the server resets)
 *
 * In text, `\n`, `\r`, `\t`, `\\` and `\xHH` stand for one byte each, and a `\` at the end of a line for nothing: it shows that
 * a blank before it counts. Lines that begin with `#`, and empty ones, mean nothing.
 *
 * `WireRecorder` makes transcripts, `WireReplay` plays them to a client.
 */

/** One thing that happens. Consecutive bytes of one side are one step. */
export type WireStep =
  | { readonly from: "server" | "client"; readonly bytes: Uint8Array }
  /** The client says what matches from its beginning; what it says next begins where the match ends. Latin-1 text. */
  | { readonly from: "client"; readonly pattern: RegExp }
  | { readonly from: "server" | "client"; readonly end: "close" | "reset" }

/** A dialogue. */
export interface WireTranscript {
  readonly steps: ReadonlyArray<WireStep>
}

/** A text that is no transcript: which line, and what is wrong with it. */
export class TranscriptError extends Error {
  override readonly name = "TranscriptError"
}

const header = "# wire transcript 1"
/** Characters of text, and bytes of hexadecimal digits, that stand on one line. */
const [TextWidth, HexWidth] = [200, 48]

// ---------------------------------------------------------------------------------------------------------------------
// Writing

const named: { readonly [byte: number]: string } = { 9: "\\t", 10: "\\n", 13: "\\r", 92: "\\\\" }

/** Bytes as text of one line, escaped. */
export const escape = (bytes: Uint8Array): string => {
  let text = ""
  for (const byte of bytes)
    text +=
      named[byte] ??
      (byte >= 32 && byte < 127 ? String.fromCharCode(byte) : `\\x${byte.toString(16).padStart(2, "0")}`)
  return text
}

const isText = (bytes: Uint8Array): boolean => {
  let others = 0
  for (const byte of bytes) if ((byte < 32 || byte > 126) && named[byte] === undefined) others += 1
  return others * 8 <= bytes.length
}

/** Where to break text: after each newline, and where a line gets too long. */
const textLines = (bytes: Uint8Array): ReadonlyArray<Uint8Array> => {
  const lines: Array<Uint8Array> = []
  let from = 0
  for (let i = 0; i < bytes.length; i++) {
    if (bytes[i] !== 10 && i + 1 - from < TextWidth && i + 1 < bytes.length) continue
    lines.push(bytes.subarray(from, i + 1))
    from = i + 1
  }
  return lines
}

const hex = (bytes: Uint8Array): string =>
  Array.from(
    bytes,
    (byte, i) => `${i > 0 && i % 4 === 0 ? " " : ""}${byte.toString(16).padStart(2, "0")}`
  ).join("")

const hexLines = (bytes: Uint8Array): ReadonlyArray<string> =>
  Array.from({ length: Math.ceil(bytes.length / HexWidth) }, (_, i) =>
    hex(bytes.subarray(i * HexWidth, (i + 1) * HexWidth))
  )

const stepLines = (step: WireStep): ReadonlyArray<string> => {
  const side = step.from === "server" ? "<" : ">"
  // The engine escapes slashes, which mean nothing here.
  if ("pattern" in step) return [`${side}~ ${step.pattern.source.replaceAll("\\/", "/")}`]
  if ("end" in step) return [`${side}${step.end === "close" ? "." : "!"}`]
  return isText(step.bytes)
    ? textLines(step.bytes).map((line) => `${side} ${escape(line).replace(/ $/, " \\")}`)
    : hexLines(step.bytes).map((line) => `${side}= ${line}`)
}

/** The text of a transcript. */
export const format = ({ steps }: WireTranscript): string =>
  `${[header, ...steps.flatMap(stepLines)].join("\n")}\n`

// ---------------------------------------------------------------------------------------------------------------------
// Reading

const unescape = (text: string): Uint8Array | undefined => {
  const bytes: Array<number> = []
  const token = /\\(?:x([0-9a-fA-F]{2})|([nrt\\])|$)|([\x20-\x5b\x5d-\x7e])/gy
  while (token.lastIndex < text.length) {
    const found = token.exec(text)
    if (found === null) return undefined
    const [, code, name, plain] = found
    if (code !== undefined) bytes.push(Number.parseInt(code, 16))
    else if (name !== undefined) bytes.push({ n: 10, r: 13, t: 9, "\\": 92 }[name]!)
    else if (plain !== undefined) bytes.push(plain.charCodeAt(0))
  }
  return Uint8Array.from(bytes)
}

const unhex = (text: string): Uint8Array | undefined => {
  const digits = text.replace(/\s+/g, "")
  return /^([0-9a-fA-F]{2})*$/.test(digits)
    ? Uint8Array.from(digits.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16))
    : undefined
}

const readStep = (line: string): WireStep | undefined => {
  const [, side, kind = "", rest = ""] = /^([<>])([=~.!]?)(?: (.*))?$/.exec(line) ?? []
  if (side === undefined) return undefined
  const from = side === "<" ? "server" : "client"
  if (kind === "." || kind === "!") return { from, end: kind === "." ? "close" : "reset" }
  if (kind === "~") return from === "client" ? readPattern(rest) : undefined
  const bytes = kind === "=" ? unhex(rest) : unescape(rest)
  return bytes === undefined ? undefined : { from, bytes }
}

const readPattern = (source: string): WireStep | undefined => {
  try {
    return { from: "client", pattern: new RegExp(source, "y") }
  } catch {
    return undefined
  }
}

/** Consecutive bytes of one side as one step. */
export const merged = (steps: ReadonlyArray<WireStep>): ReadonlyArray<WireStep> => {
  const result: Array<WireStep> = []
  for (const step of steps) {
    const before = result.at(-1)
    if (before !== undefined && "bytes" in before && "bytes" in step && before.from === step.from)
      result[result.length - 1] = { from: step.from, bytes: concat([before.bytes, step.bytes]) }
    else result.push(step)
  }
  return result
}

/** Chunks as one. */
export const concat = (chunks: ReadonlyArray<Uint8Array>): Uint8Array => {
  const whole = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0))
  let at = 0
  for (const chunk of chunks) {
    whole.set(chunk, at)
    at += chunk.length
  }
  return whole
}

/** Reads a transcript. Throws `TranscriptError` where the text is none. */
export const parse = (text: string): WireTranscript => {
  const lines = text.split(/\r?\n/)
  if (lines[0] !== header) throw new TranscriptError(`line 1: a transcript begins with "${header}"`)
  const steps = lines.flatMap((line, i) => {
    if (line === "" || line.startsWith("#")) return []
    const step = readStep(line)
    if (step === undefined) throw new TranscriptError(`line ${i + 1}: this is no step: ${line.slice(0, 60)}`)
    return [step]
  })
  return { steps: merged(steps) }
}

// ---------------------------------------------------------------------------------------------------------------------
// What a decoder is fed with

/** Everything that the server says, as one piece. */
export const serverBytes = ({ steps }: WireTranscript): Uint8Array =>
  concat(steps.flatMap((step) => (step.from === "server" && "bytes" in step ? [step.bytes] : [])))
