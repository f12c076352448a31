import { assert, describe, it } from "vitest"
import { blankRecord } from "../../src/dbn/RecordEncoder.ts"
import type { LiveFault } from "../../src/simulator/LiveFault.ts"
import { PrivateMarket, SharedMarket } from "../../src/simulator/MarketClock.ts"
import { authOf, CHALLENGE, SessionClient } from "./SessionClient.ts"
import {
  catalogueOf,
  DATASET,
  DAY,
  futuresCatalogue,
  idOf,
  market,
  SECOND,
  syntheticCatalogue,
  trades
} from "./TestCatalogue.ts"

const open = (init: Partial<ConstructorParameters<typeof SessionClient>[0]> = {}): SessionClient =>
  new SessionClient({ catalogue: syntheticCatalogue, ...init })

const streaming = (
  subscription: string,
  init: Partial<ConstructorParameters<typeof SessionClient>[0]> = {},
  options = ""
): SessionClient => open(init).login(DATASET, options).send(subscription, "start_session").run()

const ALL_TRADES = "schema=trades|stype_in=raw_symbol|symbols=ALL_SYMBOLS|id=3"

describe("authentication", () => {
  it("greets, challenges and lets the right key in, whatever the order of the keys", () => {
    const client = open()
      .send(`ts_out=0|unknown=1|dataset=${DATASET}|auth=${authOf(CHALLENGE)}`)
      .step()
    assert.deepEqual(client.lines, ["lsg_version=0.9.4", `cram=${CHALLENGE}`, "success=1|session_id=7"])
    assert.equal(client.end, "open")
  })

  it.each([
    [
      "a wrong key",
      `auth=${authOf(CHALLENGE, `db-${"x".repeat(29)}`)}|dataset=${DATASET}`,
      "Authentication failed."
    ],
    [
      "a wrong end of the key",
      `auth=${authOf(CHALLENGE).slice(0, -1)}!|dataset=${DATASET}`,
      "Authentication failed."
    ],
    ["no proof", `dataset=${DATASET}`, "Authentication failed."],
    ["an unknown dataset", `auth=${authOf(CHALLENGE)}|dataset=NO.SUCH`, "Unknown dataset NO.SUCH"],
    [
      "a heartbeat interval out of bounds",
      `auth=${authOf(CHALLENGE)}|dataset=${DATASET}|heartbeat_interval_s=4`,
      'Invalid heartbeat_interval_s "4", expected 5 to 1800'
    ],
    [
      "an unknown compression",
      `auth=${authOf(CHALLENGE)}|dataset=${DATASET}|compression=gzip`,
      'Invalid compression "gzip", expected none or zstd'
    ]
  ])("refuses %s in text and closes", (_, line, error) => {
    const client = open().send(line).step()
    assert.equal(client.lines[2], `success=0|error=${error}`)
    assert.equal(client.end, "close")
  })

  it("closes a connection that never authenticates", () => {
    const client = open().step()
    assert.equal(client.wait, 30_000)
    client.step(30_000)
    assert.equal(client.end, "close")
  })

  it("closes a connection that sends a line without an end", () => {
    const client = open()
    client.session.receive(new Uint8Array(70_000).fill(0x41))
    assert.equal(client.step().end, "close")
  })

  it("reads lines cut anywhere", () => {
    const client = open()
    const line = `auth=${authOf(CHALLENGE)}|dataset=${DATASET}\n${ALL_TRADES}\nstart_session\n`
    for (const byte of Buffer.from(line)) {
      client.session.receive(Uint8Array.of(byte))
      client.step()
    }
    client.run()
    assert.equal(client.of("trade").length, trades.length)
  })
})

