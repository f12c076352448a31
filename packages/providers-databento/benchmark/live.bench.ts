/**
 * What a live session costs: a gateway in another process sends trades as fast as they are taken, the client decodes them
 * and hands batches to a stream. The yardstick reads the same bytes from a socket in the same way and gathers columns,
 * without protocol, instruments, memory of what was given, or Effect. Then the time from a trade's sending to its batch, of
 * lone ones and at 100,000 a second, against a socket and decoder alone; and how long a stream of 20,000 symbols takes to
 * its first data, at its start and behind a break, with the simulator.
 *
 *     npm run bench -- databento/live
 *
 * Times are on the clock or of the reading process's processor time, whichever is less, as in `decode.bench.ts`: the first
 * waits for other programs, the second counts the collector's threads. Latencies are what the clock says, and mean little
 * on a busy machine.
 */
import { spawn } from "node:child_process"
import { connect, createServer, type Socket } from "node:net"
import { loadavg } from "node:os"
import {
  batchContext,
  type Instrument,
  type ListingClaim,
  LocalInstruments,
  type MarketBatch,
  SymbolText
} from "@data-manager/core"
import * as NodeSocket from "@effect/platform-node/NodeSocket"
import { Effect, Logger, Redacted, Stream } from "effect"
import { DbnBatches } from "../src/DbnBatches.ts"
import { blankRecord, DbnDecoder, encodeMetadata, encodeRecord } from "../src/dbn/index.ts"
import { READ_BYTES } from "../src/live/GatewaySocket.ts"
import { liveEvents } from "../src/live/LiveFeed.ts"
import { CatalogueBuilder } from "../src/simulator/Catalogue.ts"
import { DatabentoSimulator, SIMULATOR_KEY } from "../src/simulator/DatabentoSimulator.ts"
import { SyntheticMarket } from "../src/simulator/SyntheticMarket.ts"

const Rows = 6_000_000
const Rounds = 5
const Pings = 1000
/** Trades of the paced stream: two seconds at this rate. */
const PacedRate = 100_000
const Paced = 2 * PacedRate
/** Symbols of the stream that breaks. */
const ManySymbols = 20_000
/** The default of live streams, for both. */
const BatchRows = 5632
const dataset = "DBEQ.BASIC"
/** How the sender is told which of its ports does what. */
const kinds = ["liveTrades", "plainTrades", "livePings", "plainPings", "livePaced", "plainPaced"] as const
type Kind = (typeof kinds)[number]
type Ports = { readonly [K in Kind | "simulator"]: number }

const manySymbols = new SyntheticMarket({ trades: 40_000, symbols: ManySymbols, dataset })

const concat = (chunks: Iterable<Uint8Array>): Uint8Array => Buffer.concat([...chunks])

// ---------------------------------------------------------------------------------------------------------------------
// The sender

const header = encodeMetadata({ dataset, schema: null, stypeIn: null, stypeOut: "instrument_id", start: 1n })

/** The body of a synthetic day's file: records alone. */
const tradeBytes = (): Uint8Array => {
  const file = concat(new SyntheticMarket({ trades: Rows, dataset }).tradeFile())
  return file.subarray(file.length - Rows * 48)
}

/** Control lines of a client that is always welcome; resolves when it starts the session. */
const welcome = (socket: Socket): Promise<void> =>
  new Promise((resolve) => {
    let text = ""
    socket.write("lsg_version=bench\ncram=t7kNhwj4xqR0QYjzFKtBEG2ec2pXJ4FK\n")
    socket.on("data", (data) => {
      const before = text
      text += data.toString("latin1")
      if (!before.includes("auth=") && text.includes("auth=")) socket.write("success=1|session_id=1\n")
      if (text.includes("start_session")) resolve()
    })
  })

const sendTrades = (socket: Socket, bytes: Uint8Array): void => {
  let at = 0
  const go = (): void => {
    while (at < bytes.length) {
      const part = bytes.subarray(at, at + 1024 * 1024)
      at += part.length
      if (!socket.write(part)) return void socket.once("drain", go)
    }
  }
  go()
}

/** One trade every millisecond; its ts_recv is the moment of sending on the machine's monotonic clock. */
const sendPings = (socket: Socket): void => {
  const bytes = encodeRecord(blankRecord("trade", { action: "T", instrumentId: 1, publisherId: 39 }), {
    version: 3
  })
  const view = new DataView(bytes.buffer)
  let sent = 0
  const timer = setInterval(() => {
    view.setBigUint64(8, BigInt(sent * 1000), true)
    view.setBigUint64(32, process.hrtime.bigint(), true)
    socket.write(bytes.slice())
    if (++sent === Pings) clearInterval(timer)
  }, 1)
  socket.on("close", () => clearInterval(timer))
}

