import { connect, createServer, type Socket } from "node:net"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, type Scope } from "effect"
import { SeededRandom } from "../src/SeededRandom.ts"
import * as WireRecorder from "../src/WireRecorder.ts"
import * as WireReplay from "../src/WireReplay.ts"
import * as WireSplit from "../src/WireSplit.ts"
import * as WireTranscript from "../src/WireTranscript.ts"

const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, "latin1"))

const sample = `# wire transcript 1
< hello \\
< you\\r\\n
>~ key=[0-9]+\\n

# Not text:
<= 44424e03 00000000 ffff
> bye\\\\\\x00\\n
<.
>.
`

describe("WireTranscript", () => {
  it("reads what people write", () => {
    const { steps } = WireTranscript.parse(sample)
    assert.deepStrictEqual(steps, [
      { from: "server", bytes: bytes("hello you\r\n") },
      { from: "client", pattern: /key=[0-9]+\n/y },
      { from: "server", bytes: bytes("DBN\x03\0\0\0\0\xff\xff") },
      { from: "client", bytes: bytes("bye\\\0\n") },
      { from: "server", end: "close" },
      { from: "client", end: "close" }
    ])
    assert.strictEqual(Buffer.from(WireTranscript.serverBytes({ steps })).toString("latin1").length, 21)
  })

  it("writes what it reads, any bytes", () => {
    const random = new SeededRandom(1)
    for (let round = 0; round < 200; round++) {
      const isText = random.chance(0.5)
      const steps = WireTranscript.merged(
        Array.from({ length: random.between(1, 8) }, () => ({
          from: random.pick(["server", "client"] as const),
          bytes: Uint8Array.from({ length: random.between(1, 300) }, () =>
            isText ? random.pick([32, 10, 13, 92, 65, 126]) : random.below(256)
          )
        }))
      )
      const text = WireTranscript.format({ steps })
      assert.deepStrictEqual(WireTranscript.parse(text).steps, steps, text)
      for (const line of text.split("\n")) assert.isAtMost(line.length, 1_000)
    }
    const again = WireTranscript.format(WireTranscript.parse(sample))
    assert.strictEqual(WireTranscript.format(WireTranscript.parse(again)), again)
  })

  it.each([
    ["< x", /line 1: a transcript begins with/],
    ["# wire transcript 1\n\nhello", /line 3: this is no step: hello/],
    ["# wire transcript 1\n< \\q", /line 2/],
    ["# wire transcript 1\n<= 123", /line 2/],
    ["# wire transcript 1\n>~ (", /line 2/],
    ["# wire transcript 1\n<~ a", /line 2/]
  ])("refuses %j", (text, message) => {
    assert.throws(() => WireTranscript.parse(text), message)
  })
})

describe("WireSplit", () => {
  it("cuts a stream into pieces that are the stream, whatever the steps are", () => {
    const random = new SeededRandom(2)
    const whole = bytes("0123456789abcdefghij")
    assert.lengthOf(WireSplit.every(20), 20)
    for (const cuts of [...WireSplit.every(20), WireSplit.bytewise(20), WireSplit.random(20, 6, random)]) {
      const parts = [whole.subarray(0, 7), whole.subarray(7, 8), whole.subarray(8)]
      const offsets = [0, 7, 8]
      const pieces = parts.flatMap((part, i) => WireSplit.pieces(part, cuts, offsets[i]))
      assert.deepStrictEqual(WireTranscript.concat(pieces), whole)
      assert.isTrue(pieces.every(({ length }) => length > 0))
      assert.isAtLeast(pieces.length, cuts.length + 1)
    }
  })
})

/** A service that greets, wants a key, echoes a line and closes. */
const service: Effect.Effect<number, never, Scope.Scope> = Effect.gen(function* () {
  const server = createServer((socket) => {
    let text = ""
    socket.write("hello\n")
    socket.on("error", () => {})
    socket.on("data", (chunk) => {
      text += chunk.toString()
      const lines = text.split("\n")
      if (lines.length === 2 && text.startsWith("key ")) socket.write(`welcome ${lines[0]!.slice(4)}\n`)
      if (lines.length === 3) socket.end(`${lines[1]}\n`)
    })
  })
  yield* Effect.acquireRelease(
    Effect.callback<void>((resume) => {
      server.listen(0, "127.0.0.1", () => resume(Effect.void))
    }),
    () => Effect.sync(() => server.close())
  )
  return (server.address() as { readonly port: number }).port
})