describe("stream", () => {
  it("begins with metadata, acknowledgement and mappings, then every record as it is", () => {
    const client = streaming(ALL_TRADES)
    const { metadata, records } = client.received()
    assert.equal(metadata?.version, 3)
    assert.equal(metadata?.dataset, DATASET)
    assert.equal(metadata?.schema, null)
    assert.equal(metadata?.stypeIn, null)
    assert.equal(metadata?.stypeOut, "instrument_id")
    assert.equal(metadata?.start, DAY)
    assert.equal(metadata?.end, null)
    assert.deepEqual(client.messages, ["Subscription request 3 for trades data succeeded"])
    const mappings = client.of("symbol_mapping")
    assert.deepEqual(
      mappings.map((it) => [it.stypeInSymbol, it.stypeOutSymbol, it.instrumentId]),
      market.instruments.map((it) => [it.symbol, it.symbol, it.id])
    )
    assert.deepEqual(records.slice(1 + mappings.length), trades)
  })

  it("takes both spellings of the start and answers a client that does not wait in one piece", () => {
    const client = open().login(DATASET).send(ALL_TRADES, "start_session=0").run()
    assert.equal(client.of("trade").length, trades.length)
  })

  it("sends the instruments asked for, and error 4 for each symbol that is none", () => {
    const client = streaming("schema=trades|stype_in=raw_symbol|symbols=AB,NO,AC,NEITHER")
    const wanted = new Set([idOf("AB"), idOf("AC")])
    assert.deepEqual(client.of("trade"), trades.filter((it) => wanted.has(it.instrumentId)) as never)
    assert.deepEqual(
      client.of("error").map((it) => [it.code, it.err, it.isLast]),
      [
        [4, "Failed to resolve symbol NO", 0],
        [4, "Failed to resolve symbol NEITHER", 1]
      ]
    )
    assert.equal(client.end, "open")
  })

  it("joins the lines of a request and acknowledges it once", () => {
    const client = open().login(DATASET)
    client.send(
      "schema=trades|stype_in=raw_symbol|symbols=AB|is_last=0|id=1",
      "schema=trades|stype_in=raw_symbol|symbols=AC|is_last=1|id=1",
      "start_session"
    )
    client.run()
    assert.deepEqual(client.messages, ["Subscription request 1 for trades data succeeded"])
    assert.deepEqual(
      client.of("symbol_mapping").map((it) => it.stypeInSymbol),
      ["AB", "AC"]
    )
  })

  it("takes instrument ids, and several schemas in the order of their times", () => {
    const id = idOf("AB")
    const client = open().login(DATASET)
    client
      .send(`schema=trades|stype_in=instrument_id|symbols=${id}`)
      .send(`schema=mbp-1|stype_in=instrument_id|symbols=${id}`, "start_session")
      .run()
    const mixed = client.received().records.filter((it) => it.type === "trade" || it.type === "mbp1")
    const times = mixed.map((it) => it.tsRecv)
    assert.isTrue(times.every((time, i) => i === 0 || times[i - 1]! <= time))
    assert.isAbove(client.of("mbp1").length, 0)
    assert.equal(client.of("trade").length, trades.filter((it) => it.instrumentId === id).length)
  })

  it("puts a send time behind every record where asked", () => {
    const client = open().send(`auth=${authOf(CHALLENGE)}|dataset=${DATASET}|ts_out=1`)
    client.send(ALL_TRADES, "start_session").run()
    const { metadata, records } = client.received()
    assert.isTrue(metadata?.tsOut)
    assert.isTrue(records.every((it) => it.tsOut !== undefined))
    const sent = client.of("trade")
    assert.isTrue(sent.every((it) => it.tsOut! >= it.tsRecv))
    assert.deepEqual(
      sent.map(({ tsOut: _, ...it }) => it),
      trades as never
    )
  })

  it("flushes one endless zstd stream with every batch", () => {
    const client = streaming(ALL_TRADES, {}, "|compression=zstd")
    assert.equal(client.of("trade").length, trades.length)
    const before = client.received().records.length
    client.step(30_000)
    assert.equal(client.received().records.length, before + 1)
  })

  it.each([1, 2] as const)("speaks DBN version %i", (version) => {
    const client = streaming("schema=definition|stype_in=raw_symbol|symbols=AB,NO", { version })
    assert.equal(client.received().metadata?.version, version)
    const [definition] = client.of("instrument_def", { upgrade: 3 })
    assert.equal(definition?.rawSymbol, "AB")
    assert.equal(definition?.minPriceIncrement, 10_000_000n)
    const [error] = client.of("error", { upgrade: 3 })
    assert.deepEqual([error?.code, error?.err], [4, "Failed to resolve symbol NO"])
    const [mapping] = client.of("symbol_mapping", { upgrade: 3 })
    assert.equal(mapping?.stypeOutSymbol, "AB")
  })

  it("ends behind the last record where that is asked for", () => {
    const client = streaming(ALL_TRADES, { atEnd: "close" })
    assert.equal(client.end, "close")
    assert.equal(client.of("trade").length, trades.length)
  })

  it("ends when the client does", () => {
    const client = streaming(ALL_TRADES)
    client.session.endInput()
    assert.equal(client.step().end, "close")
  })
})

