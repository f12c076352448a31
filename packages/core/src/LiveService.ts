/**
 * Live collection as one layer: feeds of everything the registry wants -> hub -> spool -> store, and the publication, where
 * there is one, beside it.
 *
 *     provider -> LiveFeed -> Hub -> HubSpool -> Spool -> LiveWriter -> MarketStore
 *                                 -> HubPublication -> ring        <- durable, after each commit
 *
 * It starts from the end of that line and stops from its beginning: first no more data comes, then everything that came is
 * written, as far as the store is there; what is not written stays in the spool, for the next start.
 */

import type { FileSystem } from "effect"
import { Clock, Context, Deferred, Duration, Effect, Layer, Option, Path, Schedule, type Scope } from "effect"
import type { FeedSessionKey, OpenFeedSession } from "./FeedEntry.ts"
import type { RegisterListings } from "./FileSource.ts"
import * as FreshnessWatch from "./FreshnessWatch.ts"
import * as Hub from "./Hub.ts"
import * as HubPublication from "./HubPublication.ts"
import * as HubSpool from "./HubSpool.ts"
import type { InstrumentDirectory } from "./Instrument.ts"
import { InstrumentRegistry } from "./InstrumentRegistry.ts"
import { StoreReach } from "./LateStore.ts"
import { LeaderLease, type LeaseStatus } from "./LeaderLease.ts"
import * as LiveCollection from "./LiveCollection.ts"
import type { LiveFeedStatus } from "./LiveFeed.ts"
import * as LiveInstruments from "./LiveInstruments.ts"
import * as LiveReload from "./LiveReload.ts"
import * as LiveWriter from "./LiveWriter.ts"
import type { MarketSchema } from "./MarketSchema.ts"
import { MarketStore } from "./MarketStore.ts"
import * as MemoryTransport from "./MemoryTransport.ts"
import type { Provider, ProviderHealth } from "./Provider.ts"
import { Publication, type PublicationReader } from "./Publication.ts"
import { freshKinds } from "./Reload.ts"
import * as Spool from "./Spool.ts"
import type { SpoolError } from "./SpoolError.ts"
import type { StoreError } from "./StoreError.ts"
import { Subscription } from "./Subscription.ts"
import type { TransportError } from "./TransportError.ts"

/** What a service is made of. */
export interface LiveServiceOptions<E = never> {
  /** Names this start of the service among all that ever write into the store: a random text. */
  readonly instance: string
  /** Where live rows wait. The numbers of instruments are remembered beside it. */
  readonly spool: Omit<Spool.SpoolOptions, "instruments">
  /** The providers, made with numbers for instruments that need no database. */
  readonly providers: (register: RegisterListings) => Effect.Effect<ReadonlyArray<Provider>, E, Scope.Scope>
  /** Schemas of symbols that name none. Default: trades. */
  readonly defaultSchemas?: ReadonlyArray<MarketSchema> | undefined
  /** Newest rows of each kind that are kept in memory for subscribers in this process; default 65,536. */
  readonly memoryRows?: number | undefined
  /**
   * How much of the recent past a publication that has nothing gets, marked as a replay, before live rows: after a reboot.
   * Live rows are held back meanwhile, as many as it keeps. Default: none.
   */
  readonly reload?: Duration.Input | undefined
  /** Longest time that live rows are held back for it, about; default 30 seconds. What is read by then is put back. */
  readonly reloadTimeout?: Duration.Input | undefined
  /** Watches over single symbols; default: not. */
  readonly freshness?: Pick<FreshnessWatch.FreshnessWatchOptions, "quiet" | "factor" | "interval"> | undefined
  /** Time that the end waits for the store to take what came; default 8 seconds. */
  readonly drainTimeout?: Duration.Input | undefined
  /**
   * Sessions of other services that are over, see `isOfLeaseBefore`: what is collected begins where they ended, as far as
   * providers can replay it, and the rest is recorded as missing.
   */
  readonly isOver?: ((session: FeedSessionKey) => boolean) | undefined
}

