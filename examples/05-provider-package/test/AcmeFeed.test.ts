/** The live dialogue of a recorded session (`AcmeSession.wire`): the same however its bytes are cut. */
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { LocalInstruments, type ProviderEvent } from "@data-manager/core"
import { SeededRandom, WireRecorder, WireReplay, WireSplit, WireTranscript } from "@data-manager/testing"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Redacted, Stream } from "effect"
import { AcmeFeed } from "../src/AcmeFeed.ts"
import { claimOf } from "../src/AcmeRequest.ts"
import { provider } from "../src/index.ts"
import * as AcmeService from "./AcmeService.ts"
import { start, symbols } from "./AcmeTape.ts"

const file = join(import.meta.dirname, "AcmeSession.wire")
const transcript = WireTranscript.parse(readFileSync(file, "utf8"))
const received = WireTranscript.serverBytes(transcript)
/** The session breaks after so many trades. */
const trades = 9

const rowsOf = (events: ReadonlyArray<ProviderEvent>): ReadonlyArray<string> =>
  events.flatMap((event) => {
    if (event._tag !== "Batch" || event.batch._tag !== "TradeBatch") return [event._tag]
    const { batch } = event
    return [...batch.rows()].map((row, i) => `${row.symbol} ${row.tradeId} ${batch.priceText(i)} ${row.side}`)
  })

/** A feed that is given the pieces; what it said and gave. */
const fed = (cuts: WireSplit.Cuts) => {
  const claims = symbols.map((symbol) => claimOf("acme", { symbol, since: start }))
  const instruments = Effect.runSync(LocalInstruments.make().register(claims))
  const feed = new AcmeFeed("acme", Redacted.make(AcmeService.keys.valid), instruments, undefined)
  feed.begin()
  const all = WireSplit.pieces(received, cuts).map((piece) => feed.receive(piece))
  return {
    rows: rowsOf(all.flatMap(({ events }) => events)),
    said: all.flatMap(({ replies }) => replies.map((reply) => `${JSON.stringify(reply)}\n`)).join("")
  }
}

/** Live trades of a gateway at this port, up to the end of the recorded session. */
const live = (service: AcmeService.AcmeService, port: number) =>
  Effect.gen(function* () {
    const options = { ...service.options, live: `127.0.0.1:${port}` }
    const { register } = LocalInstruments.make()
    const { live } = yield* provider.make({ id: "acme", options, env: service.env, register })
    let left = trades
    const events = live({ dataset: service.dataset, symbols, stypeIn: "raw_symbol", schema: "trades" })
    return yield* events.pipe(
      Stream.filter((event) => event._tag === "Batch"),
      Stream.takeUntil((event) => {
        left -= event.batch.length
        return left <= 0
      }),
      Stream.runCollect
    )
  })

describe("AcmeFeed", () => {
  it("gives and says the same at every split", () => {
    const whole = fed([])
    assert.lengthOf(whole.rows, trades)
    const client = transcript.steps.flatMap((step) =>
      step.from === "client" && "bytes" in step ? [step.bytes] : []
    )
    assert.strictEqual(whole.said, Buffer.from(WireTranscript.concat(client)).toString("latin1"))
    for (const cuts of [...WireSplit.every(received.length), WireSplit.bytewise(received.length)])
      assert.deepStrictEqual(fed(cuts), whole)
  })

  it.live("gives the same over a socket, cut at random", () =>
    Effect.gen(function* () {
      const service = yield* AcmeService.make({ trades: 12 })
      const random = new SeededRandom(5)
      for (let round = 0; round < 10; round++) {
        const cuts = WireSplit.random(received.length, 40, random)
        const replay = yield* WireReplay.make(transcript, { cuts })
        assert.deepStrictEqual(rowsOf(yield* live(service, replay.port)), fed([]).rows)
        yield* replay.done
      }
    })
  )

  it.live("is what the venue and the provider say today", () =>
    Effect.gen(function* () {
      const service = yield* AcmeService.make({ trades: 12 })
      yield* service.fault({ type: "disconnect", afterRows: trades })
      const [host = "", port = ""] = service.options.live.split(":")
      const recorder = yield* WireRecorder.make({ host, port: Number(port), secrets: service.secrets })
      yield* live(service, recorder.port)
      const text = WireTranscript.format(yield* recorder.transcript)
      if (process.env.RECORD === "1") yield* Effect.sync(() => writeFileSync(file, text))
      // Each session has a challenge of its own, and either side may be the first to close.
      const masked = (one: string): string =>
        one.replace(/"(challenge|proof)":"[0-9a-f]+"/g, '"$1":"..."').replace(/^[<>]\.\n/gm, "")
      assert.strictEqual(masked(text), masked(readFileSync(file, "utf8")))
    })
  )
})
