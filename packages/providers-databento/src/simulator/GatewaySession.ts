/**
 * One session of the live gateway: bytes of the client in, bytes for the client out, time given by the caller. Knows no
 * socket and no clock.
 *
 *     greeting, challenge -> authentication -> subscriptions -> start -> replay -> live records, heartbeats -> end
 *
 * A session has a clock of its own: the time of the last record sent, and while none is due, real time on top of that.
 * Times of system records, heartbeats and ts_out are read from it.
 *
 * One state machine, and so one file: lines, start, replay, records, slow readers and faults all move the same clock.
 */
import { encodeMetadata } from "../dbn/DbnMetadata.ts"
import type { KnownSchema } from "../dbn/DbnSchema.ts"
import type { DbnVersion } from "../dbn/Layout.ts"
import { ErrorCode, SystemCode } from "../GatewayCode.ts"
import { bookSnapshot } from "./BookSnapshot.ts"
import type { Catalogue, SimulatedDataset } from "./Catalogue.ts"
import { isAuthentic } from "./ChallengeCheck.ts"
import { EndlessFeed } from "./EndlessFeed.ts"
import { LineBuffer, type LineFields, parseLine } from "./GatewayLine.ts"
import { GatewayOutput } from "./GatewayOutput.ts"
import { GatewayRecords, isFatal, type MappedSymbol } from "./GatewayRecord.ts"
import { faultOf, type LiveFault, type TimedFault, timedFaults } from "./LiveFault.ts"
import type { MarketClock } from "./MarketClock.ts"
import { FeedCursor, firstSentAt, RecordFeed } from "./RecordFeed.ts"
import type { RecordTable } from "./RecordTable.ts"
import { ReplayFeed, type ReplayRequest } from "./ReplayFeed.ts"
import type { InstrumentFilter } from "./Selection.ts"
import { type ResolvedRequest, resolveRequest } from "./SessionSymbols.ts"
import {
  LineProblem,
  type SessionOptions,
  type Subscription,
  sessionOptions,
  subscription
} from "./SubscriptionLine.ts"

/** What a session is given. */
export interface SessionInit {
  readonly catalogue: Catalogue
  readonly key: string
  readonly challenge: string
  readonly sessionId: string
  readonly market: MarketClock
  /** Live records per second; undefined: as fast as the client reads. */
  readonly rate: number | undefined
  readonly version: DbnVersion
  /** What happens behind the last record: heartbeats, or an orderly end. */
  readonly atEnd: "idle" | "close"
  readonly faults: ReadonlyArray<LiveFault>
  /** The account has no session left. */
  readonly isExcess: boolean
  /** Real time, ns. */
  readonly now: bigint
}

/** Rows of an endless market that a session was sent: `[row, row + rows)`, as far as it asked for their instruments. */
export interface SentStretch {
  readonly session: string
  readonly row: number
  readonly rows: number
}

/** How the connection goes on. */
export type SessionEnd = "open" | "close" | "reset"

/** What to do next. */
export interface Turn {
  /** Bytes to write, in order. */
  readonly chunks: ReadonlyArray<Uint8Array>
  /** Stretches of an endless market that are in them. */
  readonly stretches: ReadonlyArray<SentStretch>
  readonly end: SessionEnd
  /** Milliseconds until `step` is to be called, also without input; 0 at once, undefined only on input. */
  readonly wait: number | undefined
}

/** The version the gateway says it has. */
const GATEWAY_VERSION = "0.9.4"
const SECOND = 1_000_000_000n
const AUTH_TIMEOUT = 30n * SECOND
/** How far back a replay goes. */
const REPLAY_NANOS = 86_400n * SECOND
/** Records of one step, bytes; and how much may wait in the socket before a session stops making more. */
const STEP_BYTES = 1 << 18
const MAX_BUFFERED = 1 << 20
/** Requests per second; more wait. */
const REQUESTS_PER_SECOND = 10
const PACE_MILLIS = 5
/** Time between two writes of an endless market. */
const ENDLESS_PACE_MILLIS = 1
/** Symbols of one request, all its lines together. */
const MAX_SYMBOLS = 1_000_000
/** Schemas whose records a slow reader loses; the others are only warned about. */
const skipped = new Set<KnownSchema>(["mbp-1", "mbp-10", "cmbp-1", "bbo-1s", "bbo-1m", "cbbo-1s", "cbbo-1m"])