/** How a service is doing. */
export interface LiveServiceStatus {
  /** ns since the epoch. */
  readonly startedAt: bigint
  readonly feeds: ReadonlyArray<LiveFeedStatus>
  readonly providers: ReadonlyArray<ProviderHealth & { readonly id: string }>
  readonly spool: Spool.SpoolDepth
  /** Most bytes that the spool may take. */
  readonly spoolLimit: number
  /** Rows that found no room in the spool, by cause. */
  readonly dropped: ReturnType<HubSpool.HubSpool["dropped"]>
  readonly writer: LiveWriter.LiveWriterStatus
  readonly publication:
    | (HubPublication.HubPublicationStatus & { readonly name: string; readonly connections: number })
    | undefined
  readonly subscribers: ReadonlyArray<Hub.HubSubscriberStatus>
  /** Undefined where nothing had to be put back into the publication. */
  readonly reload?: LiveReload.LiveReloadStatus | undefined
  /** Undefined where symbols are not watched one by one. */
  readonly freshness?: FreshnessWatch.FreshnessStatus | undefined
  /** The lease of the service; undefined where it runs without one. */
  readonly lease?: LeaseStatus | undefined
  /** Why the store has not been reached since the start; undefined once it was. */
  readonly storeAway?: string | undefined
}

/** Live collection that runs. */
export class LiveService extends Context.Service<
  LiveService,
  {
    readonly status: Effect.Effect<LiveServiceStatus>
    /** Everything that is collected, for sinks and subscribers in this process. */
    readonly hub: Hub.Hub
    /** Subscriptions within this process, by the same contract as those of a ring. */
    readonly memory: MemoryTransport.MemoryTransport
    /** Who reads the publication, where there is one that can tell. */
    readonly readers: Effect.Effect<ReadonlyArray<PublicationReader>>
    /** Waits for the end of the service by a failure that it cannot go on after. */
    readonly failure: Effect.Effect<never, StoreError | SpoolError>
  }
>()("@data-manager/core/LiveService") {}

