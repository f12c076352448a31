/**
 * A provider without a wire, over a `TestVenue`: for tests of what stands behind providers - stores, backfills, hubs - and
 * an example of everything that the contract asks of one. It passes `ProviderSuite`.
 *
 * @example
 * ```ts
 * const venue = new TestVenue({ isManual: true })
 * const provider = TestProvider.make(venue)
 * // run what is tested on `provider.live(...)`, then let trades happen and break the connection:
 * yield* venue.fault({ type: "disconnect", afterRows: 10 })
 * yield* venue.advance(20)
 * ```
 */
import {
  batchContext,
  Decimal,
  type Gap,
  type HistoryRequest,
  LocalInstruments,
  type Provider,
  ProviderBadRequest,
  type ProviderCapabilities,
  ProviderError,
  type ProviderErrorReason,
  type ProviderEvent,
  ProviderMalformed,
  ProviderRateLimited,
  ProviderTruncated,
  ProviderUnauthorized,
  ProviderUnavailable,
  type RegisterListings,
  type Selection,
  type StoreError,
  TimeRange
} from "@data-manager/core"
import { type Cause, Clock, Effect, Queue, type Scope, Stream } from "effect"
import { batchOf, type TapeTrade } from "./TestTape.ts"
import type { TestVenue } from "./TestVenue.ts"

/** How the provider behaves. */
export interface TestProviderOptions {
  /** Default `test`. */
  readonly id?: string | undefined
  /** Gives instruments their ids; default: a registry in memory. */
  readonly register?: RegisterListings | undefined
  /** Capabilities other than the default ones: trades, past and live, with replay, not billed. */
  readonly capabilities?: Partial<ProviderCapabilities> | undefined
  /** Rows per batch at most; default 64. */
  readonly batchRows?: number | undefined
  /** Whether the venue lets it in; default true. */
  readonly isAuthorized?: boolean | undefined
}

const defaults: ProviderCapabilities = {
  history: ["trades"],
  live: ["trades"],
  symbolTypes: ["raw_symbol"],
  replaySeconds: 24 * 3600,
  consecutiveIds: false,
  billed: false,
  maxSymbols: 0,
  maxDays: 0,
  addSymbolsLive: false
}

/** A provider of the venue. */
export const make = (venue: TestVenue, options: TestProviderOptions = {}): Provider =>
  new Connection(venue, options).provider

class Connection {
  readonly #venue: TestVenue
  readonly #id: string
  readonly #register: RegisterListings
  readonly #capabilities: ProviderCapabilities
  readonly #batchRows: number
  readonly #isAuthorized: boolean
  #sessions = 0
  #reconnects = 0
  #lastDataAt: bigint | undefined

  constructor(venue: TestVenue, options: TestProviderOptions) {
    this.#venue = venue
    this.#id = options.id ?? "test"
    this.#register = options.register ?? LocalInstruments.make().register
    this.#capabilities = { ...defaults, ...options.capabilities }
    this.#batchRows = options.batchRows ?? 64
    this.#isAuthorized = options.isAuthorized ?? true
  }