type Phase = "auth" | "setup" | "streaming" | "ended"

/** A state machine; see above. */
export class GatewaySession {
  readonly #init: SessionInit
  readonly #lines = new LineBuffer()
  readonly #out = new GatewayOutput()
  readonly #timed: Array<TimedFault>
  readonly #live = new RecordFeed()
  /** What is asked for of the live records of a schema. */
  readonly #asked = new Map<
    KnownSchema,
    { readonly filters: Array<InstrumentFilter>; readonly cursor: FeedCursor }
  >()
  readonly #pendingMappings: Array<MappedSymbol> = []
  /** Times of the last requests, oldest first. */
  readonly #requestTimes: Array<bigint> = []
  #phase: Phase = "auth"
  #end: SessionEnd = "open"
  #options: SessionOptions | undefined
  #dataset: SimulatedDataset | undefined
  #records = new GatewayRecords(3, false)
  /** Requests that wait for the start, and the lines of an unfinished one. */
  #requests: Array<Subscription | LineProblem> = []
  #unfinished: Subscription | undefined
  #replay: ReplayFeed | undefined
  #endless: EndlessFeed | undefined
  #stretches: Array<SentStretch> = []
  /** Row at which a replay of the endless market is over; undefined where none was asked for, or it is. */
  #endlessReplay: number | undefined
  #isStalled = false
  #inputEnded = false
  #extraWords = 0
  /** The next record gets values that no enumeration has. */
  #isOddNext = false
  /** Market records sent, and of them live ones. */
  #sent = 0
  #liveSent = 0
  #liveSince: bigint | undefined
  /** Index time of the last live record. */
  #reached: bigint | undefined
  /** Where the market was at the start: the end of replays. */
  #joined = 0n
  /** The session's clock, and the real time at which it was set. */
  #clock = 0n
  #clockSet = 0n
  #lastOutput: bigint
  #now: bigint
  readonly #opened: bigint
  readonly #lost = new Map<KnownSchema, number>()
  #lastWarning = 0n

  constructor(init: SessionInit) {
    this.#init = init
    this.#timed = timedFaults(init.faults)
    this.#opened = init.now
    this.#now = init.now
    this.#lastOutput = init.now
    this.#out.text(`lsg_version=${GATEWAY_VERSION}\ncram=${init.challenge}\n`)
  }