/** The service, from its start to the end of the scope. */
export const make = <E = never>(options: LiveServiceOptions<E>) =>
  Effect.gen(function* () {
    const store = yield* MarketStore
    const registry = yield* InstrumentRegistry
    const publication = yield* Effect.serviceOption(Publication)
    const lease = yield* Effect.serviceOption(LeaderLease)
    const reach = yield* Effect.serviceOption(StoreReach)
    const path = yield* Path.Path
    const startedAt = BigInt(yield* Clock.currentTimeMillis) * 1_000_000n
    const failed = yield* Deferred.make<never, StoreError | SpoolError>()
    // The spool makes the folder.
    const spool = yield* Effect.suspend(() =>
      Spool.make({ ...options.spool, instruments: () => instruments?.directory ?? new Map() })
    )
    let instruments: LiveInstruments.LiveInstruments | undefined
    instruments = yield* LiveInstruments.open(path.join(options.spool.folder, "instruments.jsonl"))
    const hub = Hub.make()
    const spooling = yield* HubSpool.attach(hub, spool)
    const publishing = Option.isNone(publication)
      ? undefined
      : yield* HubPublication.attach(hub, publication.value, instruments.directory, {
          holdRows: holdRowsOf(publication.value, options.reload)
        })
    const memory = yield* MemoryTransport.make({
      name: "service",
      kinds: ["trades", "quotes"],
      capacity: options.memoryRows
    })
    const inMemory = yield* HubPublication.attach(hub, memory.publication, instruments.directory)
    const writer = LiveWriter.make({
      store,
      spool,
      instruments,
      instance: options.instance,
      isOver: options.isOver,
      onCommitted: (frame) => {
        const passed = spooling.passed(frame)
        const durable = inMemory.markDurable(passed)
        return publishing === undefined ? durable : Effect.andThen(durable, publishing.markDurable(passed))
      }
    })
    yield* writing(writer, spool, spooling, options.drainTimeout ?? "8 seconds", failed)
    const reload =
      Option.isNone(publication) || publishing?.held() === undefined
        ? undefined
        : LiveReload.make({
            store,
            registry,
            spool,
            writer,
            publishing,
            publication: publication.value,
            window: options.reload ?? 0,
            timeout: options.reloadTimeout ?? "30 seconds",
            defaultSchemas: options.defaultSchemas ?? ["trades"]
          })
    if (reload !== undefined) yield* Effect.forkScoped(reload.run)
    const providers = yield* options.providers(instruments.register)
    const watch = yield* watching(options, hub, instruments.directory, providers, (feed, symbols) =>
      Effect.suspend(() => collection.resubscribe(feed, symbols))
    )
    const collection: LiveCollection.LiveCollection = yield* LiveCollection.make({
      registry,
      providers,
      hub,
      register: instruments.register,
      // The writer knows sessions of this spool by it.
      instance: `${yield* spool.id}/${options.instance}`,
      defaultSchemas: options.defaultSchemas,
      onLeft: watch?.forget,
      heldUntil: yield* whereEnded(store, spool, writer, options)
    })
    yield* Effect.forkScoped(failing(collection.run, failed))
    if (watch !== undefined) yield* Effect.forkScoped(watch.run)
    const status = Effect.gen(function* () {
      const health = yield* Effect.forEach(providers, (provider) =>
        Effect.map(provider.health, (each) => ({ ...each, id: provider.id }))
      )
      const current: LiveServiceStatus = {
        startedAt,
        feeds: collection.feeds(),
        providers: health,
        spool: yield* spool.depth,
        spoolLimit: options.spool.maxBytes,
        dropped: spooling.dropped(),
        writer: writer.status(),
        publication:
          Option.isNone(publication) || publishing === undefined
            ? undefined
            : {
                ...publishing.status(),
                name: publication.value.name,
                connections: yield* publication.value.connectionCount
              },
        subscribers: hub.subscribers(),
        reload: reload?.status(),
        freshness: watch?.status(),
        lease: Option.getOrUndefined(lease)?.status(),
        storeAway: Option.getOrUndefined(reach)?.problem()
      }
      return current
    })
    const readers = Option.getOrUndefined(publication)?.readers ?? Effect.succeed([])
    return LiveService.of({ status, hub, memory, readers, failure: Deferred.await(failed) })
  })

/** Live rows that wait while recent ones are put back: as many as a kind that has none keeps. Undefined: none wait. */
const holdRowsOf = (
  publication: Publication["Service"],
  reload: Duration.Input | undefined
): number | undefined => {
  const kinds = freshKinds(publication)
  if (reload === undefined || Duration.toMillis(Duration.fromInputUnsafe(reload)) === 0 || kinds.length === 0)
    return undefined
  return Math.min(...kinds.map((kind) => publication.kept?.(kind)?.capacity ?? 0))
}

/** The watch over single symbols, where one is wanted; it remembers beside the spool. */
const watching = Effect.fnUntraced(function* (
  { freshness, spool }: Pick<LiveServiceOptions, "freshness" | "spool">,
  hub: Hub.Hub,
  instruments: InstrumentDirectory,
  providers: ReadonlyArray<Provider>,
  resubscribe: FreshnessWatch.FreshnessWatchOptions["resubscribe"]
) {
  if (freshness === undefined) return undefined
  const path = yield* Path.Path
  const file = path.join(spool.folder, "freshness.bin")
  return yield* FreshnessWatch.attach({ ...freshness, hub, instruments, providers, file, resubscribe })
})

/** How long the start waits until the store has what an earlier process has left in the spool. */
const LeftPatience = "3 seconds"

