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

const newFeed = (): AcmeFeed => {
  const claims = symbols.map((symbol) => claimOf("acme", { symbol, since: start }))
  const instruments = Effect.runSync(LocalInstruments.make().register(claims))
  const feed = new AcmeFeed("acme", Redacted.make(AcmeService.keys.valid), instruments, undefined)
  feed.begin()
  return feed
}

/** A feed that is given the pieces; what it said and gave. */
const fed = (cuts: WireSplit.Cuts) => {
  const feed = newFeed()
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

  describe("in a dialogue", () => {
    const tell = (feed: AcmeFeed, ...messages: ReadonlyArray<object>) =>
      feed.receive(Buffer.from(messages.map((one) => `${JSON.stringify(one)}\n`).join("")))
    const begun = (next: string, time = "100") => ({
      type: "subscribed",
      symbols: { "BTC-EUR": { next, time } }
    })
    const trade = (id: number) => ({
      ...{ type: "trade", symbol: "BTC-EUR", id: `${id}`, time: `${100 * id}` },
      ...{ price: "1.5", size: "2", side: "buy" }
    })
    const gaps = ({ events }: { readonly events: ReadonlyArray<ProviderEvent> }) =>
      events.flatMap((event) => (event._tag === "Gap" ? [[event.cause, event.rows, event.range]] : []))

    it("tells a hole between two trades, after what came before it", () => {
      const received = tell(newFeed(), begun("1"), trade(1), trade(4))
      assert.deepStrictEqual(gaps(received), [["sequence", 2n, { start: 100n, end: 401n }]])
      assert.deepStrictEqual(
        received.events.map(({ _tag }) => _tag),
        ["Batch", "Gap", "Batch"]
      )
    })

    it("tells a hole at the end by a heartbeat", () => {
      const heartbeat = { type: "heartbeat", last: { "BTC-EUR": { id: "3", time: "300" } } }
      const feed = newFeed()
      assert.deepStrictEqual(gaps(tell(feed, begun("1"), trade(1), heartbeat)), [
        ["sequence", 2n, { start: 100n, end: 301n }]
      ])
      assert.deepStrictEqual(tell(feed, heartbeat).events, [])
    })

    it("goes on after its last trade, drops what comes again, and tells what cannot be had", () => {
      const feed = newFeed()
      tell(feed, begun("1"), trade(1), trade(2))
      feed.begin()
      const [subscription] = tell(feed, { type: "welcome" }).replies
      assert.deepInclude((subscription as { readonly symbols: object }).symbols, { "BTC-EUR": { next: "3" } })
      assert.deepStrictEqual(rowsOf(tell(feed, begun("3"), trade(2), trade(3)).events), [
        "ACME.SPOT:BTC-EUR 3 1.5 buy"
      ])
      feed.begin()
      assert.deepStrictEqual(gaps(tell(feed, begun("9", "900"))), [
        ["disconnect", 5n, { start: 300n, end: 901n }]
      ])
    })

    it.each([
      ["not JSON\n", /is not a JSON object/],
      ['{"type":"trade","symbol":"DOGE-EUR"}\n', /not asked for/],
      ['{"type":"subscribed","symbols":5}\n', /symbol by symbol/],
      ["x".repeat(70_000), /does not end/]
    ])("refuses bytes that are not of the protocol: %#", (text, message) => {
      assert.throws(() => newFeed().receive(Buffer.from(text)), message)
    })
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
