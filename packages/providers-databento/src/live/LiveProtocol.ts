/**
 * The client's side of a live session as a pure state machine: bytes in, cut anywhere; messages and lines out. No socket,
 * no time, no promise.
 *
 *     greeting --line--> challenge --"cram="--> reply --"success=1"--> session (DBN, raw or one endless zstd stream)
 *                                                 +----anything else--> refused
 */

import { withoutKey } from "../ApiKey.ts"
import { DbnDecoder } from "../dbn/DbnDecoder.ts"
import type { RecordBlock } from "../dbn/RecordBlock.ts"
import { authenticationLine, type SessionRequest } from "./LiveRequest.ts"

/** Longest line of the dialogue, bytes. */
const MAX_LINE_BYTES = 64 * 1024
/** Lines that may come before the challenge. */
const MAX_GREETING_LINES = 16

/** Where a session is in its life. */
export type LivePhase = "greeting" | "challenge" | "reply" | "session" | "refused"

/** What the gateway said. */
export type GatewayMessage =
  /** First words, such as `lsg_version=0.9.4`. */
  | { readonly _tag: "Greeting"; readonly text: string }
  /** The key is accepted: subscribe, then start. Some gateways give no id. */
  | { readonly _tag: "Authenticated"; readonly sessionId: string | undefined }
  /** The session is denied; the gateway closes. */
  | { readonly _tag: "Refused"; readonly detail: string }
  /** Records of version 3, valid until the next `next`. The first block of a session is empty and brings its header. */
  | { readonly _tag: "Records"; readonly block: RecordBlock }

/** The gateway speaks in a way that the protocol does not know. */
export class LiveProtocolError extends Error {
  override readonly name = "LiveProtocolError"
}

const NEWLINE = 0x0a
const text = new TextDecoder()

/** Fields of a control line; later ones of the same name win, unknown ones are harmless. */
export const controlFields = (line: string): ReadonlyMap<string, string> =>
  new Map(
    line
      .split("|")
      .filter((field) => field.includes("="))
      .map((field) => {
        const at = field.indexOf("=")
        return [field.slice(0, at).trim(), field.slice(at + 1)]
      })
  )

/** One session. Push what the socket gave, call `next` until undefined, write what `takeLines` gives. */
export class LiveProtocol {
  readonly #request: SessionRequest
  readonly #key: string
  #phase: LivePhase = "greeting"
  #lines = ""
  /** Bytes of the dialogue not yet read as lines. */
  #rest: Uint8Array = new Uint8Array(0)
  #greetings = 0
  #decoder: DbnDecoder | undefined

  /** `request` and `key` have passed `requestProblem`. */
  constructor(request: SessionRequest, key: string) {
    this.#request = request
    this.#key = key
  }

  get phase(): LivePhase {
    return this.#phase
  }

  /**
   * Adds input. Bytes of a running session are read in place: leave them alone until `next` returned undefined.
   */
  push(chunk: Uint8Array): void {
    if (this.#decoder !== undefined) this.#decoder.push(chunk)
    else if (this.#phase !== "refused") this.#rest = joined(this.#rest, chunk)
  }

  /**
   * The next message; undefined: push more. Throws `LiveProtocolError` for a dialogue, `DbnError` for records, that are not
   * what they should be, after everything in front was given out.
   */
  next(): GatewayMessage | undefined {
    for (;;) {
      if (this.#phase === "refused") return undefined
      if (this.#decoder !== undefined) {
        const block = this.#decoder.take()
        return block === undefined ? undefined : { _tag: "Records", block }
      }
      const line = this.#takeLine()
      if (line === undefined) return undefined
      const message = this.#read(line)
      if (message !== undefined) return message
    }
  }

  /** Lines to write now; each is handed out once. */
  takeLines(): string {
    const lines = this.#lines
    this.#lines = ""
    return lines
  }

  /** Says that the gateway has closed; a `next` after it throws where that cut something in two. */
  end(): void {
    this.#decoder?.end()
  }

  /** Frees the decompressor. */
  close(): void {
    this.#decoder?.close()
  }

  #takeLine(): string | undefined {
    const end = this.#rest.indexOf(NEWLINE)
    if (end < 0 && this.#rest.length <= MAX_LINE_BYTES) return undefined
    if (end < 0 || end > MAX_LINE_BYTES)
      throw new LiveProtocolError(
        `the gateway sent more than ${MAX_LINE_BYTES} bytes without a line break instead of its ${this.#phase}: is this address a Databento gateway?`
      )
    const line = text.decode(this.#rest.subarray(0, end)).replace(/\r$/, "")
    this.#rest = this.#rest.subarray(end + 1)
    return withoutKey(line, this.#key)
  }

  #read(line: string): GatewayMessage | undefined {
    const fields = controlFields(line)
    if (fields.has("success")) return this.#readReply(fields)
    if (this.#phase === "reply") return undefined
    const challenge = fields.get("cram")
    if (challenge !== undefined) return this.#readChallenge(challenge)
    this.#greetings += 1
    if (this.#greetings > MAX_GREETING_LINES)
      throw new LiveProtocolError(
        `the gateway sent ${this.#greetings} lines and no challenge: is this address a Databento gateway?`
      )
    this.#phase = "challenge"
    return { _tag: "Greeting", text: line }
  }

  #readChallenge(challenge: string): undefined {
    if (challenge === "") throw new LiveProtocolError("the gateway sent an empty challenge")
    this.#lines += authenticationLine(this.#request, challenge, this.#key)
    this.#phase = "reply"
  }

  #readReply(fields: ReadonlyMap<string, string>): GatewayMessage {
    if (this.#phase === "reply" && fields.get("success") === "1") {
      this.#phase = "session"
      this.#decoder = new DbnDecoder({ upgrade: 3 })
      if (this.#rest.length > 0) this.#decoder.push(this.#rest)
      this.#rest = new Uint8Array(0)
      return { _tag: "Authenticated", sessionId: fields.get("session_id") }
    }
    this.#phase = "refused"
    return { _tag: "Refused", detail: fields.get("error") ?? "no reason given" }
  }
}

const joined = (a: Uint8Array, b: Uint8Array): Uint8Array => {
  const out = new Uint8Array(a.length + b.length)
  out.set(a)
  out.set(b, a.length)
  return out
}
