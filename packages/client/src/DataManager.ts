/**
 * A connection to what a Data Manager service has stored and publishes, without Effect: promises for what is small, async
 * iterables and callbacks for what streams. It reads the database and the ring; it collects nothing, and writes nothing.
 */
import {
  type Bar,
  type BarBatch,
  type Coverage,
  DataManagerConfig,
  type Instrument,
  InstrumentRegistry,
  MarketData,
  type MarketEvent,
  type MarketRows,
  type MarketSchema,
  MarketStore,
  type MissingData,
  type StoreError,
  type Timeframe,
  type TimeRange,
  type Trade,
  type TransportError
} from "@data-manager/core"
import { PgServer, TimescaleStore } from "@data-manager/storage-timescale"
import { type RingLocation, ShmSubscription } from "@data-manager/transport-shm"
import { Effect, Layer, ManagedRuntime, Redacted, Stream } from "effect"
import { nanos, rangeOf, type Time } from "./Time.ts"

/** Where the data is. */
export interface OpenOptions {
  /** `postgresql://user:password@host:5432/database`; default `DM_DATABASE_URL`, else the embedded database. */
  readonly database?: string | undefined
  /** Folder of the embedded database; default that of `dm`. */
  readonly dataDir?: string | undefined
  /** The ring of the service on this host; default name that of the configuration, in the usual place. Found by the first subscription. */
  readonly ring?: Partial<RingLocation> | undefined
  /** Connections to the database at most; default 4. */
  readonly maxConnections?: number | undefined
}

/** Which data. */
export interface DataQuery {
  /** `DATASET:RAW_SYMBOL`, a raw symbol alone where it is unique, or `ALL_SYMBOLS`. */
  readonly symbols: ReadonlyArray<string>
  /** A schema of trades or quotes; default `trades`. */
  readonly schema?: MarketSchema.MarketSchema | undefined
}

/** Stored data of `[start, end)`. */
export interface StoredQuery extends DataQuery {
  readonly start: Time
  /** Default: everything from the start on. */
  readonly end?: Time | undefined
}

/** Live data, and what was before. */
export interface LiveQuery extends DataQuery {
  /** Begin of the stored data that comes first; default: live data alone. */
  readonly from?: Time | undefined
  /** Ends the stream. */
  readonly signal?: AbortSignal | undefined
}

/** Stored bars of `[start, end)`. */
export interface BarQuery {
  readonly symbols: ReadonlyArray<string>
  readonly timeframe: Timeframe.Timeframe
  readonly start: Time
  readonly end?: Time | undefined
  /** Flat bars where nothing was traded; default false. */
  readonly fill?: boolean | undefined
}

/** How a callback is called. */
export interface ListenOptions {
  /** What ends the stream without having been asked for; default: thrown where nobody catches it. */
  readonly onError?: ((error: Error) => void) | undefined
}

/** Name of the ring where nothing else is configured. */
const DefaultRing = DataManagerConfig.defaults.realtime.shm.name

/** A settings text that keeps a session from writing, whoever logs in. */
const ReadOnly = "-c default_transaction_read_only=on -c client_min_messages=notice"

const storedLayer = ({ database, dataDir, maxConnections = 4 }: OpenOptions) => {
  const store = Layer.unwrap(
    Effect.map(
      PgServer.open({
        ...(database === undefined ? {} : { url: Redacted.make(database) }),
        ...(dataDir === undefined ? {} : { dataDir })
      }),
      ({ address, embedded }) =>
        TimescaleStore.layer({
          server: {
            ...address,
            options: address.options === undefined ? ReadOnly : `${address.options} ${ReadOnly}`
          },
          embedded,
          maxConnections,
          migrate: "require"
        })
    )
  )
  return InstrumentRegistry.layer.pipe(Layer.provideMerge(store))
}

const ringLayer = ({ ring = {} }: OpenOptions, schema: "trades" | "quotes") =>
  ShmSubscription.layer({ ...ring, name: ring.name ?? DefaultRing, kind: schema })