/** As many trades every millisecond as the rate asks for; of each, ts_recv is the moment of sending. */
const sendPaced = (socket: Socket): void => {
  const record = encodeRecord(blankRecord("trade", { action: "T", instrumentId: 1, publisherId: 39 }), {
    version: 3
  })
  const began = process.hrtime.bigint()
  let sent = 0
  const timer = setInterval(() => {
    const now = process.hrtime.bigint()
    const due = Math.min(Paced, Number(((now - began) * BigInt(PacedRate)) / 1_000_000_000n))
    const bytes = new Uint8Array((due - sent) * record.length)
    const view = new DataView(bytes.buffer)
    for (let at = 0; at < bytes.length; at += record.length) {
      bytes.set(record, at)
      view.setBigUint64(at + 8, BigInt(sent++ * 1000), true)
      view.setBigUint64(at + 32, now, true)
    }
    if (bytes.length > 0) socket.write(bytes)
    if (sent === Paced) clearInterval(timer)
  }, 1)
  socket.on("close", () => clearInterval(timer))
}

const send = async (): Promise<void> => {
  const bytes = tradeBytes()
  const serve: { readonly [K in Kind]: (socket: Socket) => Promise<void> | void } = {
    liveTrades: async (socket) => {
      await welcome(socket)
      socket.write(header)
      sendTrades(socket, bytes)
    },
    plainTrades: (socket) => {
      socket.write(header)
      sendTrades(socket, bytes)
    },
    livePings: async (socket) => {
      await welcome(socket)
      socket.write(header)
      sendPings(socket)
    },
    plainPings: (socket) => {
      socket.write(header)
      sendPings(socket)
    },
    livePaced: async (socket) => {
      await welcome(socket)
      socket.write(header)
      sendPaced(socket)
    },
    plainPaced: (socket) => {
      socket.write(header)
      sendPaced(socket)
    }
  }
  const ports: { [kind: string]: number } = {}
  for (const kind of kinds)
    await new Promise<void>((resolve) => {
      const server = createServer({ noDelay: true }, (socket) => {
        socket.on("error", () => {})
        void serve[kind](socket)
      })
      server.listen(0, "127.0.0.1", () => {
        ports[kind] = (server.address() as { port: number }).port
        resolve()
      })
    })
  await Effect.runPromise(
    Effect.scoped(
      Effect.gen(function* () {
        const catalogue = new CatalogueBuilder().addSynthetic(manySymbols).build()
        const simulator = yield* DatabentoSimulator.make({ catalogue })
        // The first session breaks after a tenth of the day, every other one is sound.
        simulator.live.faults.next({ type: "eof", afterRecords: 4_000 })
        process.send?.({ ...ports, simulator: simulator.live.port })
        yield* Effect.never
      })
    )
  )
}

// ---------------------------------------------------------------------------------------------------------------------
// The readers: each calls `onBatch` until that says false

type OnBatch = (batch: MarketBatch) => boolean

const plain = (port: number, onBatch: OnBatch): Promise<void> =>
  new Promise((resolve) => {
    const decoder = new DbnDecoder({ upgrade: 3 })
    const batches = new DbnBatches({
      context: batchContext({ provider: "databento", dataset }),
      batchRows: BatchRows
    })
    const emit = (batch: MarketBatch): void => {
      if (!onBatch(batch)) socket.destroy()
    }
    const socket = connect({
      host: "127.0.0.1",
      port,
      noDelay: true,
      onread: {
        buffer: new Uint8Array(READ_BYTES),
        callback: (length, buffer) => {
          decoder.push(buffer.subarray(0, length))
          for (let block = decoder.take(); block !== undefined; block = decoder.take())
            batches.add(block, emit)
          batches.flush(emit)
          return true
        }
      }
    })
    socket.on("close", () => resolve())
  })

const instruments = new Map<string, Instrument>()
const register = (claims: ReadonlyArray<ListingClaim>) =>
  Effect.sync(() =>
    claims.map((claim): Instrument => {
      const rawSymbol = claim.rawSymbol ?? `#${claim.nativeId}`
      const known = instruments.get(rawSymbol)
      if (known !== undefined) return known
      const symbol = SymbolText.make(dataset, rawSymbol)
      const id = instruments.size + 1
      const made: Instrument = {
        id,
        provider: "databento",
        dataset,
        rawSymbol,
        symbol,
        priceScale: 9,
        sizeScale: 0,
        assetClass: "unknown"
      }
      instruments.set(rawSymbol, made)
      return made
    })
  )

