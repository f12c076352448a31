import { SeededRandom } from "@data-manager/testing"
import { assert, describe, it } from "vitest"
import { apiKeyProblem, challengeReply, withoutKey } from "../../src/ApiKey.ts"
import { ZstdEncoder, zstdFrame } from "../../src/dbn/index.ts"
import { type GatewayMessage, LiveProtocol, LiveProtocolError } from "../../src/live/LiveProtocol.ts"
import {
  authenticationLine,
  gatewayHost,
  requestProblem,
  type SessionRequest,
  subscriptionLines,
  subscriptionProblem
} from "../../src/live/LiveRequest.ts"
import { concat, DATASET, encode, KEY, mapping, metadata, system, TAPE_START, tape } from "./Tape.ts"

const challenge = "t7kNhwj4xqR0QYjzFKtBEG2ec2pXJ4FK"

const request: SessionRequest = {
  dataset: DATASET,
  tsOut: false,
  compression: "none",
  heartbeatSeconds: 10,
  client: "example/1.0"
}

const authLine =
  "auth=b5ca40118079ee29aefa40680748f0f78caf71b420a051019d992d56cd17a150-OPQRS|dataset=GLBX.MDP3|encoding=dbn|ts_out=0|compression=none|client=example/1.0|heartbeat_interval_s=10\n"

const dialogue = `lsg_version=0.9.4\ncram=${challenge}\nsuccess=1|session_id=1762000000\n`
const text = (value: string): Uint8Array => new TextEncoder().encode(value)

/** The session of the fact sheet's example: acknowledgement, mapping, trades, a heartbeat. */
const trades = tape(3, 40)
const data = concat([
  metadata(0x1886a25763387c18n),
  system(1, "Subscription request 1 for trades data succeeded", TAPE_START),
  mapping(5482, "ES.FUT", "ESH6", TAPE_START),
  encode(...trades),
  system(0, "Heartbeat", TAPE_START)
])

interface Heard {
  readonly messages: ReadonlyArray<string>
  readonly sent: string
  readonly records: Uint8Array
}

/** Feeds chunks through one reused buffer, as the socket does. */
const hear = (chunks: Iterable<Uint8Array>): Heard => {
  const protocol = new LiveProtocol(request, KEY)
  const messages: Array<string> = []
  const records: Array<Uint8Array> = []
  let sent = ""
  const memory = new Uint8Array(1 << 16)
  for (const chunk of chunks) {
    memory.set(chunk)
    protocol.push(memory.subarray(0, chunk.length))
    for (let message = protocol.next(); message !== undefined; message = protocol.next()) {
      messages.push(...told(message))
      if (message._tag === "Records") records.push(...message.block.copies())
      sent += protocol.takeLines()
    }
    sent += protocol.takeLines()
    memory.fill(0xee)
  }
  return { messages, sent, records: concat(records) }
}

const told = (message: GatewayMessage): Array<string> => {
  switch (message._tag) {
    case "Greeting":
      return [`greeting ${message.text}`]
    case "Authenticated":
      return [`authenticated ${message.sessionId}`]
    case "Refused":
      return [`refused ${message.detail}`]
    case "Records":
      return message.block.length === 0 ? [`header of ${message.block.metadata?.dataset}`] : []
  }
}

const recordsIn = (bytes: Uint8Array): Uint8Array =>
  bytes.subarray(8 + new DataView(bytes.buffer).getUint32(4, true))

const expected: Heard = {
  messages: ["greeting lsg_version=0.9.4", "authenticated 1762000000", "header of GLBX.MDP3"],
  sent: authLine,
  records: recordsIn(data)
}