const secret = "k.3(y"

/** A client of it; gives the lines that came. */
const client = (port: number, last = "echo me", key = secret): Effect.Effect<ReadonlyArray<string>> =>
  Effect.callback<ReadonlyArray<string>>((resume) => {
    const socket: Socket = connect(port, "127.0.0.1")
    let text = ""
    socket.on("data", (chunk) => {
      const before = text.split("\n").length
      text += chunk.toString()
      const now = text.split("\n").length
      if (before < 2 && now >= 2) socket.write(`key ${key}\n`)
      if (before < 3 && now >= 3) socket.write(`${last}\n`)
    })
    socket.on("error", () => {})
    socket.once("close", () => resume(Effect.succeed(text.trimEnd().split("\n"))))
    return Effect.sync(() => socket.destroy())
  })

const recorded = Effect.gen(function* () {
  const recorder = yield* WireRecorder.make({ host: "127.0.0.1", port: yield* service, secrets: [secret] })
  assert.deepStrictEqual(yield* client(recorder.port), ["hello", `welcome ${secret}`, "echo me"])
  return yield* recorder.transcript
})

describe("WireRecorder and WireReplay", () => {
  it.live("write a dialogue down without its secrets", () =>
    Effect.gen(function* () {
      const text = WireTranscript.format(yield* recorded)
      assert.deepStrictEqual(text.trimEnd().split("\n").slice(0, 6), [
        "# wire transcript 1",
        "< hello\\n",
        ">~ key [^\\r\\n]*?\\n",
        "< welcome xxxxx\\n",
        "> echo me\\n",
        "< echo me\\n"
      ])
      assert.notInclude(text, secret)
    })
  )

  it.live("play it at every split, and see what the client says", () =>
    Effect.gen(function* () {
      const transcript = WireTranscript.parse(WireTranscript.format(yield* recorded))
      const { length } = WireTranscript.serverBytes(transcript)
      for (const cuts of [...WireSplit.every(length), WireSplit.bytewise(length)]) {
        const replay = yield* WireReplay.make(transcript, { cuts })
        assert.deepStrictEqual(yield* client(replay.port), ["hello", "welcome xxxxx", "echo me"])
        yield* replay.done
      }
    })
  )

  it.live("tell where a client says something else, or leaves", () =>
    Effect.gen(function* () {
      const transcript = yield* recorded
      const failure = (use: (port: number) => Effect.Effect<unknown>) =>
        Effect.gen(function* () {
          const replay = yield* WireReplay.make(transcript)
          yield* use(replay.port)
          return (yield* Effect.flip(replay.done)).message
        })
      assert.match(
        yield* failure((port) => client(port, "echo you")),
        /step 4 of \d+: at byte 5 the client said "you\\n", not "me\\n"/
      )
      const gone = yield* failure((port) =>
        Effect.callback<void>((resume) => {
          const socket = connect(port, "127.0.0.1", () => socket.destroy())
          socket.once("close", () => resume(Effect.void))
        })
      )
      assert.match(gone, /step 2 of \d+: the client left; it should have said what matches key/)
    })
  )

  it.live("play a reset", () =>
    Effect.gen(function* () {
      const transcript = WireTranscript.parse("# wire transcript 1\n< hello\\n\n> key\\n\n<!\n")
      const replay = yield* WireReplay.make(transcript)
      const ended = yield* Effect.exit(
        Effect.callback<void, string>((resume) => {
          const socket = connect(replay.port, "127.0.0.1")
          socket.on("data", () => socket.write("key\n"))
          socket.on("error", (error) => resume(Effect.fail(error.message)))
          socket.on("end", () => resume(Effect.void))
        })
      )
      assert.isTrue(Exit.isFailure(ended))
      yield* replay.done
    })
  )
})