describe("subscriptions", () => {
  const message = (line: string): string => {
    const client = streaming(line)
    assert.equal(client.end, "close")
    const [error] = client.of("error")
    assert.equal(error?.code, 5)
    return error?.err ?? ""
  }

  it("ends the session with error 5 for what makes no sense", () => {
    assert.match(message("schema=nonsense|symbols=AB"), /^Invalid schema "nonsense"/)
    assert.match(message("schema=trades|stype_in=nothing|symbols=AB"), /Invalid stype_in "nothing"/)
    assert.match(message("schema=trades|symbols="), /No symbols/)
    assert.match(message("schema=trades|symbols=AB|start=yesterday"), /Invalid start "yesterday"/)
    assert.match(message("schema=trades|symbols=AB|snapshot=1"), /snapshot is for schema mbo/)
    assert.match(message(`schema=trades|symbols=${"AB,".repeat(501)}`), /501 symbols in one request/)
    assert.match(message("hello"), /Unknown message "hello"/)
    assert.match(
      message(`schema=trades|symbols=AB|start=${DAY - 90_000n * SECOND}`),
      /more than 24 hours ago/
    )
  })

  it("are taken during the stream, without replay", () => {
    const client = streaming("schema=trades|stype_in=raw_symbol|symbols=AB", { rate: 1 })
    const sent = client.of("trade").length
    client.send(`schema=definition|stype_in=raw_symbol|symbols=AC|start=0|id=9`).run()
    assert.equal(client.of("trade").length, sent)
    assert.equal(client.of("instrument_def").length, 0)
    assert.deepEqual(client.messages.slice(1), ["Subscription request 9 for definition data succeeded"])
  })

  it("of one schema add up, each record being sent once", () => {
    const wanted = new Set(["AB", "AC", "AA"].map(idOf))
    const expected = trades.filter((it) => wanted.has(it.instrumentId))
    const client = open().login(DATASET)
    for (const symbols of ["AC", "AB,AC", "AA"]) client.send(`schema=trades|symbols=${symbols}`)
    client.send("start_session").run()
    assert.deepEqual(client.of("trade"), expected as never)
  })

  it("take in instruments whose records would have been passed over", () => {
    const rare = idOf("AT")
    const common = idOf("AA")
    const client = streaming(`schema=trades|stype_in=instrument_id|symbols=${common}`, { rate: 100 })
    const first = client.run(1000).of("trade")
    assert.equal(first.length, 101)
    client.send(`schema=trades|stype_in=instrument_id|symbols=${rare}`)
    client.run(60_000)
    const from = trades.findIndex(
      (it) =>
        it.type === "trade" && it.sequence === first[100]!.sequence && it.tsEvent === first[100]!.tsEvent
    )
    const expected = trades.filter(
      (it, i) =>
        (it.instrumentId === common && i <= from) ||
        (i > from && (it.instrumentId === common || it.instrumentId === rare))
    )
    assert.isAbove(client.of("trade").filter((it) => it.instrumentId === rare).length, 0)
    assert.deepEqual(client.of("trade"), expected as never)
  })

  it("wait where there are more than ten in a second", () => {
    const client = open().login(DATASET)
    for (let i = 0; i < 12; i++) client.send(`schema=trades|symbols=AB|id=${i}`)
    client.send("start_session").step()
    assert.equal(client.wait, 1000)
    assert.equal(client.chunks.length, 0)
    client.run(1000)
    assert.equal(client.messages.length, 12)
  })
})