/**
 * Up to where sessions of other services that are over hold their data: the earliest of each, so that nothing is left out. Nothing
 * is known of it while the store has not got what is left of them. Sessions of this service's own past are not among them: what
 * they have published since their watermark is in the ring, and would come there once more.
 */
const whereEnded = Effect.fnUntraced(function* <E>(
  store: MarketStore["Service"],
  spool: Spool.Spool["Service"],
  writer: LiveWriter.LiveWriter,
  { isOver }: LiveServiceOptions<E>
) {
  if (isOver === undefined) return undefined
  const last = spool.opened.next - 1n
  const isWritten = yield* Effect.sync(() => writer.status()).pipe(
    Effect.repeat({
      until: ({ committed, problem }) => committed >= last || problem !== undefined,
      schedule: Schedule.spaced("10 millis")
    }),
    Effect.map(({ committed }) => committed >= last),
    Effect.timeoutOption(LeftPatience)
  )
  const open = Option.getOrElse(isWritten, () => false) ? yield* openSessions(store) : []
  const over = open.filter(({ session }) => isOver(session))
  return ({ dataset, provider, schema }: LiveCollection.CollectedData) =>
    over
      .filter((one) => one.provider === provider && one.dataset === dataset && one.schema === schema)
      .map(({ watermark }) => watermark)
      .reduce<bigint | undefined>((a, b) => (a === undefined || b < a ? b : a), undefined)
})

const openSessions = (store: MarketStore["Service"]): Effect.Effect<ReadonlyArray<OpenFeedSession>> =>
  Effect.catch(store.openFeedSessions, (error) =>
    Effect.as(
      Effect.logWarning(`where the service before ended is not known: ${error.message}`),
      [] as ReadonlyArray<OpenFeedSession>
    )
  )

/** Runs a part of the service in the background; a failure of it is one of the service. */
const failing = <E extends StoreError | SpoolError>(
  work: Effect.Effect<never, E>,
  failed: Deferred.Deferred<never, StoreError | SpoolError>
): Effect.Effect<void> =>
  Effect.matchCauseEffect(work, {
    onSuccess: () => Effect.void,
    onFailure: (cause) => Effect.asVoid(Deferred.failCause(failed, cause))
  })

/** Writes until the scope ends, and then what came until then, as far as the time allows. */
const writing = Effect.fnUntraced(function* (
  writer: LiveWriter.LiveWriter,
  spool: Spool.Spool["Service"],
  spooling: HubSpool.HubSpool,
  timeout: Duration.Input,
  failed: Deferred.Deferred<never, StoreError | SpoolError>
) {
  yield* Effect.forkScoped(failing(writer.run, failed))
  const drained = Effect.andThen(
    spool.flush,
    Effect.suspend(() => writer.written(spooling.appended()))
  )
  yield* Effect.addFinalizer(() =>
    Effect.gen(function* () {
      // A writer that has failed writes nothing more.
      const isDone = (yield* Deferred.isDone(failed))
        ? Option.none<void>()
        : yield* Effect.timeoutOption(drained, timeout)
      if (Option.isSome(isDone)) return
      const { frames, rows } = yield* spool.depth
      yield* Effect.logWarning(
        `${rows} rows (${frames} entries) stay in the spool: the next start writes them`
      )
    })
  )
})

/** The service as a layer. Provide a `Publication` to publish what is collected. */
export const layer = <E = never>(
  options: LiveServiceOptions<E>
): Layer.Layer<
  LiveService,
  E | StoreError | SpoolError,
  MarketStore | InstrumentRegistry | FileSystem.FileSystem | Path.Path
> => Layer.effect(LiveService, make(options))

/** A client of the service in this process: what it publishes, without a ring. */
export const subscription = (
  options: MemoryTransport.MemoryConnectOptions = {}
): Layer.Layer<Subscription, TransportError, LiveService> =>
  Layer.effect(
    Subscription,
    Effect.flatMap(LiveService, ({ memory }) => memory.connect(options))
  )
