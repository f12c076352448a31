import { EventEmitter } from "node:events"
import { Effect, Exit, Fiber, Schedule, Scope } from "effect"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { CopyOut, type CopySink } from "../src/CopyOut.ts"
import * as PgPool from "../src/PgPool.ts"
import { clientConfig } from "../src/ServerAddress.ts"
import { createDatabase, type TestDatabase } from "./TestServer.ts"

/** A message of the server: type, length, body. */
const message = (type: string, body: Uint8Array | string = ""): Buffer => {
  const content = Buffer.from(body as string)
  const head = Buffer.alloc(5)
  head.write(type, 0, "latin1")
  head.writeUInt32BE(content.length + 4, 1)
  return Buffer.concat([head, content])
}

/** A connection as the driver has it: the socket's data goes to the driver's own listener. */
class Socket extends EventEmitter {
  readonly driver: Array<Buffer> = []
  paused = false
  constructor() {
    super()
    this.on("data", (chunk: Uint8Array) => {
      // The driver's parser calls methods that only a Buffer has.
      assert.isTrue(Buffer.isBuffer(chunk))
      this.driver.push(Buffer.from(chunk))
    })
  }
  pause(): void {
    this.paused = true
  }
}

const collecting = (): CopySink & { readonly bytes: Array<Buffer> } => {
  const bytes: Array<Buffer> = []
  return {
    bytes,
    write: (view, start, end) => {
      bytes.push(Buffer.from(new Uint8Array(view.buffer, view.byteOffset + start, end - start)))
    }
  }
}

const rows = ["PGCOPY header and first row", "x", "", "third row"].map((body) => message("d", body))
const transcript = Buffer.concat([
  message("H", "\x01\x00\x01\x00\x01"),
  rows[0]!,
  message("N", "SNOTICE\0Mbetween\0\0"),
  rows[1]!,
  message("S", "TimeZone\0UTC\0"),
  rows[2]!,
  message("A", "\0\0\0\x01channel\0payload\0"),
  rows[3]!
])
const rest = Buffer.concat([message("C", "COPY 3\0"), message("Z", "I")])

const run = (chunks: ReadonlyArray<Uint8Array>) => {
  const socket = new Socket()
  const sink = collecting()
  const copy = new CopyOut("COPY x TO STDOUT", sink)
  const sent: Array<string> = []
  copy.submit({ stream: socket, query: (text: string) => sent.push(text) } as never)
  for (const chunk of chunks) socket.emit("data", chunk)
  return { socket, sink, copy, sent }
}

describe("messages of a COPY", () => {
  const expected = "PGCOPY header and first rowxthird row"
  const between = Buffer.concat([
    message("N", "SNOTICE\0Mbetween\0\0"),
    message("S", "TimeZone\0UTC\0"),
    message("A", "\0\0\0\x01channel\0payload\0")
  ])

  it("row bytes go to the sink and everything else to the driver, wherever the socket cuts", () => {
    const all = Buffer.concat([transcript, message("c"), rest])
    for (let at = 0; at <= all.length; at++) {
      const { socket, sink, sent } = run(
        [all.subarray(0, at), all.subarray(at)].filter((part) => part.length > 0)
      )
      assert.deepStrictEqual(sent, ["COPY x TO STDOUT"])
      assert.strictEqual(Buffer.concat(sink.bytes).toString(), expected, `cut at ${at}`)
      assert.deepStrictEqual(Buffer.concat(socket.driver), Buffer.concat([between, rest]), `cut at ${at}`)
      assert.strictEqual(socket.listenerCount("data"), 1)
    }
    const single = [...all].map((byte) => Buffer.of(byte))
    assert.strictEqual(Buffer.concat(run(single).sink.bytes).toString(), expected)
  })

  it("an error in the middle goes to the driver whole, with all that follows", () => {
    const error = Buffer.concat([message("E", "SERROR\0C22012\0Mdivision by zero\0\0"), message("Z", "I")])
    const all = Buffer.concat([transcript, error])
    for (let at = 0; at <= all.length; at++) {
      const { socket, sink } = run([all.subarray(0, at), all.subarray(at)].filter((part) => part.length > 0))
      assert.strictEqual(Buffer.concat(sink.bytes).toString(), expected)
      assert.deepStrictEqual(Buffer.concat(socket.driver), Buffer.concat([between, error]), `cut at ${at}`)
    }
  })

  it("resolves with the number of rows once the server is ready, and not before", async () => {
    const { copy } = run([transcript, message("c"), rest])
    copy.handleCommandComplete({ text: "COPY 3" })
    assert.strictEqual(await Promise.race([copy.finished, Promise.resolve("pending")]), "pending")
    copy.handleReadyForQuery()
    assert.strictEqual(await copy.finished, 3)
  })

  it("rejects when the sink throws and reads no further", async () => {
    const socket = new Socket()
    let writes = 0
    const copy = new CopyOut("COPY", {
      write: () => {
        writes += 1
        throw new Error("full")
      }
    })
    copy.submit({ stream: socket, query: () => {} } as never)
    socket.emit("data", transcript)
    socket.emit("data", transcript)
    assert.strictEqual(writes, 1)
    assert.isTrue(socket.paused)
    assert.match(String(await copy.finished.catch((error: unknown) => error)), /full/)
  })

  it("refuses a message shorter than its own length field", async () => {
    const broken = Buffer.concat([transcript, Buffer.from([0x64, 0, 0, 0, 3])])
    const { copy } = run([broken])
    assert.match(String(await copy.finished.catch((error: unknown) => error)), /3 bytes long/)
  })
})