/**
 * Opens the database, and looks whether it can be read.
 *
 * @throws StoreError that says what is wrong and what to do: no server, a refused login, a schema that is not there.
 */
export const open = async (options: OpenOptions = {}): Promise<DataManager> => {
  const runtime = ManagedRuntime.make(storedLayer(options))
  try {
    await runtime.runPromise(Effect.asVoid(MarketStore))
  } catch (error) {
    await runtime.dispose()
    throw error
  }
  return new DataManager(options, runtime)
}

/** What is open. Close it, or say `await using`. Its methods reject with `StoreError`, `TransportError` or `ProviderError`. */
export class DataManager implements AsyncDisposable {
  readonly #options: OpenOptions
  readonly #stored: ManagedRuntime.ManagedRuntime<MarketStore | InstrumentRegistry, StoreError>
  readonly #live = new Map<string, ManagedRuntime.ManagedRuntime<MarketData, StoreError | TransportError>>()

  /** Not for use: see `open`. */
  constructor(
    options: OpenOptions,
    stored: ManagedRuntime.ManagedRuntime<MarketStore | InstrumentRegistry, StoreError>
  ) {
    this.#options = options
    this.#stored = stored
  }

  /**
   * Stored rows since `from`, then live ones, none missing and none twice; `{ _tag: "Live" }` stands between. Without `from`: live
   * rows alone. Ends with a `break`, or with the signal.
   */
  subscribe(query: LiveQuery): AsyncIterable<MarketEvent> {
    const { from, schema, signal, symbols } = query
    const events = Stream.unwrap(
      Effect.map(MarketData, (data) =>
        data.subscribe({ symbols, schema, from: from === undefined ? undefined : nanos("from", from) })
      )
    )
    const ending = signal === undefined ? events : Stream.interruptWhen(events, aborted(signal))
    return this.#iterate(this.#liveRuntime(schema), ending)
  }

  /** Calls back with what `subscribe` gives, until the function that it returns is called. */
  listen(query: LiveQuery, handler: (event: MarketEvent) => void, options: ListenOptions = {}): () => void {
    const stop = new AbortController()
    query.signal?.addEventListener("abort", () => stop.abort(), { once: true })
    const run = async (): Promise<void> => {
      for await (const event of this.subscribe({ ...query, signal: stop.signal })) {
        if (stop.signal.aborted) return
        handler(event)
      }
    }
    run().catch((error: Error) => {
      if (stop.signal.aborted) return
      if (options.onError === undefined) queueMicrotask(() => throwIt(error))
      else options.onError(error)
    })
    return () => stop.abort()
  }