  get provider(): Provider {
    return {
      id: this.#id,
      capabilities: this.#capabilities,
      history: (request) => this.#history(request),
      live: (selection, { from } = {}) => this.#live(selection, from),
      discover: (dataset) =>
        Stream.unwrap(
          Effect.as(
            this.#checkDataset("discover", dataset),
            Stream.fromIterable(this.#venue.symbols.map((symbol) => this.#venue.claimOf(this.#id, symbol)))
          )
        ),
      availableRange: (selection) =>
        Effect.as(this.#check("availableRange", selection, this.#capabilities.history), this.#venue.range),
      estimate: (request) =>
        Effect.map(this.#checkHistory("estimate", request), () => {
          const records = BigInt(this.#venue.between(new Set(request.symbols), request.range).length)
          // A cent for each row.
          const costUsd = this.#capabilities.billed ? Decimal.make(records, -2) : undefined
          return { requests: 1, records, costUsd }
        }),
      health: Effect.sync(() => ({
        state: this.#sessions > 0 ? "healthy" : "idle",
        lastDataAt: this.#lastDataAt,
        reconnects: this.#reconnects,
        detail: `${this.#sessions} live streams`
      }))
    }
  }

  #failure(operation: string, reason: ProviderErrorReason): ProviderError {
    return new ProviderError({ provider: this.#id, operation, reason })
  }

  #bad(operation: string, detail: string): Effect.Effect<never, ProviderError> {
    return Effect.fail(this.#failure(operation, new ProviderBadRequest({ detail })))
  }

  #checkDataset(operation: string, dataset: string): Effect.Effect<void, ProviderError> {
    const detail = "the venue does not know this key"
    if (!this.#isAuthorized)
      return Effect.fail(
        this.#failure(operation, new ProviderUnauthorized({ detail, hint: "take another one" }))
      )
    return dataset === this.#venue.dataset
      ? Effect.void
      : this.#bad(operation, `no dataset ${dataset}; there is ${this.#venue.dataset}`)
  }

  #check(
    operation: string,
    { dataset, schema, symbols }: Selection,
    schemas: ReadonlyArray<string>
  ): Effect.Effect<void, ProviderError> {
    if (!schemas.includes(schema))
      return this.#bad(operation, `no schema ${schema}; there are ${schemas.join(", ")}`)
    if (symbols.length === 0) return this.#bad(operation, "no symbols")
    const unknown = symbols.filter((symbol) => !this.#venue.symbols.includes(symbol))
    const known = unknown.length < symbols.length
    return Effect.andThen(
      this.#checkDataset(operation, dataset),
      known ? Effect.void : this.#bad(operation, `unknown symbols ${unknown.join(", ")}`)
    )
  }

  #checkHistory(operation: string, request: HistoryRequest): Effect.Effect<void, ProviderError> {
    return TimeRange.isEmpty(request.range)
      ? this.#bad(operation, "the end of the range is not behind its start")
      : this.#check(operation, request, this.#capabilities.history)
  }

  /** Registers the symbols, and makes batches of their trades. */
  readonly #gatherer = Effect.fnUntraced(
    { self: this },
    function* (this: Connection, operation: string, symbols: ReadonlyArray<string>) {
      const known = symbols.filter((symbol) => this.#venue.symbols.includes(symbol))
      const claims = known.map((symbol) => this.#venue.claimOf(this.#id, symbol))
      const instruments = yield* this.#register(claims).pipe(
        Effect.mapError((error: StoreError) =>
          this.#failure(operation, new ProviderBadRequest({ detail: error.message }))
        )
      )
      const ids = new Map(instruments.map(({ id, rawSymbol }) => [rawSymbol, id]))
      const context = batchContext({
        provider: this.#id,
        dataset: this.#venue.dataset,
        instruments: new Map(instruments.map((instrument) => [instrument.id, instrument]))
      })
      const mappings = claims.map(
        (claim): ProviderEvent => ({ _tag: "Mapping", claim, requested: claim.rawSymbol })
      )
      const batches = (trades: ReadonlyArray<TapeTrade>): Array<ProviderEvent> =>
        Array.from({ length: Math.ceil(trades.length / this.#batchRows) }, (_, i) => ({
          _tag: "Batch",
          batch: batchOf(
            context,
            trades.slice(i * this.#batchRows, (i + 1) * this.#batchRows),
            (symbol) => ids.get(symbol)!
          )
        }))
      return { mappings, batches }
    }
  )

  #history(request: HistoryRequest): Stream.Stream<ProviderEvent, ProviderError> {
    return Stream.unwrap(
      Effect.gen({ self: this }, function* (this: Connection) {
        yield* this.#checkHistory("history", request)
        yield* this.#connected
        this.#venue.historyRequests += 1
        const failure = historyFailure(this.#venue.takeHistoryFault()?.type)
        const { batches, mappings } = yield* this.#gatherer("history", request.symbols)
        const events = [...mappings, ...batches(this.#venue.between(new Set(request.symbols), request.range))]
        if (failure === undefined) return Stream.fromIterable(events)
        const given = failure._tag === "ProviderTruncated" ? events.slice(0, events.length >> 1) : []
        return Stream.concat(Stream.fromIterable(given), Stream.fail(this.#failure("history", failure)))
      })
    )
  }

  readonly #connected: Effect.Effect<void, never, Scope.Scope> = Effect.acquireRelease(
    Effect.sync(() => {
      this.#venue.open += 1
    }),
    () =>
      Effect.sync(() => {
        this.#venue.open -= 1
      })
  )

  #live(selection: Selection, from: bigint | undefined): Stream.Stream<ProviderEvent, ProviderError> {
    return Stream.callback<ProviderEvent, ProviderError>((queue) =>
      Effect.matchCauseEffect(this.#play(selection, from, queue), {
        onFailure: (cause) => Queue.failCause(queue, cause),
        onSuccess: () => Queue.end(queue)
      })
    )
  }

  readonly #play = Effect.fnUntraced(
    { self: this },
    function* (
      this: Connection,
      selection: Selection,
      from: bigint | undefined,
      queue: Queue.Queue<ProviderEvent, ProviderError | Cause.Done>
    ) {
      yield* this.#check("live", selection, this.#capabilities.live)
      const { batches, mappings } = yield* this.#gatherer("live", selection.symbols)
      yield* Queue.offerAll(queue, mappings)
      yield* Effect.acquireRelease(
        Effect.sync(() => {
          this.#sessions += 1
        }),
        () =>
          Effect.sync(() => {
            this.#sessions -= 1
          })
      )
      const tape = this.#venue.tape
      const replay = this.#capabilities.replaySeconds > 0
      let at = this.#venue.position
      if (from !== undefined && replay) at = tape.findIndex(({ tsEvent }) => tsEvent >= from)
      const give = (trades: ReadonlyArray<TapeTrade>) =>
        Queue.offerAll(queue, batches(trades.filter(({ symbol }) => selection.symbols.includes(symbol))))
      for (;;) {
        const next = yield* Effect.scoped(this.#session(at, give, selection, queue))
        this.#reconnects += 1
        at = replay ? next : Math.max(next, this.#venue.position)
        if (at > next) yield* Queue.offer(queue, this.#gap(selection, next, at, "disconnect"))
      }
    }
  )

  /** One session, which begins with the trade at `at`; ends where it is broken, with the first trade that was not given. */
  readonly #session = Effect.fnUntraced(
    { self: this },
    function* (
      this: Connection,
      begin: number,
      give: (trades: ReadonlyArray<TapeTrade>) => Effect.Effect<unknown>,
      selection: Selection,
      queue: Queue.Queue<ProviderEvent, ProviderError | Cause.Done>
    ) {
      yield* this.#connected
      const venue = this.#venue
      const fault = venue.takeLiveFault()
      const end = fault === undefined ? Number.POSITIVE_INFINITY : begin + fault.afterRows
      let at = begin
      for (;;) {
        if (at === end && fault !== undefined) {
          if (fault.type === "loss") {
            const after = Math.min(venue.tape.length, at + fault.rows)
            yield* Queue.offer(queue, this.#gap(selection, at, after, "provider"))
            at = after
          } else {
            // What happens while nobody listens can only be replayed.
            venue.position = Math.max(venue.position, Math.min(venue.tape.length, at + LostInOutage))
            yield* Effect.sleep(fault.type === "stall" ? "20 seconds" : "1 second")
            return at
          }
        }
        yield* venue.untilAllowed(at)
        const most = Math.min(this.#batchRows, venue.allowedFrom(at))
        const trades = venue.tape.slice(at, Math.min(at + most, at < end ? end : Number.POSITIVE_INFINITY))
        if (trades.length === 0) yield* Effect.never
        yield* give(trades)
        at += trades.length
        venue.position = Math.max(venue.position, at)
        this.#lastDataAt = yield* Clock.currentTimeNanos
        yield* Effect.yieldNow
      }
    }
  )

  /** Trades `[from, to)` of the tape are missing. */
  #gap({ dataset, schema }: Selection, from: number, to: number, cause: Gap["cause"]): Gap {
    const { tape } = this.#venue
    return {
      _tag: "Gap",
      dataset,
      schema,
      range: { start: tape[from]!.tsRecv, end: tape[to - 1]!.tsRecv + 1n },
      rows: BigInt(to - from),
      cause
    }
  }
}

/** Trades that happen while a session is being made again. */
const LostInOutage = 7

const historyFailure = (fault: string | undefined): ProviderErrorReason | undefined => {
  switch (fault) {
    case "historyCut":
      return new ProviderTruncated({ detail: "the answer ends in its middle" })
    case "historyUnavailable":
      return new ProviderUnavailable({ detail: "the venue failed" })
    case "historyRateLimited":
      return new ProviderRateLimited({ detail: "too many requests", retryAfterMillis: 1000 })
    case "historyGarbage":
      return new ProviderMalformed({ detail: "the answer is not of the protocol" })
    default:
      return undefined
  }
}
