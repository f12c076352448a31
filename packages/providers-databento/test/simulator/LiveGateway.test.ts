/** The live gateway over real sockets on loopback. */
import * as net from "node:net"
import { Effect } from "effect"
import { assert, describe, it } from "vitest"
import { DbnDecoder } from "../../src/dbn/DbnDecoder.ts"
import { type DbnRecord, decodeRecord } from "../../src/dbn/DbnRecord.ts"
import { DatabentoSimulator, type Simulator } from "../../src/simulator/DatabentoSimulator.ts"
import type { LiveGatewayOptions } from "../../src/simulator/LiveGateway.ts"
import { authOf } from "./SessionClient.ts"
import { DATASET, syntheticCatalogue, trades } from "./TestCatalogue.ts"

/** A simulator for the time of a test. */
const withSimulator = (
  live: LiveGatewayOptions,
  test: (simulator: Simulator) => Promise<void>
): Promise<void> =>
  Effect.runPromise(
    Effect.scoped(
      Effect.gen(function* () {
        const simulator = yield* DatabentoSimulator.make({
          catalogue: syntheticCatalogue,
          live: { connectionsPerSecond: 100, ...live }
        })
        yield* Effect.promise(() => test(simulator))
      })
    )
  )

interface Connection {
  readonly lines: ReadonlyArray<string>
  readonly records: ReadonlyArray<DbnRecord>
  readonly code: string | undefined
  /** Bytes of each arrival. */
  readonly arrivals: ReadonlyArray<number>
}

/** Connects, logs in, subscribes to everything, reads until the other side ends or `enough` records are there. */
const stream = (simulator: Simulator, enough = Number.POSITIVE_INFINITY): Promise<Connection> =>
  new Promise((done) => {
    const socket = net.connect(simulator.live.port, "127.0.0.1")
    const decoder = new DbnDecoder()
    const lines: Array<string> = []
    const records: Array<DbnRecord> = []
    const arrivals: Array<number> = []
    let text = ""
    let isText = true
    let code: string | undefined
    const onLine = (line: string): void => {
      lines.push(line)
      if (line.startsWith("cram="))
        socket.write(`auth=${authOf(line.slice(5), simulator.key)}|dataset=${DATASET}\n`)
      if (!line.startsWith("success=1")) return
      isText = false
      socket.write("schema=trades|symbols=ALL_SYMBOLS\nstart_session\n")
    }
    const onText = (chunk: Buffer): void => {
      text += chunk.toString()
      for (let at = text.indexOf("\n"); at >= 0 && isText; at = text.indexOf("\n")) {
        const line = text.slice(0, at)
        text = text.slice(at + 1)
        onLine(line)
      }
    }
    socket.on("data", (chunk) => {
      arrivals.push(chunk.length)
      if (isText) return onText(chunk)
      decoder.push(chunk)
      for (let block = decoder.take(); block !== undefined; block = decoder.take())
        for (const position of block.positions()) records.push(decodeRecord(block, position))
      if (records.length >= enough) socket.destroy()
    })
    socket.on("error", (error: NodeJS.ErrnoException) => {
      code = error.code
    })
    socket.on("close", () => done({ lines, records, code, arrivals }))
  })

const tradesOf = (connection: Connection): ReadonlyArray<DbnRecord> =>
  connection.records.filter((it) => it.type === "trade")