  /** Stored rows as batches of columns, in order of time; before them, what is missing. */
  history(query: StoredQuery): AsyncIterable<MarketRows | MissingData> {
    const { schema, symbols } = query
    return this.#iterate(
      this.#stored,
      Stream.unwrap(
        Effect.gen(function* () {
          const data = yield* MarketData
          return data.history({ symbols, schema, range: rangeOf(query) })
        }).pipe(Effect.provide(MarketData.layerStored(rangeOf(query))))
      )
    )
  }

  /** Stored trades as objects, in order of time. For small ranges: a day of a busy symbol is better read by `history`. */
  async trades(query: StoredQuery): Promise<ReadonlyArray<Trade>> {
    const trades: Array<Trade> = []
    for await (const event of this.history({ ...query, schema: "trades" }))
      if (event._tag === "Batch" && event.batch._tag === "TradeBatch") trades.push(...event.batch.rows())
    return trades
  }

  /** Bars made from stored trades, as objects, in order of time. */
  async bars(query: BarQuery): Promise<ReadonlyArray<Bar>> {
    const bars: Array<Bar> = []
    for await (const batch of this.barBatches(query)) bars.push(...batch.rows())
    return bars
  }

  /** The same as batches of columns. */
  barBatches(query: BarQuery): AsyncIterable<BarBatch> {
    const { fill, timeframe } = query
    const range = rangeOf(query)
    return this.#iterate(
      this.#stored,
      Stream.unwrap(
        Effect.gen(function* () {
          const store = yield* MarketStore
          const instruments = yield* numbersOf(query.symbols, range)
          return store.readBars({ instruments, range, timeframe, fill })
        })
      )
    )
  }

  /** The newest `count` stored trades of each symbol, as objects, in order of time. */
  lastTrades(symbols: ReadonlyArray<string>, count: number): Promise<ReadonlyArray<Trade>> {
    return this.#run(
      Effect.gen(function* () {
        const store = yield* MarketStore
        const batches = yield* store.lastTrades(yield* numbersOf(symbols), count)
        return batches.flatMap((batch) => [...batch.rows()])
      })
    )
  }

  /** Everything that is known by name. */
  instruments(): Promise<ReadonlyArray<Instrument>> {
    return this.#run(
      Effect.gen(function* () {
        const known = yield* (yield* MarketStore).loadInstruments()
        return [...known.instruments.values()]
      })
    )
  }

  /** What is held of a symbol, and what is missing, and why. */
  coverage(
    symbol: string,
    schema: MarketSchema.MarketSchema = "trades"
  ): Promise<ReadonlyArray<Coverage.CoverageSpan>> {
    return this.#run(
      Effect.gen(function* () {
        const store = yield* MarketStore
        return yield* store.coverage({ instruments: yield* numbersOf([symbol]), schema })
      })
    )
  }

  /** Ends everything that is open. */
  async close(): Promise<void> {
    for (const runtime of this.#live.values()) await runtime.dispose()
    await this.#stored.dispose()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #run<A>(effect: Effect.Effect<A, StoreError, MarketStore | InstrumentRegistry>): Promise<A> {
    return this.#stored.runPromise(effect)
  }

  /** The ring is opened by the first who wants it. One that was not there is looked for again. */
  #liveRuntime(schema: MarketSchema.MarketSchema = "trades") {
    const kind = schema === "trades" ? "trades" : "quotes"
    let runtime = this.#live.get(kind)
    if (runtime === undefined) {
      const services = Layer.effectContext(this.#stored.contextEffect)
      const data = MarketData.layer.pipe(
        Layer.provide(ringLayer(this.#options, kind)),
        Layer.provide(services)
      )
      runtime = ManagedRuntime.make(data)
      this.#live.set(kind, runtime)
    }
    return runtime
  }

  #iterate<A, E, R>(
    runtime: ManagedRuntime.ManagedRuntime<R, StoreError | TransportError>,
    stream: Stream.Stream<A, E, R>
  ): AsyncIterable<A> {
    return {
      [Symbol.asyncIterator]: () => {
        const opened = runtime
          .context()
          .then((context) => Stream.toAsyncIterableWith(stream, context)[Symbol.asyncIterator]())
        return {
          next: () => opened.then((iterator) => iterator.next()),
          return: async () => {
            const iterator = await opened.catch(() => undefined)
            return (await iterator?.return?.()) ?? { done: true, value: undefined }
          }
        }
      }
    }
  }
}

const throwIt = (error: Error): never => {
  throw error
}

const aborted = (signal: AbortSignal): Effect.Effect<void> =>
  Effect.callback<void>((resume) => {
    const done = (): void => resume(Effect.void)
    if (signal.aborted) return done()
    signal.addEventListener("abort", done, { once: true })
    return Effect.sync(() => signal.removeEventListener("abort", done))
  })

/** Numbers of instruments that texts name. */
const numbersOf = (symbols: ReadonlyArray<string>, range?: TimeRange.TimeRange) =>
  Effect.gen(function* () {
    const registry = yield* InstrumentRegistry
    return yield* Effect.forEach(symbols, (text) => Effect.map(registry.resolve(text, range), ({ id }) => id))
  })