describe("the live dialogue", () => {
  it("answers the challenges of the fact sheet", () => {
    assert.strictEqual(
      challengeReply(challenge, KEY),
      "b5ca40118079ee29aefa40680748f0f78caf71b420a051019d992d56cd17a150-OPQRS"
    )
    assert.strictEqual(
      challengeReply(challenge, "db-ExampleKeyForDocsOnly00000Tes"),
      "5e2ed374b74c2f855c0ab098b6405615e0376e188a1e9bb5f2b0e13065f04153-00Tes"
    )
    assert.strictEqual(authenticationLine(request, challenge, KEY), authLine)
    assert.include(
      authenticationLine(
        { ...request, tsOut: true, compression: "zstd", slowReader: "skip" },
        challenge,
        KEY
      ),
      "|ts_out=1|compression=zstd|client=example/1.0|heartbeat_interval_s=10|slow_reader_behavior=skip\n"
    )
    assert.strictEqual(gatewayHost("GLBX.MDP3"), "glbx-mdp3.lsg.databento.com")
  })

  it("writes and reads the header of the fact sheet's example", () => {
    const head =
      "44424e0378000000474c42582e4d44503300000000000000ffff187c386357a28618ffffffffffffffff0000000000000000ff0000470000000000"
    assert.strictEqual(Buffer.from(data).toString("hex").slice(0, head.length), head)
    assert.strictEqual(metadata(0x1886a25763387c18n).length, 128)
  })

  it("hears the same wherever the bytes are cut", () => {
    const whole = concat([text(dialogue), data])
    assert.deepStrictEqual(hear([whole]), expected)
    for (let at = 1; at < whole.length; at++)
      assert.deepStrictEqual(hear([whole.subarray(0, at), whole.subarray(at)]), expected, `cut at ${at}`)
    assert.deepStrictEqual(hear(Array.from(whole, (byte) => Uint8Array.of(byte))), expected)
  })

  it("reads one endless zstd stream at every flush, wherever it is cut", () => {
    const encoder = new ZstdEncoder()
    const pieces = [data.subarray(0, 500), data.subarray(500, 501), data.subarray(501)].map((piece) =>
      concat([encoder.push(piece), encoder.flush()])
    )
    encoder.close()
    const whole = concat([text(dialogue), ...pieces])
    for (let at = 1; at < whole.length; at++)
      assert.deepStrictEqual(hear([whole.subarray(0, at), whole.subarray(at)]), expected, `cut at ${at}`)
    // What is flushed is heard before anything else comes.
    const early = hear([text(dialogue), pieces[0]!, pieces[1]!])
    assert.isAbove(early.records.length, 0)
  })

  it("takes fields in any order, unknown ones, carriage returns and several greetings", () => {
    const odd = `hello\r\nlsg_version=9|x=1\r\nfoo=1|cram=${challenge}\r\nzzz=1\nsession_id=abc|new=2|success=1\n`
    const heard = hear([text(odd), data])
    assert.deepStrictEqual(heard.messages.slice(0, 3), [
      "greeting hello",
      "greeting lsg_version=9|x=1",
      "authenticated abc"
    ])
    assert.deepStrictEqual(heard.records, expected.records)
    assert.deepStrictEqual(hear([text(`cram=${challenge}\nsuccess=1\n`)]).messages, [
      "authenticated undefined"
    ])
  })

  it("hears refusals at any point, and nothing behind them", () => {
    const refusals: ReadonlyArray<readonly [string, string]> = [
      [`cram=${challenge}\nsuccess=0|error=Authentication failed.\nmore`, "refused Authentication failed."],
      [`cram=${challenge}\nerror=x|success=2\n`, "refused x"],
      [`cram=${challenge}\nsuccess=\n`, "refused no reason given"],
      ["success=0|error=Unknown dataset\n", "refused Unknown dataset"],
      ["success=1|session_id=5\n", "refused no reason given"]
    ]
    for (const [bytes, message] of refusals)
      assert.deepStrictEqual(hear([text(bytes)]).messages, [message], bytes)
  })

  it("refuses what is no gateway, in bounded memory", () => {
    const garbage = new Uint8Array(65_000).fill(0x41)
    assert.throws(() => hear([garbage, garbage]), LiveProtocolError, "without a line break")
    assert.throws(() => hear([text("HTTP/1.1 400\n".repeat(20))]), LiveProtocolError, "no challenge")
    assert.throws(() => hear([text("cram=\n")]), LiveProtocolError, "empty challenge")
  })

  it("never hangs or crashes on damaged input", () => {
    const whole = concat([text(dialogue), data])
    for (let seed = 1; seed <= 400; seed++) {
      const random = new SeededRandom(seed)
      const bytes = whole.slice()
      for (let n = random.between(1, 6); n > 0; n--) bytes[random.below(bytes.length)] = random.below(256)
      const at = random.below(bytes.length)
      try {
        hear([bytes.subarray(0, at), bytes.subarray(at)])
      } catch (error) {
        assert.oneOf((error as Error).name, ["LiveProtocolError", "DbnError"], `seed ${seed}`)
        assert.notInclude((error as Error).message, KEY)
      }
    }
    const compressed = zstdFrame(data)
    for (let seed = 1; seed <= 100; seed++) {
      const random = new SeededRandom(seed)
      const bytes = compressed.slice()
      bytes[random.below(bytes.length)] = random.below(256)
      try {
        hear([text(dialogue), bytes])
      } catch (error) {
        assert.strictEqual((error as Error).name, "DbnError", `seed ${seed}`)
      }
    }
  })

  it("says where an ended session was cut", () => {
    const protocol = new LiveProtocol(request, KEY)
    protocol.push(concat([text(dialogue), data.subarray(0, data.length - 5)]))
    while (protocol.next() !== undefined);
    protocol.end()
    assert.throws(() => protocol.next(), /inside a record/)
  })
})