describe("live gateway", () => {
  it("serves several clients at once", () =>
    withSimulator({ atEnd: "close" }, async (simulator) => {
      const connections = await Promise.all([1, 2, 3].map(() => stream(simulator)))
      for (const connection of connections) {
        assert.equal(connection.lines[0], "lsg_version=0.9.4")
        assert.deepEqual(tradesOf(connection), trades)
        assert.isUndefined(connection.code)
      }
      assert.equal(simulator.live.accepted(), 3)
    }))

  it("gives every connection a challenge of its own", () =>
    withSimulator({ atEnd: "close" }, async (simulator) => {
      const [a, b] = await Promise.all([stream(simulator), stream(simulator)])
      assert.match(a.lines[1] ?? "", /^cram=[\w-]{32}$/)
      assert.notEqual(a.lines[1], b.lines[1])
    }))

  it("splits everything into pieces", () =>
    withSimulator({ atEnd: "close" }, async (simulator) => {
      simulator.live.faults.next({ type: "split", bytes: 3 }, { type: "eof", afterRecords: 20 })
      const connection = await stream(simulator)
      assert.deepEqual(tradesOf(connection), trades.slice(0, 20))
      assert.isAbove(connection.arrivals.length, 100)
    }))

  it("resets and closes connections", () =>
    withSimulator({}, async (simulator) => {
      simulator.live.faults.next({ type: "reset", afterRecords: 10 })
      simulator.live.faults.next({ type: "eof", afterRecords: 10 })
      simulator.live.faults.next({ type: "refuse" })
      assert.equal((await stream(simulator)).code, "ECONNRESET")
      const closed = await stream(simulator)
      assert.isUndefined(closed.code)
      assert.equal(tradesOf(closed).length, 10)
      assert.deepEqual((await stream(simulator)).lines, [])
    }))

  it("delays", () =>
    withSimulator({ atEnd: "close" }, async (simulator) => {
      simulator.live.faults.next({ type: "delay", millis: 60 })
      const started = performance.now()
      assert.deepEqual(tradesOf(await stream(simulator)), trades)
      assert.isAbove(performance.now() - started, 150)
    }))

  it("closes connections above five per second without a greeting", () =>
    withSimulator({ connectionsPerSecond: 5, atEnd: "close" }, async (simulator) => {
      const connections = await Promise.all(Array.from({ length: 7 }, () => stream(simulator)))
      assert.equal(connections.filter((it) => it.lines.length === 0).length, 2)
    }))

  it("tells sessions above the limit that they are too many, and counts those that are open", () =>
    withSimulator({ maxSessions: 1, rate: 1 }, async (simulator) => {
      const first = new Promise<void>((opened) => {
        const socket = net.connect(simulator.live.port, "127.0.0.1")
        socket.on("error", () => {})
        socket.once("data", () => opened())
      })
      await first
      assert.equal(simulator.live.connections(), 1)
      const second = await stream(simulator)
      assert.deepEqual(
        second.records.map((it) => (it.type === "error" ? it.code : it.type)),
        [3]
      )
    }))

  it("ends with its scope, its sessions with it", async () => {
    let port = 0
    const left: Array<Promise<Connection>> = []
    await withSimulator({ rate: 1 }, async (simulator) => {
      port = simulator.live.port
      left.push(stream(simulator))
      while (simulator.live.connections() === 0) await new Promise((wait) => setTimeout(wait, 5))
    })
    await Promise.all(left)
    const refused = await new Promise<string | undefined>((done) => {
      net.connect(port, "127.0.0.1").on("error", (error: NodeJS.ErrnoException) => done(error.code))
    })
    assert.equal(refused, "ECONNREFUSED")
  })

  it("is a layer", () =>
    Effect.runPromise(
      Effect.gen(function* () {
        const { live, http, key } = yield* DatabentoSimulator
        assert.notEqual(live.port, http.port)
        assert.equal(key.length, 32)
      }).pipe(Effect.provide(DatabentoSimulator.layer({ catalogue: syntheticCatalogue })))
    ))

  it("says which port cannot be had", () =>
    withSimulator({}, async (simulator) => {
      const error = await Effect.runPromise(
        Effect.flip(
          Effect.scoped(
            DatabentoSimulator.make({ catalogue: syntheticCatalogue, live: { port: simulator.live.port } })
          )
        )
      )
      assert.match(error.message, new RegExp(`live gateway on port ${simulator.live.port}.*EADDRINUSE`))
    }))
})