describe("anything a client may send", () => {
  it("is survived", () => {
    let state = 12345
    const random = (below: number): number => {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0
      return (state >>> 8) % below
    }
    const words = [
      "schema=",
      "trades",
      "mbo",
      "|",
      "=",
      "symbols=",
      "AB",
      ",",
      "\n",
      "start_session",
      "start=",
      "-1"
    ]
    const more = [
      "0",
      "snapshot=1",
      "is_last=0",
      "\u0000",
      "\u00ff",
      "ALL_SYMBOLS",
      "stype_in=",
      "instrument_id",
      "\r\n"
    ]
    const all = [...words, ...more]
    for (let round = 0; round < 300; round++) {
      const client = open()
      if (round % 2 === 0) client.login(DATASET)
      const text = Array.from({ length: 40 }, () => all[random(all.length)]).join("")
      client.session.receive(Buffer.from(text, "latin1"))
      client.run(1).run(1000)
      if (client.end === "open") client.send(ALL_TRADES, "start_session").run(1000).run(1000)
      client.received()
    }
  })
})

describe("symbols", () => {
  const futuresSession = (line: string, init = {}): SessionClient =>
    open({ catalogue: futuresCatalogue, ...init })
      .login("GLBX.MDP3")
      .send(line, "start_session")
      .run()

  it("maps a parent to every contract, each from its day on", () => {
    const client = futuresSession("schema=trades|stype_in=parent|symbols=ES.FUT")
    const kinds = client.received().records.map((it) => `${it.type} ${it.instrumentId}`)
    assert.deepEqual(kinds, [
      "system 0",
      "symbol_mapping 1",
      "trade 1",
      "trade 1",
      "trade 1",
      "symbol_mapping 2",
      "trade 1",
      "trade 2",
      "trade 1",
      "trade 2"
    ])
    const [first, second] = client.of("symbol_mapping")
    assert.deepEqual(
      [first?.stypeIn, first?.stypeInSymbol, first?.stypeOut, first?.stypeOutSymbol],
      [4, "ES.FUT", 1, "ESH6"]
    )
    assert.deepEqual([second?.stypeOutSymbol, second?.startTs], ["ESM6", DAY + 86_400n * SECOND])
  })

  it("does not roll a continuous symbol inside a session", () => {
    const client = futuresSession("schema=trades|stype_in=continuous|symbols=ES.c.0")
    assert.deepEqual([...new Set(client.of("trade").map((it) => it.instrumentId))], [1])
    const later = futuresSession("schema=trades|stype_in=continuous|symbols=ES.c.0", {
      market: new PrivateMarket(DAY + 86_400n * SECOND)
    })
    assert.deepEqual([...new Set(later.of("trade").map((it) => it.instrumentId))], [2])
  })
})

describe("time", () => {
  it("sends records at the rate", () => {
    const client = streaming(ALL_TRADES, { rate: 100 })
    assert.equal(client.of("trade").length, 1)
    client.run(1000)
    assert.equal(client.of("trade").length, 101)
    assert.equal(client.wait, 10)
  })

  it("sends heartbeats when nothing else was sent, by the session's clock", () => {
    const client = streaming("schema=trades|symbols=NO", {}, "|heartbeat_interval_s=10")
    assert.equal(client.wait, 10_000)
    client.step(9_999)
    assert.equal(client.messages.length, 1)
    client.step(1)
    assert.deepEqual(client.messages.slice(1), ["Heartbeat"])
    assert.equal(client.of("system")[1]?.tsEvent, DAY + 10n * SECOND)
    assert.equal(client.of("system")[1]?.code, 0)
    client.step(10_000)
    assert.equal(client.messages.length, 3)
  })

  it("announces the end of every interval behind its records", () => {
    const bars = [0, 0, 1, 3].map((second, i) =>
      blankRecord("ohlcv", {
        rtype: 0x20,
        instrumentId: 1 + (i % 2),
        tsEvent: DAY + BigInt(second) * SECOND,
        volume: BigInt(i)
      })
    )
    const catalogue = catalogueOf({
      metadata: { dataset: "GLBX.MDP3", schema: "ohlcv-1s", start: DAY, end: DAY + 10n * SECOND },
      records: bars
    })
    const client = open({ catalogue }).login("GLBX.MDP3")
    client.send("schema=ohlcv-1s|symbols=ALL_SYMBOLS", "start_session").run()
    const seen = client
      .received()
      .records.slice(1)
      .map((it) => [it.type, Number((it.tsEvent - DAY) / SECOND)])
    assert.deepEqual(seen, [
      ["ohlcv", 0],
      ["ohlcv", 0],
      ["system", 1],
      ["ohlcv", 1],
      ["system", 2],
      ["ohlcv", 3],
      ["system", 4]
    ])
    assert.equal(client.messages[1], "End of interval for ohlcv-1s")
  })
})

