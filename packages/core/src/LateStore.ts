/**
 * A store that may be reached later: for a service that starts while the database is away. Until it is there, every operation
 * fails as one of a store that is away, which those who can wait do; live rows stay in the spool meanwhile.
 *
 * Only the first try decides whether the service starts. What later tries find is told, and tried again: a service that collects
 * does not end because somebody has changed the password.
 */
import { Context, type Duration, Effect, Exit, Layer, Scope, Stream } from "effect"
import { MarketStore, type StoreCapabilities } from "./MarketStore.ts"
import { StoreError, StoreUnavailable } from "./StoreError.ts"

/** Whether the store of a service has been reached. */
export class StoreReach extends Context.Service<
  StoreReach,
  {
    /** Why it has not been reached since the start; undefined once it was. */
    readonly problem: () => string | undefined
  }
>()("@data-manager/core/StoreReach") {}

/** How a store is waited for. */
export interface LateStoreOptions {
  /** Whether the first failure means that the store is away. What it does not mean that for ends the start. */
  readonly isAway: (error: StoreError) => boolean
  /** Time between two tries; default 1 second. */
  readonly pause?: Duration.Input | undefined
}

type Store = MarketStore["Service"]

/** The store of a layer, now or later; what else the layer does begins with it. */
export const layer = (
  store: Layer.Layer<MarketStore, StoreError>,
  options: LateStoreOptions
): Layer.Layer<MarketStore | StoreReach, StoreError> =>
  Layer.effectContext(
    Effect.gen(function* () {
      const scope = yield* Effect.scope
      const first = yield* Effect.result(built(store, scope))
      if (first._tag === "Success") return contextOf(first.success, () => undefined)
      if (!options.isAway(first.failure)) return yield* first.failure
      yield* Effect.logWarning(
        `${first.failure.message}; the service starts without the database, rows wait in the spool`
      )
      const late = new Late(first.failure)
      yield* Effect.forkScoped(late.reach(built(store, scope), options.pause ?? "1 second"))
      return contextOf(lateStore(late), late.problem)
    })
  )

const contextOf = (store: Store, problem: () => string | undefined) =>
  Context.make(MarketStore, store).pipe(Context.add(StoreReach, StoreReach.of({ problem })))

/** Builds the layer in a part of the scope, which ends at once where it fails. */
const built = (
  store: Layer.Layer<MarketStore, StoreError>,
  scope: Scope.Scope
): Effect.Effect<Store, StoreError> =>
  Effect.gen(function* () {
    const own = yield* Scope.fork(scope)
    return yield* Layer.buildWithScope(Layer.fresh(store), own).pipe(
      Effect.map((context) => Context.get(context, MarketStore)),
      Effect.onExit((exit) => (Exit.isSuccess(exit) ? Effect.void : Scope.close(own, exit)))
    )
  })

class Late {
  #store: Store | undefined
  #failure: StoreError

  constructor(failure: StoreError) {
    this.#failure = failure
  }

  readonly problem = (): string | undefined => (this.#store === undefined ? this.#failure.message : undefined)

  get store(): Store | undefined {
    return this.#store
  }

  /** Whatever it is, it may be over with the next try. */
  get error(): StoreError {
    const { operation } = this.#failure
    const detail = this.#failure.message.slice(operation.length + 2)
    return new StoreError({ operation, reason: new StoreUnavailable({ detail, hint: "" }) })
  }

  /** Tries until it is there; tells what is new about the failure. */
  reach(open: Effect.Effect<Store, StoreError>, pause: Duration.Input): Effect.Effect<void> {
    return Effect.gen({ self: this }, function* () {
      while (this.#store === undefined) {
        yield* Effect.sleep(pause)
        const found = yield* Effect.result(open)
        if (found._tag === "Success") {
          this.#store = found.success
          yield* Effect.logInfo("the database is there: what waits in the spool is written")
        } else {
          const isNew = found.failure.message !== this.#failure.message
          this.#failure = found.failure
          if (isNew) yield* Effect.logWarning(`${found.failure.message}; it is tried again`)
        }
      }
    })
  }
}

/** What is said of a store that nobody has seen. */
const unknown: StoreCapabilities = {
  edition: "postgresql",
  serverVersion: "unknown",
  embedded: false,
  partitioning: "range",
  compression: false,
  continuousAggregates: false,
  bulkProfile: false,
  notes: ["the database has not been reached yet"]
}

const lateStore = (late: Late): Store => {
  const now = <A>(use: (store: Store) => Effect.Effect<A, StoreError>): Effect.Effect<A, StoreError> =>
    Effect.suspend(() => (late.store === undefined ? Effect.fail(late.error) : use(late.store)))
  const stream = <A>(use: (store: Store) => Stream.Stream<A, StoreError>): Stream.Stream<A, StoreError> =>
    Stream.suspend(() => (late.store === undefined ? Stream.fail(late.error) : use(late.store)))
  return MarketStore.of({
    get capabilities() {
      return late.store?.capabilities ?? unknown
    },
    beginRun: (source) => now((store) => store.beginRun(source)),
    completeRun: (run) => now((store) => store.completeRun(run)),
    streamPosition: (name) => now((store) => store.streamPosition(name)),
    append: (batch, claim) => now((store) => store.append(batch, claim)),
    claimCoverage: (claims) => now((store) => store.claimCoverage(claims)),
    markCoverage: (spans) => now((store) => store.markCoverage(spans)),
    noteRevisions: (look) => now((store) => store.noteRevisions(look)),
    noteFeed: (notes) => now((store) => store.noteFeed(notes)),
    openFeedSessions: now((store) => store.openFeedSessions),
    coverage: (request) => now((store) => store.coverage(request)),
    readTrades: (request) => stream((store) => store.readTrades(request)),
    readQuotes: (request) => stream((store) => store.readQuotes(request)),
    readBars: (request) => stream((store) => store.readBars(request)),
    readBook: (request) => stream((store) => store.readBook(request)),
    lastTrades: (instruments, count) => now((store) => store.lastTrades(instruments, count)),
    conflicts: (request) => stream((store) => store.conflicts(request)),
    availability: (request) => now((store) => store.availability(request)),
    registerListings: (claims) => now((store) => store.registerListings(claims)),
    loadInstruments: (datasets) => now((store) => store.loadInstruments(datasets)),
    instrumentDetails: (id) => now((store) => store.instrumentDetails(id)),
    symbolEntries: now((store) => store.symbolEntries),
    putSymbolEntries: (entries) => now((store) => store.putSymbolEntries(entries)),
    expireTrades: (before) => now((store) => store.expireTrades(before)),
    statistics: now((store) => store.statistics)
  })
}
