/** A client of a gateway session without any network: lines in, records out, time by hand. */
import { createHash } from "node:crypto"
import { DbnDecoder } from "../../src/dbn/DbnDecoder.ts"
import type { DbnMetadata } from "../../src/dbn/DbnMetadata.ts"
import { type DbnRecord, decodeRecord } from "../../src/dbn/DbnRecord.ts"
import type { DecoderOptions } from "../../src/dbn/StreamDecoder.ts"
import { SIMULATOR_KEY } from "../../src/simulator/DatabentoSimulator.ts"
import { GatewaySession, type SentStretch, type SessionInit } from "../../src/simulator/GatewaySession.ts"
import { PrivateMarket } from "../../src/simulator/MarketClock.ts"

export const CHALLENGE = "t7kNhwj4xqR0QYjzFKtBEG2ec2pXJ4FK"

/** The right answer to a challenge. */
export const authOf = (challenge: string, key = SIMULATOR_KEY): string =>
  `${createHash("sha256").update(`${challenge}|${key}`).digest("hex")}-${key.slice(-5)}`

const encoder = new TextEncoder()

export class SessionClient {
  readonly session: GatewaySession
  /** Real time, ns. */
  now = 5_000_000_000_000n
  end: "open" | "close" | "reset" = "open"
  wait: number | undefined
  readonly lines: Array<string> = []
  /** Everything behind the control lines. */
  readonly chunks: Array<Uint8Array> = []
  /** What it was sent of an endless market. */
  readonly stretches: Array<SentStretch> = []
  #isText = true
  #text = ""

  constructor(init: Pick<SessionInit, "catalogue"> & Partial<SessionInit>) {
    this.session = new GatewaySession({
      key: SIMULATOR_KEY,
      challenge: CHALLENGE,
      sessionId: "7",
      market: new PrivateMarket(undefined),
      rate: undefined,
      version: 3,
      atEnd: "idle",
      faults: [],
      isExcess: false,
      now: this.now,
      ...init
    })
  }

  send(...lines: ReadonlyArray<string>): this {
    this.session.receive(encoder.encode(lines.map((line) => `${line}\n`).join("")))
    return this
  }

  login(dataset: string, options = ""): this {
    return this.send(`auth=${authOf(CHALLENGE)}|dataset=${dataset}|encoding=dbn|ts_out=0${options}`)
  }

  /** One step after `millis`. */
  step(millis = 0, buffered = 0): this {
    if (this.end !== "open") return this
    this.now += BigInt(millis) * 1_000_000n
    const turn = this.session.step(this.now, buffered)
    for (const chunk of turn.chunks) this.#take(chunk)
    this.stretches.push(...turn.stretches)
    this.end = turn.end
    this.wait = turn.wait
    return this
  }

  /** Steps until nothing is due at once. */
  run(millis = 0): this {
    this.step(millis)
    for (let i = 0; this.wait === 0 && this.end === "open"; i++) {
      if (i > 10_000) throw new Error("the session never rests")
      this.step()
    }
    return this
  }

  #take(chunk: Uint8Array): void {
    if (!this.#isText) {
      this.chunks.push(chunk)
      return
    }
    this.#text += Buffer.from(chunk).toString("latin1")
    for (;;) {
      const at = this.#text.indexOf("\n")
      if (at < 0) return
      const line = this.#text.slice(0, at)
      this.lines.push(line)
      this.#text = this.#text.slice(at + 1)
      if (!line.startsWith("success=1")) continue
      this.#isText = false
      if (this.#text !== "") this.chunks.push(Buffer.from(this.#text, "latin1"))
      return
    }
  }

  /** Header and records so far. Throws where the stream ends inside a record. */
  received(options: DecoderOptions = {}): { metadata: DbnMetadata | undefined; records: Array<DbnRecord> } {
    const decoder = new DbnDecoder(options)
    const records: Array<DbnRecord> = []
    for (const chunk of this.chunks) {
      decoder.push(chunk)
      for (let block = decoder.take(); block !== undefined; block = decoder.take())
        for (const position of block.positions()) records.push(decodeRecord(block, position))
    }
    return { metadata: decoder.metadata, records }
  }

  /** Records of a struct. */
  of<T extends DbnRecord["type"]>(
    type: T,
    options: DecoderOptions = {}
  ): Array<Extract<DbnRecord, { type: T }>> {
    return this.received(options).records.filter(
      (record): record is Extract<DbnRecord, { type: T }> => record.type === type
    )
  }

  /** Texts of system records. */
  get messages(): ReadonlyArray<string> {
    return this.of("system").map((record) => record.msg)
  }
}