const live = (port: number, onBatch: OnBatch): Promise<void> =>
  Effect.runPromise(
    liveEvents({
      apiKey: Redacted.make("db-0123456789abcdefghijKLMNOPQRS"),
      dataset,
      subscriptions: [{ schema: "trades", stypeIn: "raw_symbol", symbols: ["ALL_SYMBOLS"] }],
      address: { host: "127.0.0.1", port },
      // A session with replay has nothing to leave out at its beginning, as any session after its first seconds.
      from: BigInt(Date.now()) * 1_000_000n,
      register
    }).pipe(
      Stream.runForEachWhile((event) => Effect.sync(() => event._tag !== "Batch" || onBatch(event.batch))),
      Effect.provide(Logger.layer([]))
    )
  )

/** The bytes alone, read as the live client reads them: no decoder. */
const bytesOfSocket = (port: number, onBytes: (length: number) => boolean): Promise<void> =>
  new Promise((resolve) => {
    const socket = connect({
      host: "127.0.0.1",
      port,
      onread: {
        buffer: new Uint8Array(READ_BYTES),
        callback: (length) => {
          if (!onBytes(length)) socket.destroy()
          return true
        }
      }
    })
    socket.on("close", () => resolve())
  })

/** The same through `effect/socket`. */
const bytesOfEffect = (port: number, onBytes: (length: number) => boolean): Promise<void> =>
  Effect.runPromise(
    Effect.gen(function* () {
      const socket = yield* NodeSocket.makeNet({ host: "127.0.0.1", port })
      const { pull } = yield* socket.reader
      for (let goesOn = true; goesOn; )
        for (const chunk of yield* pull) goesOn = onBytes((chunk as Uint8Array).length)
    }).pipe(Effect.ignore, Effect.scoped)
  )

// ---------------------------------------------------------------------------------------------------------------------
// Measuring

const cpuMillis = (): number => {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}

/** Milliseconds until all rows are there, and the number of batches. */
const throughput = async (reader: typeof live, port: number) => {
  const cpu = cpuMillis()
  const wall = performance.now()
  let rows = 0
  let batches = 0
  await reader(port, (batch) => {
    rows += batch.length
    batches += 1
    return rows < Rows
  })
  if (rows !== Rows) throw new Error(`${rows} rows came, ${Rows} were sent`)
  const clock = performance.now() - wall
  return { millis: Math.min(clock, cpuMillis() - cpu), batches }
}

/** Milliseconds until all bytes were read. */
const reading = async (reader: typeof bytesOfSocket, port: number): Promise<number> => {
  const cpu = cpuMillis()
  const wall = performance.now()
  let bytes = 0
  await reader(port, (length) => {
    bytes += length
    return bytes < Rows * 48
  })
  return Math.min(performance.now() - wall, cpuMillis() - cpu)
}

/** Microseconds from sending to batch, of every trade but the first tenth. */
const latencies = async (reader: typeof live, port: number, count: number): Promise<Array<number>> => {
  const micros: Array<number> = []
  await reader(port, (batch) => {
    if (batch._tag !== "TradeBatch") return true
    const now = process.hrtime.bigint()
    for (const sent of batch.columns.tsRecv) micros.push(Number(now - sent) / 1000)
    return micros.length < count
  })
  return micros.slice(count / 10)
}

/** Seconds to the first rows of a stream of many symbols: from its start, and from the last rows before a break. */
const firstData = async (port: number): Promise<{ readonly start: number; readonly reconnect: number }> => {
  const began = performance.now()
  let first: number | undefined
  let last = began
  let isBroken = false
  let reconnect: number | undefined
  await Effect.runPromise(
    liveEvents({
      apiKey: Redacted.make(SIMULATOR_KEY),
      dataset,
      subscriptions: [
        {
          schema: "trades",
          stypeIn: "raw_symbol",
          symbols: manySymbols.instruments.map(({ symbol }) => symbol)
        }
      ],
      address: { host: "127.0.0.1", port },
      register: LocalInstruments.make().register
    }).pipe(
      Stream.runForEachWhile((event) =>
        Effect.sync(() => {
          // The simulated day is over: what the break has cost is a gap, and comes before the next rows.
          if (event._tag === "Gap") isBroken = true
          if (event._tag !== "Batch") return true
          const now = performance.now()
          first ??= now
          if (isBroken) reconnect = (now - last) / 1000
          last = now
          return reconnect === undefined
        })
      ),
      Effect.provide(Logger.layer([]))
    )
  )
  return { start: (first! - began) / 1000, reconnect: reconnect! }
}