describe("live requests", () => {
  it("checks keys without repeating them", () => {
    assert.isUndefined(apiKeyProblem(KEY))
    for (const key of [
      "",
      "db-",
      "YOUR_API_KEY",
      `${KEY}x`,
      KEY.slice(1),
      `db-${"x".repeat(28)}|`,
      `db-${"é".repeat(29)}`
    ]) {
      const problem = apiKeyProblem(key)
      assert.isString(problem, key)
      if (key.length > 3) assert.notInclude(problem as string, key)
    }
    assert.strictEqual(withoutKey(`bad key ${KEY}!`, KEY), "bad key db-*OPQRS!")
  })

  it("refuses values that would say something else", () => {
    assert.isUndefined(requestProblem(request, KEY))
    const wrong: ReadonlyArray<Partial<SessionRequest>> = [
      { dataset: "GLBX" },
      { dataset: "GLBX.MDP3|ts_out=1" },
      { dataset: "GLBX.MDP3\n" },
      { client: "a|b" },
      { client: "a\nstart_session" },
      { heartbeatSeconds: 4 },
      { heartbeatSeconds: 1801 },
      { heartbeatSeconds: 7.5 },
      { heartbeatSeconds: Number.NaN }
    ]
    for (const change of wrong)
      assert.isString(requestProblem({ ...request, ...change }, KEY), JSON.stringify(change))
    const subscription = { schema: "trades", stypeIn: "raw_symbol", symbols: ["ESH6"] } as const
    assert.isUndefined(subscriptionProblem(subscription))
    assert.isUndefined(subscriptionProblem({ ...subscription, symbols: ["SPX   261218C05000000"] }))
    for (const symbols of [
      [],
      [""],
      ["  "],
      ["A|B"],
      ["A\nB"],
      ["A,B"],
      ["é"],
      ["x".repeat(71)],
      ["ALL_SYMBOLS", "A"]
    ])
      assert.isString(subscriptionProblem({ ...subscription, symbols }), JSON.stringify(symbols))
    assert.isString(subscriptionProblem({ ...subscription, stypeIn: "instrument_id" }))
    assert.isUndefined(subscriptionProblem({ ...subscription, stypeIn: "instrument_id", symbols: ["5482"] }))
    assert.isString(subscriptionProblem({ ...subscription, schema: "book-ticker" }))
  })

  it("writes at most 500 symbols per line and marks the last one", () => {
    const symbols = Array.from({ length: 1201 }, (_, i) => `S${i}`)
    const lines = subscriptionLines(
      { schema: "trades", stypeIn: "raw_symbol", symbols },
      7,
      1700000000000000000n
    )
    assert.strictEqual(lines.length, 3)
    const fields = lines.map((line) =>
      Object.fromEntries(
        line
          .trimEnd()
          .split("|")
          .map((field) => field.split("="))
      )
    )
    assert.deepStrictEqual(
      fields.map((field) => field.is_last),
      ["0", "0", "1"]
    )
    assert.deepStrictEqual(
      fields.map((field) => field.symbols.split(",").length),
      [500, 500, 201]
    )
    assert.deepStrictEqual(
      fields.flatMap((field) => field.symbols.split(",")),
      symbols
    )
    for (const field of fields) {
      assert.strictEqual(field.start, "1700000000000000000")
      assert.strictEqual(field.id, "7")
    }
    assert.deepStrictEqual(
      subscriptionLines({ schema: "trades", stypeIn: "parent", symbols: ["ES.FUT"] }, 1),
      ["schema=trades|stype_in=parent|symbols=ES.FUT|snapshot=0|is_last=1|id=1\n"]
    )
    assert.strictEqual(
      subscriptionLines({ schema: "trades", stypeIn: "raw_symbol", symbols: symbols.slice(0, 500) }, 1)
        .length,
      1
    )
  })
})