describe("replay", () => {
  const middle = trades[1000]!
  const from = middle.type === "trade" ? middle.tsRecv : 0n
  const halfway = { market: new PrivateMarket(from) }

  it("sends the history, says that it is over, and goes on live without a gap", () => {
    const client = streaming(`${ALL_TRADES}|start=0`, halfway)
    assert.deepEqual(client.of("trade"), trades as never)
    assert.deepEqual(client.messages, [
      "Subscription request 3 for trades data succeeded",
      "Finished trades replay"
    ])
    const order = client.received().records.filter((it) => it.type === "trade" || it.type === "system")
    const boundary = order.findIndex((it) => it.type === "system" && it.code === 3)
    const replayed = trades.filter((it) => it.type === "trade" && it.tsRecv < from).length
    assert.equal(boundary, replayed + 1)
    assert.equal(client.received().metadata?.start, from)
  })

  it("begins at the start, inclusive, by ts_event", () => {
    const start = trades[500]!.tsEvent
    const client = streaming(`${ALL_TRADES}|start=${start}`, halfway)
    const expected = trades.filter((it) => it.type === "trade" && (it.tsEvent >= start || it.tsRecv >= from))
    assert.deepEqual(client.of("trade"), expected as never)
  })

  it("is not sped down by the rate, and without start there is none", () => {
    assert.isAbove(streaming(`${ALL_TRADES}|start=0`, { ...halfway, rate: 1 }).of("trade").length, 900)
    const live = streaming(ALL_TRADES, halfway)
    assert.deepEqual(
      live.of("trade"),
      trades.filter((it) => it.type === "trade" && it.tsRecv >= from) as never
    )
  })

  it("fills the gap of a client that comes back to a shared market", () => {
    const shared = new SharedMarket(undefined)
    const first = streaming(ALL_TRADES, {
      market: shared,
      faults: [{ type: "reset", afterRecords: 700 }]
    })
    assert.equal(first.end, "reset")
    assert.equal(first.of("trade").length, 700)
    const last = first.of("trade")[699]!
    shared.advanceTo(DATASET, last.tsRecv + 60n * SECOND)
    const again = streaming(`${ALL_TRADES}|start=${last.tsEvent}`, { market: shared })
    const seen = again.of("trade").filter((it) => it.tsRecv > last.tsRecv)
    assert.deepEqual([...first.of("trade"), ...seen], trades as never)
    const natural = streaming(ALL_TRADES, { market: new SharedMarket(last.tsRecv + 60n * SECOND) })
    assert.isBelow(natural.of("trade").length, 1300)
  })

  it("can be made to omit records and to repeat those at its end", () => {
    const omitting = streaming(`${ALL_TRADES}|start=0`, {
      ...halfway,
      faults: [{ type: "omitReplay", every: 10 }]
    })
    const replayed = trades.filter((it) => it.type === "trade" && it.tsRecv < from).length
    assert.equal(omitting.of("trade").length, trades.length - Math.floor(replayed / 10))
    assert.include(omitting.messages, "Finished trades replay")
    const repeating = streaming(`${ALL_TRADES}|start=0`, {
      ...halfway,
      faults: [{ type: "duplicateBoundary", records: 3 }]
    })
    const sent = repeating.of("trade")
    assert.equal(sent.length, trades.length + 3)
    assert.deepEqual(sent.slice(replayed, replayed + 3), trades.slice(replayed - 3, replayed) as never)
  })
})