  /** Bytes of the client. */
  receive(chunk: Uint8Array): void {
    if (this.#phase !== "ended") this.#lines.push(chunk)
  }

  /** The client sends nothing more: what was made so far is still delivered, then the session ends. */
  endInput(): void {
    this.#inputEnded = true
  }

  /** Frees what the session holds. */
  dispose(): void {
    this.#phase = "ended"
    this.#out.close()
  }

  /** Goes on. `now` is real time in ns, `buffered` how many bytes the socket has not yet taken. */
  step(now: bigint, buffered: number): Turn {
    this.#now = now
    if (this.#isStalled) return { chunks: [], stretches: [], end: "open", wait: undefined }
    const handled = this.#handleLines()
    if (this.#phase === "auth" && now - this.#opened >= AUTH_TIMEOUT)
      this.#refuse("Authentication timed out.")
    const wait = this.#phase === "streaming" ? this.#stream(buffered) : this.#idleWait()
    if (this.#inputEnded && this.#end === "open") this.#close("close")
    const chunks = this.#out.take()
    const stretches = this.#stretches
    if (stretches.length > 0) this.#stretches = []
    if (chunks.length > 0) this.#lastOutput = now
    return {
      chunks,
      stretches,
      end: this.#end,
      wait: handled === undefined ? wait : Math.min(handled, wait ?? handled)
    }
  }

  #close(end: SessionEnd): void {
    this.#end = end
    this.#phase = "ended"
  }

  // -----------------------------------------------------------------------------------------------------------------
  // Control lines

  /** Handles what lines there are; milliseconds to wait where requests come too fast. */
  #handleLines(): number | undefined {
    for (;;) {
      if (this.#lines.isTooLong) {
        this.#fail("Line of more than 64 KiB")
        return undefined
      }
      const line = this.#lines.peek()
      if (line === undefined || this.#phase === "ended") return undefined
      const fields = parseLine(line)
      const delay = this.#phase !== "auth" && fields.has("schema") ? this.#requestDelay(fields) : undefined
      if (delay !== undefined) return delay
      this.#lines.take()
      if (this.#phase === "auth") this.#authenticate(fields)
      else this.#control(fields, line)
    }
  }

  #requestDelay(fields: LineFields): number | undefined {
    if (fields.get("is_last") === "0") return undefined
    const times = this.#requestTimes
    while (times.length > 0 && this.#now - times[0]! >= SECOND) times.shift()
    if (times.length >= REQUESTS_PER_SECOND)
      return Math.max(1, Math.ceil(Number(times[0]! + SECOND - this.#now) / 1e6))
    times.push(this.#now)
    return undefined
  }

  #authenticate(fields: LineFields): void {
    const { catalogue, challenge, key, faults, sessionId, version, isExcess } = this.#init
    const rejected = faultOf(faults, "rejectAuth")
    const isRight = rejected === undefined && isAuthentic(fields.get("auth") ?? "", challenge, key)
    const options = isRight
      ? sessionOptions(fields)
      : new LineProblem(rejected?.error ?? "Authentication failed.")
    const dataset = options instanceof LineProblem ? undefined : catalogue.get(options.dataset)
    if (options instanceof LineProblem || dataset === undefined) {
      this.#refuse(options instanceof LineProblem ? options.text : `Unknown dataset ${options.dataset}`)
      return
    }
    this.#options = options
    this.#dataset = dataset
    this.#records = new GatewayRecords(version, options.tsOut)
    this.#phase = "setup"
    this.#out.text(`success=1|session_id=${sessionId}\n`)
    if (isExcess || faultOf(faults, "connectionLimit") !== undefined)
      this.#requests.push(new LineProblem(EXCESS, ErrorCode.connectionLimit))
  }

  /** Says no in text and ends. */
  #refuse(error: string): void {
    this.#out.text(`success=0|error=${error.replaceAll(/[|\n]/g, " ")}\n`)
    this.#close("close")
  }

  #control(fields: LineFields, line: string): void {
    if (fields.has("start_session")) {
      if (this.#phase === "setup") this.#start()
      return
    }
    if (!fields.has("schema") && line.trim() === "") return
    const asked = fields.has("schema")
      ? subscription(fields)
      : new LineProblem(`Unknown message ${JSON.stringify(line.slice(0, 80))}`)
    const request = asked instanceof LineProblem ? asked : this.#complete(asked)
    if (request === undefined) return
    if (this.#phase === "setup") this.#requests.push(request)
    else this.#request(request, true)
  }

  /** Joins the lines of a request; undefined while more are to come. */
  #complete(line: Subscription): Subscription | LineProblem | undefined {
    const before = this.#unfinished
    const joined = before === undefined ? line : { ...line, symbols: [...before.symbols, ...line.symbols] }
    this.#unfinished = line.isLast ? undefined : joined
    if (joined.symbols.length > MAX_SYMBOLS)
      return new LineProblem(`More than ${MAX_SYMBOLS} symbols in one request`)
    return line.isLast ? joined : undefined
  }

  /** Ends the session with whatever fits its phase. */
  #fail(text: string): void {
    if (this.#phase === "streaming") this.#error(ErrorCode.invalidSubscription, text)
    else this.#refuse(text)
  }

  // -----------------------------------------------------------------------------------------------------------------
  // Start and requests

  #start(): void {
    const dataset = this.#dataset as SimulatedDataset
    const options = this.#options as SessionOptions
    this.#phase = "streaming"
    this.#joined = dataset.endless === undefined ? this.#init.market.now(dataset) : this.#now
    this.#clock = this.#joined
    this.#clockSet = this.#now
    if (options.isZstd) this.#out.compress()
    this.#out.bytes(
      encodeMetadata(
        { dataset: dataset.name, start: this.#clock, stypeOut: "instrument_id", tsOut: options.tsOut },
        this.#init.version
      )
    )
    if (dataset.endless !== undefined && options.tsOut) {
      this.#error(ErrorCode.invalidSubscription, "An endless market sends no ts_out")
      return
    }
    const replays: Array<ReplayRequest> = []
    for (const request of this.#requests) {
      const resolved = this.#request(request, false)
      if (this.#end !== "open") return
      if (resolved === undefined || request instanceof LineProblem || request.start === undefined) continue
      const oldest = this.#joined - REPLAY_NANOS
      const start = request.start < oldest ? oldest : request.start
      if (this.#replayEndless(request.schema, start)) continue
      replays.push({ schema: request.schema, start, filter: resolved.filter })
    }
    this.#requests = []
    this.#beginReplay(dataset, replays)
  }

  /** Acknowledges a request, announces its symbols and takes it into the live feed. */
  #request(request: Subscription | LineProblem, isLate: boolean): ResolvedRequest | undefined {
    const dataset = this.#dataset as SimulatedDataset
    if (request instanceof LineProblem) {
      this.#error(request.code, request.text)
      return undefined
    }
    const { start, schema, id } = request
    const oldest = this.#clock - REPLAY_NANOS
    if (start !== undefined && start !== 0n && start < oldest && !isLate) {
      this.#error(ErrorCode.invalidSubscription, `Start ${start} is more than 24 hours ago`)
      return undefined
    }
    const from = start === undefined || isLate ? this.#clock : start < oldest ? oldest : start
    const resolved = resolveRequest(dataset, request, from < this.#clock ? from : this.#clock)
    this.#system(SystemCode.subscriptionAck, `Subscription request ${id ?? 0} for ${schema} data succeeded`)
    this.#announce(resolved.mappings)
    for (const [i, symbol] of resolved.notFound.entries()) {
      const isLast = i === resolved.notFound.length - 1
      this.#error(ErrorCode.symbolResolutionFailed, `Failed to resolve symbol ${symbol}`, isLast)
    }
    if (request.snapshot) this.#snapshot(dataset, resolved.filter)
    this.#listen(dataset, schema, resolved.filter, isLate)
    return resolved
  }

  /** Sends the mappings that hold already and keeps the others for their time. */
  #announce(mappings: ReadonlyArray<MappedSymbol>): void {
    for (const it of mappings)
      if (it.start <= this.#clock) this.#out.bytes(this.#records.mapping(it, this.#time()))
      else this.#pendingMappings.push(it)
    this.#pendingMappings.sort((a, b) => (a.start < b.start ? -1 : a.start > b.start ? 1 : 0))
  }

  #table(dataset: SimulatedDataset, schema: KnownSchema): RecordTable | undefined {
    return dataset.tables.get(schema)?.inVersion(this.#init.version)
  }

  #snapshot(dataset: SimulatedDataset, filter: InstrumentFilter): void {
    const table = this.#table(dataset, "mbo")
    if (table === undefined) return
    const tsOut = this.#options?.tsOut === true ? this.#time() : undefined
    const snapshot = bookSnapshot(table, filter, this.#clock)
    for (let row = 0; row < snapshot.length; row++) this.#out.record(snapshot, row, tsOut, this.#extraWords)
    this.#sent += snapshot.length
  }

  #listen(dataset: SimulatedDataset, schema: KnownSchema, filter: InstrumentFilter, isLate: boolean): void {
    if (dataset.endless !== undefined && schema === "trades") {
      this.#endless ??= new EndlessFeed(dataset.endless, dataset.endless.firstAt(this.#joined))
      this.#endless.add(filter)
    }
    const table = this.#table(dataset, schema)
    if (table === undefined) return
    // During a replay the clock is behind the moment from which on records are live.
    const live = this.#clock > this.#joined ? this.#clock : this.#joined
    const known = this.#asked.get(schema)
    if (known !== undefined) {
      known.filters.push(filter)
      known.cursor.widen(firstSentAt(table, live))
      return
    }
    const filters = [filter]
    const from = firstSentAt(table, isLate ? live + 1n : live)
    const cursor = new FeedCursor(table, from, table.length, this.#rowFilter(table, filters))
    this.#asked.set(schema, { filters, cursor })
    this.#live.add(cursor)
  }

  /** Undefined where a single filter lets everything pass and nothing will be added: the fast way. */
  #rowFilter(
    table: RecordTable,
    filters: ReadonlyArray<InstrumentFilter>
  ): ((row: number) => boolean) | undefined {
    if (filters.some((filter) => filter.isAll)) return undefined
    return (row) => filters.some((filter) => filter.accepts(table.ids[row]!, table.times[row]!))
  }

  // -----------------------------------------------------------------------------------------------------------------
  // Replay

  #beginReplay(dataset: SimulatedDataset, requests: ReadonlyArray<ReplayRequest>): void {
    if (requests.length === 0) return
    const { faults } = this.#init
    const tableOf = (schema: KnownSchema): RecordTable | undefined => this.#table(dataset, schema)
    this.#replay = new ReplayFeed(requests, this.#joined, tableOf, {
      omitEvery: faultOf(faults, "omitReplay")?.every,
      repeated: faultOf(faults, "duplicateBoundary")?.records ?? 0
    })
    // The clock goes back to the beginning of the replay and comes forward with its records.
    const first = this.#replay.feed.first()
    if (first !== undefined && first.time < this.#clock) this.#clock = first.time
  }

  /** Announces the schemas whose replay is done; the last one ends the replay. */
  #finishReplays(replay: ReplayFeed): void {
    for (const { schema, cursor, repeated } of replay.finished()) {
      if (cursor !== undefined) this.#closeIntervals([cursor])
      this.#system(SystemCode.replayCompleted, `Finished ${schema} replay`)
      for (const row of repeated) this.#record((cursor as FeedCursor).table, row, this.#clock)
    }
    if (!replay.isDone) return
    this.#replay = undefined
    this.#advance(this.#joined)
  }

  // -----------------------------------------------------------------------------------------------------------------
  // Endless market

  /** Goes back to a time; false where the schema has no endless market. */
  #replayEndless(schema: KnownSchema, start: bigint): boolean {
    const feed = this.#endless
    if (feed === undefined || schema !== "trades") return false
    this.#endlessReplay = feed.market.firstAt(this.#joined)
    feed.row = Math.min(feed.row, feed.market.firstAt(start))
    return true
  }

  /** Sends what has happened by now; milliseconds until it is worth looking again. A slow reader is sent all of it, later. */
  #streamEndless(feed: EndlessFeed, buffered: number): number | undefined {
    if (buffered >= MAX_BUFFERED) return undefined
    const now = feed.market.firstAt(this.#now)
    while (this.#out.length < STEP_BYTES) {
      if (this.#strikeDue()) {
        if (this.#end !== "open" || this.#isStalled) return undefined
        continue
      }
      if (feed.row >= (this.#endlessReplay ?? Number.POSITIVE_INFINITY)) {
        this.#endlessReplay = undefined
        this.#system(SystemCode.replayCompleted, "Finished trades replay")
      }
      const until = (this.#timed[0]?.afterRecords ?? Number.POSITIVE_INFINITY) - this.#sent
      const limit = Math.min(until, (this.#endlessReplay ?? now) - feed.row)
      if (limit <= 0) break
      this.#sendEndless(feed, limit)
    }
    return this.#afterEmit(this.#out.length < STEP_BYTES ? ENDLESS_PACE_MILLIS : 0)
  }

  #sendEndless(feed: EndlessFeed, limit: number): void {
    const { row } = feed
    const { bytes, records, rows } = feed.take(limit)
    if (records > 0) this.#out.bytes(bytes)
    this.#sent += records
    this.#advance(feed.market.timeOf(row + rows - 1))
    this.#stretches.push({ session: this.#init.sessionId, row, rows })
  }

  // -----------------------------------------------------------------------------------------------------------------
  // Records

  /** Sends what is due; milliseconds until more will be. */
  #stream(buffered: number): number | undefined {
    const replay = this.#replay
    if (replay !== undefined) {
      if (buffered >= MAX_BUFFERED) return undefined
      this.#emit(replay.feed, Number.POSITIVE_INFINITY)
      this.#finishReplays(replay)
      return this.#afterEmit(this.#replay === undefined ? 0 : undefined)
    }
    if (this.#endless !== undefined) return this.#streamEndless(this.#endless, buffered)
    this.#liveSince ??= this.#now
    const due = this.#due()
    if (buffered >= MAX_BUFFERED) return this.#fallBehind(due)
    if (this.#lost.size > 0) this.#tellLost()
    if (due > 0) this.#emit(this.#live, due)
    if (this.#reached !== undefined)
      this.#init.market.reached(this.#dataset as SimulatedDataset, this.#reached)
    if (this.#end !== "open" || this.#isStalled) return undefined
    if (this.#live.first() !== undefined) return this.#afterEmit(this.#nextDue())
    this.#closeIntervals(this.#live.cursors)
    if (this.#strikeDue()) return 0
    if (this.#init.atEnd === "close" && this.#live.cursors.length > 0) this.#close("close")
    return this.#heartbeat()
  }

  #afterEmit(wait: number | undefined): number | undefined {
    const heartbeat = this.#heartbeat()
    return Math.min(wait ?? 0, heartbeat ?? 0)
  }

  /** Live records that are due now. */
  #due(): number {
    const { rate } = this.#init
    if (rate === undefined) return Number.POSITIVE_INFINITY
    const seconds = Number(this.#now - (this.#liveSince as bigint)) / 1e9
    return Math.floor(seconds * rate) + 1 - this.#liveSent
  }

  #nextDue(): number {
    const { rate } = this.#init
    if (rate === undefined || this.#due() > 0) return 0
    const seconds = Number(this.#now - (this.#liveSince as bigint)) / 1e9
    return Math.max(PACE_MILLIS, Math.ceil((this.#liveSent / rate - seconds) * 1000 - 1e-6))
  }

  /** Sends at most `limit` records of a feed, stopping where a fault is due and where a step is full. */
  #emit(feed: RecordFeed, limit: number): void {
    let left = limit
    while (left > 0 && this.#out.length < STEP_BYTES) {
      if (this.#strikeDue()) {
        if (this.#end !== "open" || this.#isStalled) return
        continue
      }
      const cursor = feed.first()
      if (cursor === undefined) return
      const until = (this.#timed[0]?.afterRecords ?? Number.POSITIVE_INFINITY) - this.#sent
      const count = this.#emitFrom(feed, cursor, Math.min(left, until))
      left -= count
      this.#sent += count
      if (feed === this.#live) {
        this.#liveSent += count
        this.#reached = this.#clock
      }
      if (this.#replay?.feed === feed && cursor.isDone) this.#finishReplays(this.#replay)
    }
  }

  /** Sends the next record of a cursor, or a stretch of them; returns how many. */
  #emitFrom(feed: RecordFeed, cursor: FeedCursor, limit: number): number {
    const isPlain =
      feed.cursors.length === 1 &&
      this.#options?.tsOut === false &&
      this.#extraWords === 0 &&
      !this.#isOddNext &&
      this.#pendingMappings.length === 0
    const stretch = isPlain ? cursor.stretch(limit, STEP_BYTES) : 0
    if (stretch > 0) return this.#emitStretch(cursor, stretch)
    const { time } = cursor
    for (const it of feed.closeIntervals(time)) this.#endOfInterval(it.schema, it.end)
    while (this.#pendingMappings.length > 0 && this.#pendingMappings[0]!.start <= time)
      this.#out.bytes(this.#records.mapping(this.#pendingMappings.shift() as MappedSymbol, time))
    if (cursor.hasIntervals) cursor.openInterval = time
    this.#replay?.sending(cursor)
    this.#record(cursor.table, cursor.row, time)
    cursor.advance()
    return 1
  }

  #emitStretch(cursor: FeedCursor, rows: number): number {
    const { table, row } = cursor
    this.#out.bytes(table.bytes.subarray(table.offsets[row]!, table.offsets[row + rows]!))
    this.#advance(table.times[row + rows - 1]!)
    cursor.skip(rows)
    return rows
  }

  #record(table: RecordTable, row: number, time: bigint): void {
    this.#advance(time)
    const tsOut = this.#options?.tsOut === true ? this.#clock : undefined
    this.#out.record(table, row, tsOut, this.#extraWords)
    if (!this.#isOddNext) return
    this.#isOddNext = false
    this.#out.setEnums(table, row)
  }

  #advance(time: bigint): void {
    if (time > this.#clock) this.#clock = time
    this.#clockSet = this.#now
  }

  /** The session's clock now: never ahead of the next record. */
  #time(): bigint {
    const time = this.#clock + (this.#now - this.#clockSet)
    const next = (this.#replay?.feed ?? this.#live).first()?.time
    return next === undefined || time < next ? time : next > this.#clock ? next : this.#clock
  }

  #system(code: number, text: string): void {
    this.#out.bytes(this.#records.system(code, text, this.#time()))
  }

  #error(code: number, text: string, isLast = true): void {
    this.#out.bytes(this.#records.error(code, text, this.#time(), isLast))
    if (isFatal(code)) this.#close("close")
  }

  #endOfInterval(schema: KnownSchema, end: bigint): void {
    this.#out.bytes(this.#records.system(SystemCode.endOfInterval, `End of interval for ${schema}`, end))
  }

  #closeIntervals(cursors: ReadonlyArray<FeedCursor>): void {
    for (const cursor of cursors) {
      if (cursor.openInterval !== undefined) this.#endOfInterval(cursor.table.schema, cursor.openInterval)
      cursor.openInterval = undefined
    }
  }

  /** Sends a heartbeat where one is due; milliseconds until the next one. */
  #heartbeat(): number {
    const interval = BigInt((this.#options as SessionOptions).heartbeatSeconds) * SECOND
    const since = this.#out.length > 0 ? this.#now : this.#lastOutput
    if (this.#now - since < interval) return Math.ceil(Number(since + interval - this.#now) / 1e6)
    this.#system(SystemCode.heartbeat, "Heartbeat")
    return Number(interval / 1_000_000n)
  }

  #idleWait(): number | undefined {
    if (this.#phase !== "auth") return undefined
    return Math.max(1, Math.ceil(Number(this.#opened + AUTH_TIMEOUT - this.#now) / 1e6))
  }

  // -----------------------------------------------------------------------------------------------------------------
  // Slow readers and faults

  /** The client does not keep up with a paced market: records are dropped where that was agreed. */
  #fallBehind(due: number): number | undefined {
    if (this.#init.rate === undefined) return undefined
    if (this.#options?.slowReader === "skip")
      for (let left = due; left > 0; left--) {
        const cursor = this.#live.first()
        if (cursor === undefined || !skipped.has(cursor.table.schema)) break
        this.#lose(cursor)
      }
    const behind = this.#live.first() === undefined ? 0 : this.#due() / this.#init.rate
    if (behind > 1 && this.#now - this.#lastWarning >= SECOND) {
      this.#lastWarning = this.#now
      this.#system(
        SystemCode.slowReader,
        `Warning: slow reading, the session is ${behind.toFixed(1)} s behind`
      )
    }
    return 10 * PACE_MILLIS
  }

  #lose(cursor: FeedCursor): void {
    const { schema } = cursor.table
    this.#lost.set(schema, (this.#lost.get(schema) ?? 0) + 1)
    this.#advance(cursor.time)
    this.#reached = this.#clock
    this.#liveSent += 1
    cursor.advance()
  }

  #tellLost(): void {
    for (const [schema, count] of this.#lost)
      this.#error(
        ErrorCode.skippedRecords,
        `Slow client detected for ${schema}, ${count} records were skipped`
      )
    this.#lost.clear()
  }

  /** Lets a fault happen whose time has come; false where there is none. */
  #strikeDue(): boolean {
    const fault = this.#timed[0]
    if (fault === undefined || fault.afterRecords > this.#sent) return false
    this.#timed.shift()
    this.#strike(fault)
    return true
  }

  #strike(fault: TimedFault): void {
    switch (fault.type) {
      case "reset":
      case "eof":
        this.#close(fault.type === "eof" ? "close" : "reset")
        break
      case "eofInsideRecord":
        this.#cut(fault.bytes)
        break
      case "stall":
        this.#isStalled = true
        break
      case "skip":
        this.#leaveOut(fault.records)
        break
      case "unknownRecord":
        this.#out.bytes(this.#records.unknown(this.#time()))
        break
      case "unknownEnum":
        this.#isOddNext = true
        break
      case "longRecords":
        this.#extraWords = fault.words
        break
      case "error":
        this.#error(fault.code, fault.text)
    }
  }

  #leaveOut(records: number): void {
    for (let left = records; left > 0; left--) {
      const cursor = this.#live.first()
      if (cursor === undefined) break
      this.#lose(cursor)
    }
    this.#tellLost()
  }

  /** Sends the beginning of a record and ends. */
  #cut(bytes: number): void {
    const cursor = (this.#replay?.feed ?? this.#live).first()
    if (cursor !== undefined) {
      const { table, row } = cursor
      const from = table.offsets[row]!
      this.#out.bytes(table.bytes.subarray(from, Math.min(from + bytes, table.offsets[row + 1]!)))
    }
    this.#close("close")
  }
}

const EXCESS = "User has reached their open connection limit"