describe("a COPY on a server", () => {
  let database: TestDatabase
  let pool: PgPool.PgPool
  const scope = Effect.runSync(Scope.make())
  const run = <A, E>(effect: Effect.Effect<A, E>): Promise<A> => Effect.runPromise(effect)

  beforeAll(async () => {
    database = await createDatabase(process.env.DM_TEST_DATABASE_URL)
    pool = await run(
      Scope.provide(PgPool.make({ client: clientConfig(database.address), maxConnections: 1 }), scope)
    )
  }, 30_000)
  afterAll(async () => {
    await run(Scope.close(scope, Exit.void))
    await database.drop()
  })

  const pid = (): Promise<number> =>
    run(
      Effect.map(pool.query<{ readonly pid: number }>("SELECT pg_backend_pid() AS pid"), ([row]) => row!.pid)
    )
  const copy = (select: string, sink: CopySink) =>
    pool.withConnection("test", (connection) =>
      connection.copyInto(`COPY (${select}) TO STDOUT (FORMAT binary)`, sink)
    )
  const large = "SELECT generate_series(1, 2000000), repeat('x', 200)"

  it("counts its rows and leaves the session as it was", async () => {
    const before = await pid()
    const sink = collecting()
    assert.strictEqual(await run(copy("SELECT n FROM generate_series(1, 100000) n", sink)), 100_000)
    assert.strictEqual(Buffer.concat(sink.bytes).length, 19 + 100_000 * 10 + 2)
    assert.strictEqual(await run(copy("SELECT 1 WHERE false", collecting())), 0)
    assert.strictEqual(await pid(), before)
  })

  it("gives notices to the driver while rows come", async () => {
    await run(
      pool.query(`CREATE FUNCTION noisy(n int) RETURNS int LANGUAGE plpgsql AS $$
        BEGIN IF n % 100 = 0 THEN RAISE NOTICE 'at %', n; END IF; RETURN n; END $$`)
    )
    const sink = collecting()
    assert.strictEqual(await run(copy("SELECT noisy(n) FROM generate_series(1, 5000) n", sink)), 5000)
    assert.strictEqual(Buffer.concat(sink.bytes).length, 19 + 5000 * 10 + 2)
  })

  it("keeps the session when the server refuses, at once or in the middle", async () => {
    const before = await pid()
    for (const [select, message] of [
      ["SELECT nothing", /column "nothing" does not exist/],
      ["SELECT 1000 / (50000 - n) FROM generate_series(1, 100000) n", /division by zero/]
    ] as const) {
      const error = await run(Effect.flip(copy(select, collecting())))
      assert.match(error.message, message)
    }
    assert.strictEqual(await pid(), before)
  })

  it("destroys the session when the sink gives up, and the pool goes on", async () => {
    const before = await pid()
    const error = await run(
      Effect.flip(
        copy(large, {
          write: () => {
            throw new Error("enough")
          }
        })
      )
    )
    assert.match(error.message, /enough/)
    const after = await pid()
    assert.notStrictEqual(after, before)
    // The backend that was left alone must not go on sending.
    const gone = Effect.flatMap(
      pool.query<{ readonly n: bigint }>("SELECT count(*) AS n FROM pg_stat_activity WHERE pid = $1", [
        before
      ]),
      ([row]) => (row!.n === 0n ? Effect.void : Effect.fail("the abandoned backend still runs"))
    )
    await run(Effect.retry(gone, { schedule: Schedule.spaced("50 millis"), times: 200 }))
  })

  it("is interrupted in its middle fifty times and leaves a pool of one usable", async () => {
    for (let round = 0; round < 50; round++) {
      let seen = 0
      let begin: () => void = () => {}
      const started = new Promise<void>((resolve) => {
        begin = resolve
      })
      const fiber = Effect.runFork(
        copy(large, {
          write: (_, start, end) => {
            seen += end - start
            if (seen > 1000) begin()
          }
        })
      )
      await started
      await run(Fiber.interrupt(fiber))
      const [row] = await run(pool.query<{ readonly one: number }>("SELECT 1 AS one"))
      assert.strictEqual(row!.one, 1)
    }
  })

  it("tells that the server ended the session", async () => {
    const other = await run(
      Scope.provide(PgPool.make({ client: clientConfig(database.address), maxConnections: 1 }), scope)
    )
    const victim = await pid()
    let ended = false
    const error = await run(
      Effect.flip(
        copy(large, {
          write: () => {
            if (ended) return
            ended = true
            Effect.runFork(other.query("SELECT pg_terminate_backend($1)", [victim]))
          }
        })
      )
    )
    assert.strictEqual(error.reason._tag, "StoreUnavailable")
    assert.isTrue(error.isRetryable)
    assert.notStrictEqual(await pid(), victim)
  })
})