describe("slow readers", () => {
  const QUOTES = "schema=mbp-1|stype_in=raw_symbol|symbols=ALL_SYMBOLS"
  const full = 2 << 20

  it("lose quotes and are told so, where the market is paced", () => {
    const client = open({ rate: 100 }).login(DATASET).send(QUOTES, "start_session").step()
    client.step(2000, full).step(1000, full).run(1000)
    const [error] = client.of("error")
    assert.equal(error?.code, 7)
    assert.equal(error?.err, "Slow client detected for mbp-1, 300 records were skipped")
    assert.equal(client.of("mbp1").length, 101)
    assert.equal(client.end, "open")
  })

  it("are warned and lose nothing, where they asked for that or the schema is trades", () => {
    for (const [line, options] of [
      [QUOTES, "|slow_reader_behavior=warn"],
      [ALL_TRADES, ""]
    ] as const) {
      const client = open({ rate: 100 }).login(DATASET, options).send(line, "start_session").step()
      client.step(2000, full).step(1000, full).run(1000)
      assert.equal(client.of("error").length, 0)
      const records = client.received().records.filter((it) => it.type === "mbp1" || it.type === "trade")
      assert.equal(records.length, 401)
      const isWarned = client.messages.some((text) => text.startsWith("Warning: slow reading"))
      assert.isTrue(isWarned)
    }
  })
})

describe("faults", () => {
  const after = (fault: LiveFault): SessionClient => streaming(ALL_TRADES, { faults: [fault] })

  it("end the stream between records, without a word", () => {
    for (const type of ["eof", "reset"] as const) {
      const client = after({ type, afterRecords: 5 })
      assert.equal(client.end, type === "eof" ? "close" : "reset")
      assert.equal(client.of("trade").length, 5)
    }
  })

  it("end the stream inside a record", () => {
    const client = after({ type: "eofInsideRecord", afterRecords: 5, bytes: 17 })
    assert.equal(client.of("trade").length, 5)
    const bytes = Buffer.concat(client.chunks)
    const whole = Buffer.concat(after({ type: "eof", afterRecords: 5 }).chunks)
    assert.equal(bytes.length - whole.length, 17)
  })

  it("stop everything, heartbeats too", () => {
    const client = after({ type: "stall", afterRecords: 5 })
    client.step(100_000)
    assert.equal(client.of("trade").length, 5)
    assert.equal(client.end, "open")
    assert.notInclude(client.messages, "Heartbeat")
  })

  it("leave records out and say so with error 7", () => {
    const client = after({ type: "skip", afterRecords: 5, records: 10 })
    assert.deepEqual(client.of("trade"), [...trades.slice(0, 5), ...trades.slice(15)] as never)
    assert.deepEqual(
      client.of("error").map((it) => it.code),
      [7]
    )
  })

  it("bring records of unknown type, longer than known, and with unknown values", () => {
    const unknown = after({ type: "unknownRecord", afterRecords: 5 })
    assert.equal(unknown.of("unknown").length, 1)
    assert.equal(unknown.of("trade").length, trades.length)
    const long = after({ type: "longRecords", afterRecords: 5, words: 2 })
    assert.deepEqual(long.of("trade"), trades as never)
    const plain = after({ type: "eof", afterRecords: 100_000 })
    assert.equal(
      Buffer.concat(long.chunks).length - Buffer.concat(plain.chunks).length,
      (trades.length - 5) * 8
    )
    const odd = after({ type: "unknownEnum", afterRecords: 5 }).of("trade")
    assert.deepEqual([odd[5]?.action, odd[5]?.side], ["z", "z"])
    assert.deepEqual([...odd.slice(0, 5), ...odd.slice(6)], [
      ...trades.slice(0, 5),
      ...trades.slice(6)
    ] as never)
  })

  it("bring errors, fatal ones ending the session", () => {
    const soft = after({ type: "error", afterRecords: 5, code: 7, text: "soft" })
    assert.equal(soft.of("trade").length, trades.length)
    const hard = after({ type: "error", afterRecords: 5, code: 6, text: "Internal error" })
    assert.equal(hard.of("trade").length, 5)
    assert.equal(hard.end, "close")
  })

  it("refuse the right key, or the session for being one too many", () => {
    const refused = open({ faults: [{ type: "rejectAuth" }] })
      .login(DATASET)
      .step()
    assert.equal(refused.lines[2], "success=0|error=Authentication failed.")
    const excess = streaming(ALL_TRADES, { isExcess: true })
    assert.deepEqual(
      excess.of("error").map((it) => [it.code, it.err]),
      [[3, "User has reached their open connection limit"]]
    )
    assert.equal(excess.end, "close")
  })
})