const quantile = (values: ReadonlyArray<number>, share: number): number =>
  values.toSorted((a, b) => a - b)[Math.floor((values.length - 1) * share)]!

const measure = async (ports: Ports): Promise<number> => {
  await throughput(live, ports.liveTrades)
  await throughput(plain, ports.plainTrades)
  const lives: Array<Awaited<ReturnType<typeof throughput>>> = []
  const plains: Array<Awaited<ReturnType<typeof throughput>>> = []
  for (let round = 0; round < Rounds; round++) {
    globalThis.gc?.()
    lives.push(await throughput(live, ports.liveTrades))
    globalThis.gc?.()
    plains.push(await throughput(plain, ports.plainTrades))
  }
  const show = (name: string, runs: typeof lives): number => {
    const rate =
      Rows /
      quantile(
        runs.map((run) => run.millis),
        0.5
      ) /
      1000
    const perBatch =
      Rows /
      quantile(
        runs.map((run) => run.batches),
        0.5
      )
    console.log(
      `${name.padEnd(34)} ${rate.toFixed(1).padStart(6)} M trades/s, ${perBatch.toFixed(0)} rows per batch`
    )
    return rate
  }
  console.log(
    `${Rows.toLocaleString("en")} trades, medians of ${Rounds} interleaved rounds; load ${loadavg()
      .map((n) => n.toFixed(1))
      .join(" ")}`
  )
  const rate = show("live session to batches", lives)
  show("socket, decoder, columns alone", plains)
  const ratio = quantile(
    lives.map((run, i) => run.millis / plains[i]!.millis),
    0.5
  )

  const told = (name: string, micros: ReadonlyArray<number>, what: string): void =>
    console.log(
      `${name.padEnd(34)} ${[0.5, 0.9, 0.99].map((share) => `p${share * 100} ${quantile(micros, share).toFixed(0)}`).join(", ")} us from sending ${what} to its batch`
    )
  told("live session", await latencies(live, ports.livePings, Pings), "a lone trade")
  told("socket and decoder alone", await latencies(plain, ports.plainPings, Pings), "a lone trade")
  const at = `a trade of ${PacedRate.toLocaleString("en")}/s`
  const paced = await latencies(live, ports.livePaced, Paced)
  told("live session", paced, at)
  told("socket and decoder alone", await latencies(plain, ports.plainPaced, Paced), at)
  const many = await firstData(ports.simulator)
  console.log(
    `${ManySymbols.toLocaleString("en")} symbols: first data ${many.start.toFixed(2)} s after the start, ` +
      `${many.reconnect.toFixed(2)} s behind a break, of which 1 to 1.5 s are the pause before the new session`
  )
  const own: Array<number> = []
  const effects: Array<number> = []
  for (let round = 0; round < 3; round++) {
    own.push(await reading(bytesOfSocket, ports.plainTrades))
    effects.push(await reading(bytesOfEffect, ports.plainTrades))
  }
  console.log(
    `reading the bytes alone: ${quantile(own, 0.5).toFixed(0)} ms into one buffer, ${quantile(effects, 0.5).toFixed(0)} ms through effect/socket`
  )
  const checks = [
    ["live: times the yardstick's time (at most 1.3)", ratio, ratio <= 1.3],
    ["live: M trades/s (at least 8)", rate, rate >= 8],
    [
      "live at 100,000/s: p50 from sending to batch, us (below 100)",
      quantile(paced, 0.5),
      quantile(paced, 0.5) < 100
    ],
    [
      "live at 100,000/s: p99 from sending to batch, us (below 1000)",
      quantile(paced, 0.99),
      quantile(paced, 0.99) < 1000
    ]
  ] as const
  for (const [what, value, ok] of checks)
    console.log(`${what.padEnd(60)} ${value.toFixed(2)} ${ok ? "ok" : "MISSED"}`)
  return checks.every(([, , ok]) => ok) ? 0 : 1
}

if (process.argv.includes("--send")) await send()
else {
  const child = spawn(process.execPath, [...process.execArgv, import.meta.filename, "--send"], {
    stdio: ["ignore", "inherit", "inherit", "ipc"]
  })
  const ports = await new Promise<Ports>((resolve) =>
    child.once("message", (message) => resolve(message as Ports))
  )
  const code = await measure(ports)
  child.kill()
  process.exit(code)
}
