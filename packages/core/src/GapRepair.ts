/**
 * Repairs holes: looks for time that live collection lost, waits until the provider has it as history, fetches it by the
 * backfill engine and closes the hole once coverage says that it is held, or that there is nothing.
 *
 * A hole is fetched no sooner than `delay` after its end: vendors publish history minutes later. What cannot be fetched yet,
 * or fails, is tried again after a pause that grows. What is fetched is counted against what the provider counts before
 * anything is claimed. At a provider that bills a day's repairs stay within a budget.
 */
import {
  Cause,
  Clock,
  Context,
  Duration,
  Effect,
  Layer,
  Option,
  PubSub,
  type Scope,
  Semaphore,
  Stream
} from "effect"
import * as Backfill from "./Backfill.ts"
import type { BackfillPlan } from "./BackfillPlan.ts"
import { collectedBy } from "./CollectedData.ts"
import { DayBudget } from "./DayBudget.ts"
import type * as Decimal from "./Decimal.ts"
import { type GapHole, isSettled, keyOf, merge, scan } from "./GapScan.ts"
import { InstrumentRegistry } from "./InstrumentRegistry.ts"
import { LiveService } from "./LiveService.ts"
import * as MarketSchema from "./MarketSchema.ts"
import { MarketStore } from "./MarketStore.ts"
import type { Provider, Selection } from "./Provider.ts"
import { ProviderBudgetExceeded, ProviderError } from "./ProviderError.ts"
import { ProviderRegistry } from "./ProviderRegistry.ts"
import { Publication, type Repaired } from "./Publication.ts"
import type { StoreError } from "./StoreError.ts"
import * as SymbolText from "./SymbolText.ts"
import * as TimeRange from "./TimeRange.ts"
import * as UnixNanos from "./UnixNanos.ts"

/** How holes are repaired. */
export interface GapRepairOptions extends Backfill.PrepareOptions, Backfill.RunOptions {
  /** How far back holes are looked for; default 7 days. */
  readonly lookBack?: Duration.Input | undefined
  /** Time after the end of a hole before it is asked for; default 15 minutes. */
  readonly delay?: Duration.Input | undefined
  /** Time between two looks; default 1 minute. */
  readonly interval?: Duration.Input | undefined
  /** Pause after a first try that did not close a hole, doubled with each further one; default 1 minute. */
  readonly firstPause?: Duration.Input | undefined
  /** Longest pause between two tries; default 1 hour. */
  readonly longestPause?: Duration.Input | undefined
  /** Most that the repairs of a UTC day may cost at one billed provider. Without it nothing is fetched there. */
  readonly maxCostUsd?: Decimal.Decimal | undefined
  /** Schemas of symbols that name none; default: trades. */
  readonly defaultSchemas?: ReadonlyArray<MarketSchema.MarketSchema> | undefined
}

/** A hole that is known and not closed. */
export interface OpenGap extends GapHole {
  /** When it was found, ns. */
  readonly foundAt: bigint
  /** Tries so far that did not close it. */
  readonly attempts: number
  /** Not tried before, ns. */
  readonly nextAt: bigint
  /** Why the last try did not close it. */
  readonly problem: string | undefined
}

/** What happens to holes. */
export type GapRepairEvent =
  | { readonly _tag: "Gap"; readonly gap: OpenGap }
  | {
      readonly _tag: "Repaired"
      readonly gap: OpenGap
      /** Rows that were new in the store, and such as it had. */
      readonly inserted: number
      readonly duplicates: number
      /** Time from when the hole was found until it was closed, ns. */
      readonly openFor: bigint
      /** "repair": by this service; "other": it was closed when it looked again, by a backfill or an import. */
      readonly by: "repair" | "other"
    }
  | { readonly _tag: "RepairFailed"; readonly gap: OpenGap }

/** How repairing is going. */
export interface GapRepairStatus {
  /** Oldest first. */
  readonly open: ReadonlyArray<OpenGap>
  /** Holes closed since the start, and tries that did not close one. */
  readonly repaired: number
  readonly failed: number
  /** Rows that were new in the store. */
  readonly rows: number
  /** When it last looked, ns; undefined before the first look. */
  readonly lookedAt: bigint | undefined
  /** Why the last look was none. */
  readonly problem: string | undefined
}

/** Repair of holes that runs. */
export class GapRepair extends Context.Service<
  GapRepair,
  {
    readonly status: () => GapRepairStatus
    /** What happens from now on. A subscriber that is slow loses the oldest of 1,024 events. */
    readonly events: Stream.Stream<GapRepairEvent>
    /** Looks now, and repairs what is due; what goes wrong is told by `status` and events. */
    readonly round: Effect.Effect<void>
  }
>()("@data-manager/core/GapRepair") {}

const now = Effect.map(Clock.currentTimeMillis, (millis) => BigInt(Math.floor(millis)) * UnixNanos.PerMilli)

const nanosOf = (input: Duration.Input): bigint =>
  BigInt(Math.round(Duration.toMillis(Duration.fromInputUnsafe(input)))) * UnixNanos.PerMilli

/** Events that wait for a subscriber at most. */
const EventsKept = 1024

/** Instruments that are looked at together: rows that come meanwhile wait for no longer than that takes. */
const Portion = 500

/** Looking takes no larger share of the time than one in so many. */
const LookShare = 20

/** Holes with more symbols than this are told to a publication as one of the whole dataset, where nothing speaks against it. */
const ToldOneByOne = 256

interface Services {
  readonly store: MarketStore["Service"]
  readonly instruments: InstrumentRegistry["Service"]
  readonly providers: ProviderRegistry["Service"]
  /** Who is told: subscribers of the publication, and those in the process of the service. */
  readonly publications: ReadonlyArray<Publication["Service"]>
}

class Repair {
  readonly #options: GapRepairOptions
  readonly #services: Services
  readonly #events: PubSub.PubSub<GapRepairEvent>
  readonly #open = new Map<string, OpenGap>()
  readonly #budget = new DayBudget()
  /** The hole that is being repaired: a look leaves it to that. */
  #busy: string | undefined
  /** Holes that were closed while a look was under way, which may have seen them before. */
  readonly #closedMeanwhile = new Set<string>()
  #repaired = 0
  #failed = 0
  #rows = 0
  #lookedAt: bigint | undefined
  #problem: string | undefined

  constructor(options: GapRepairOptions, services: Services, events: PubSub.PubSub<GapRepairEvent>) {
    this.#options = options
    this.#services = services
    this.#events = events
  }

  readonly status = (): GapRepairStatus => ({
    open: [...this.#open.values()].sort((a, b) => (a.range.start < b.range.start ? -1 : 1)),
    repaired: this.#repaired,
    failed: this.#failed,
    rows: this.#rows,
    lookedAt: this.#lookedAt,
    problem: this.#problem
  })

  /** One look. One that fails says so once. */
  readonly look: Effect.Effect<void> = Effect.suspend(() =>
    Effect.map(this.#look, () => {
      this.#problem = undefined
    }).pipe(
      Effect.catch((error) => {
        const isNew = this.#problem !== error.message
        this.#problem = error.message
        return isNew ? Effect.logWarning(`gap repair cannot look for holes: ${error.message}`) : Effect.void
      })
    )
  )

  /** Repairs what is due, the oldest first. */
  readonly repairs: Effect.Effect<void> = Effect.suspend(() =>
    Effect.gen({ self: this }, function* () {
      const at = yield* now
      for (const gap of this.status().open) {
        if (gap.nextAt > at) continue
        this.#busy = keyOf(gap)
        yield* Effect.ensuring(
          this.#repair(gap),
          Effect.sync(() => {
            this.#busy = undefined
          })
        )
      }
    })
  )

  /** Finds holes; what was known and is there no more was closed by somebody else. */
  get #look(): Effect.Effect<void, StoreError> {
    return Effect.gen({ self: this }, function* () {
      const { lookBack = "7 days" } = this.#options
      const at = yield* now
      this.#closedMeanwhile.clear()
      // Whole days, so that a hole which the window cuts is the same one at the next look.
      const within = { start: UnixNanos.startOfDay(at - nanosOf(lookBack)), end: at }
      const found = yield* this.#find(within, at)
      this.#lookedAt = at
      const keys = new Set(found.map(keyOf))
      for (const [key, gap] of this.#open)
        if (!keys.has(key) && key !== this.#busy) yield* this.#vanished(gap, found, within)
      for (const hole of found) yield* this.#found(hole, at)
    })
  }

  readonly #find = Effect.fnUntraced(
    { self: this },
    function* (this: Repair, within: TimeRange.TimeRange, at: bigint) {
      const { instruments: registry, store } = this.#services
      const wanted = collectedBy(
        yield* registry.entries({ enabled: true }),
        this.#options.defaultSchemas ?? ["trades"]
      )
      if (wanted.datasets.size === 0) return []
      const { instruments } = yield* store.loadInstruments([...wanted.datasets])
      const collected = [...instruments.values()].filter(wanted.isNamed).map(({ id }) => id)
      if (collected.length === 0) return []
      const parts: Array<ReadonlyArray<GapHole>> = []
      for (const schema of wanted.schemas)
        for (let from = 0; from < collected.length; from += Portion) {
          const portion = collected.slice(from, from + Portion)
          const spans = yield* store.coverage({ instruments: portion, schema, range: within })
          parts.push(scan({ instruments, spans, isCollected: wanted.isCollected, within, now: at }))
        }
      return merge(parts)
    }
  )

  /** A hole that is there no more, as it was: a part of it may be, as another one. */
  #vanished(
    gap: OpenGap,
    found: ReadonlyArray<GapHole>,
    { end, start }: TimeRange.TimeRange
  ): Effect.Effect<void> {
    this.#open.delete(keyOf(gap))
    const isChanged = found.some((one) => isOfSameFeed(one, gap) && TimeRange.overlaps(one.range, gap.range))
    return gap.range.start < start || isChanged
      ? Effect.void
      : this.#closed(gap, { inserted: 0, duplicates: 0 }, "other", end)
  }

  #found(hole: GapHole, at: bigint): Effect.Effect<void> {
    const key = keyOf(hole)
    const known = this.#open.get(key)
    if (this.#closedMeanwhile.has(key)) return Effect.void
    if (known !== undefined) {
      this.#open.set(key, { ...known, ...hole })
      return Effect.void
    }
    const nextAt = hole.range.end + nanosOf(this.#options.delay ?? "15 minutes")
    const gap: OpenGap = { ...hole, foundAt: at, attempts: 0, nextAt, problem: undefined }
    this.#open.set(key, gap)
    return Effect.andThen(
      Effect.logWarning(`gap: ${describe(gap)}: ${gap.cause}; it is repaired when the provider has it`),
      this.#tell({ _tag: "Gap", gap })
    )
  }

  #tell(event: GapRepairEvent): Effect.Effect<void> {
    return Effect.asVoid(PubSub.publish(this.#events, event))
  }

  /** Tries to close a hole; what goes wrong is its problem until the next try. */
  #repair(gap: OpenGap): Effect.Effect<void> {
    return Effect.gen({ self: this }, function* () {
      const filled = yield* this.#fill(gap)
      const at = yield* now
      const spans = yield* this.#services.store.coverage({
        instruments: gap.instruments,
        schema: gap.schema,
        range: gap.range
      })
      if (!isSettled(gap, spans, at))
        return yield* this.#postpone(gap, filled.problem ?? "the provider did not vouch for all of it")
      this.#open.delete(keyOf(gap))
      this.#closedMeanwhile.add(keyOf(gap))
      yield* this.#closed(gap, filled, "repair", at)
    }).pipe(Effect.catch((error) => this.#postpone(gap, error.message)))
  }

  #postpone(gap: OpenGap, problem: string): Effect.Effect<void> {
    return Effect.gen({ self: this }, function* () {
      const { firstPause = "1 minute", longestPause = "1 hour" } = this.#options
      const pause = nanosOf(firstPause) * 2n ** BigInt(Math.min(gap.attempts, 30))
      const longest = nanosOf(longestPause)
      const later: OpenGap = {
        ...gap,
        problem,
        attempts: gap.attempts + 1,
        nextAt: (yield* now) + (pause < longest ? pause : longest)
      }
      this.#open.set(keyOf(gap), later)
      this.#failed += 1
      if (problem !== gap.problem) yield* Effect.logWarning(`gap: ${describe(gap)} stays open: ${problem}`)
      yield* this.#tell({ _tag: "RepairFailed", gap: later })
    })
  }

  /** Fetches what the hole lacks; nothing, where all of it is there or settled. */
  readonly #fill = Effect.fnUntraced({ self: this }, function* (this: Repair, gap: OpenGap) {
    const { providers, store } = this.#services
    const provider = providers.all.find(({ id }) => id === gap.provider)
    if (provider === undefined || !provider.capabilities.history.includes(gap.schema))
      return yield* unavailable(gap, `${gap.provider} has no history of ${gap.schema} here`)
    const request = selectionOf(gap)
    const available = yield* provider.availableRange(request)
    if (available.end < gap.range.end)
      return yield* unavailable(
        gap,
        `the provider's history ends at ${UnixNanos.toIso(available.end)} so far`
      )
    const context = Effect.provideService(MarketStore, store)
    const plan = yield* context(Backfill.prepare(provider, { ...request, range: gap.range }, this.#options))
    yield* this.#afford(provider, plan)
    let [inserted, duplicates] = [0, 0]
    let problem: string | undefined
    const options = { ...this.#options, verify: true }
    yield* context(
      Stream.runForEach(Backfill.run(provider, plan, options), (event) =>
        Effect.sync(() => {
          if (event._tag === "ChunkFailed") problem ??= event.error.message
          if (event._tag !== "ChunkDone") return
          inserted += event.summary.inserted
          duplicates += event.summary.duplicates
        })
      )
    )
    this.#rows += inserted
    return { inserted, duplicates, problem }
  })

  /** Refuses what is beyond the day's budget, and takes note of what is not. */
  readonly #afford = Effect.fnUntraced(
    { self: this },
    function* (this: Repair, provider: Provider, plan: BackfillPlan) {
      if (!provider.capabilities.billed || plan.chunks.length === 0) return
      const { maxCostUsd } = this.#options
      if (maxCostUsd === undefined)
        return yield* new ProviderError({
          provider: provider.id,
          operation: "gap repair",
          reason: new ProviderBudgetExceeded({
            detail: "this provider bills, and no budget is set; set [gap_repair] max_cost_usd"
          })
        })
      const left = this.#budget.left(provider.id, maxCostUsd, yield* now)
      const estimate = Backfill.sumEstimates(yield* Backfill.estimatePlans(provider, [plan], left))
      yield* Backfill.checkBudget(provider, estimate, left)
      if (estimate.costUsd !== undefined) this.#budget.spend(provider.id, estimate.costUsd)
    }
  )

  #closed(
    gap: OpenGap,
    { duplicates, inserted }: { readonly inserted: number; readonly duplicates: number },
    by: "repair" | "other",
    at: bigint
  ): Effect.Effect<void> {
    this.#repaired += 1
    const openFor = at - gap.foundAt
    const how = by === "repair" ? `repaired, ${inserted} new rows` : "closed by others"
    return Effect.logInfo(`gap: ${describe(gap)}: ${how}`).pipe(
      Effect.andThen(this.#tell({ _tag: "Repaired", gap, inserted, duplicates, openFor, by })),
      Effect.andThen(this.#publish(gap, inserted))
    )
  }

  /** Tells subscribers. */
  #publish(gap: OpenGap, rows: number): Effect.Effect<void> {
    const { dataset, range, schema, symbols } = gap
    const others = [...this.#open.values()].some(
      (one) => isOfSameFeed(one, gap) && TimeRange.overlaps(one.range, range)
    )
    const repaired: Repaired = {
      _tag: "Repaired",
      dataset,
      schema,
      symbols: symbols.length > ToldOneByOne && !others ? undefined : symbols,
      range,
      rows: BigInt(rows)
    }
    return Effect.forEach(
      this.#services.publications.filter(({ kinds }) => kinds.includes(MarketSchema.kind(gap.schema))),
      (publication) =>
        Effect.catch(publication.publishRepaired?.(repaired) ?? Effect.void, (error) =>
          Effect.logWarning(`gap: subscribers are not told of a repair: ${error.message}`)
        ),
      { discard: true }
    )
  }
}

const isOfSameFeed = (a: GapHole, b: GapHole): boolean =>
  a.provider === b.provider && a.dataset === b.dataset && a.schema === b.schema

const selectionOf = ({ dataset, schema, symbols }: GapHole): Selection => ({
  dataset,
  schema,
  symbols,
  stypeIn: "raw_symbol"
})

const unavailable = ({ dataset, provider }: GapHole, problem: string) =>
  Effect.fail({ _tag: "NotYet" as const, message: `${provider} ${dataset}: ${problem}` })

/** One line about a hole, for people. */
export const describe = ({ dataset, range, schema, symbols }: GapHole): string => {
  const first = SymbolText.make(dataset, symbols[0] ?? "")
  const more = symbols.length > 1 ? ` and ${symbols.length - 1} more` : ""
  return `${first}${more} ${schema} ${TimeRange.format(range)}`
}

/** Does something again and again, with pauses that leave most of the time to others. */
const spaced = (work: Effect.Effect<void>, interval: Duration.Input): Effect.Effect<never> =>
  Effect.gen(function* () {
    const shortest = Duration.toMillis(Duration.fromInputUnsafe(interval))
    let took = 0
    while (true) {
      yield* Effect.sleep(Math.max(shortest, LookShare * took))
      const began = yield* Clock.currentTimeMillis
      yield* work
      took = (yield* Clock.currentTimeMillis) - began
    }
  })

/** Repair of holes until the scope ends. It never fails: what goes wrong is told, and tried again. */
export const make = (
  options: GapRepairOptions = {}
): Effect.Effect<
  GapRepair["Service"],
  never,
  MarketStore | InstrumentRegistry | ProviderRegistry | Scope.Scope
> =>
  Effect.gen(function* () {
    const events = yield* PubSub.sliding<GapRepairEvent>(EventsKept)
    const repair = new Repair(
      options,
      {
        store: yield* MarketStore,
        instruments: yield* InstrumentRegistry,
        providers: yield* ProviderRegistry,
        publications: [
          ...Option.toArray(yield* Effect.serviceOption(Publication)),
          ...Option.toArray(yield* Effect.serviceOption(LiveService)).map(({ memory }) => memory.publication)
        ]
      },
      events
    )
    const guarded = (turn: Semaphore.Semaphore, work: Effect.Effect<void>): Effect.Effect<void> =>
      turn.withPermits(1)(
        Effect.catchCause(work, (cause) =>
          Cause.hasInterruptsOnly(cause)
            ? Effect.failCause(cause)
            : Effect.logError("gap repair failed and goes on", cause)
        )
      )
    const look = guarded(yield* Semaphore.make(1), repair.look)
    const repairs = guarded(yield* Semaphore.make(1), repair.repairs)
    // A repair may take long: looking goes on meanwhile.
    const { interval = "1 minute" } = options
    yield* Effect.forkScoped(spaced(look, interval))
    yield* Effect.forkScoped(Effect.forever(Effect.andThen(Effect.sleep(interval), repairs)))
    const round = Effect.andThen(look, repairs)
    return GapRepair.of({ status: repair.status, events: Stream.fromPubSub(events), round })
  })

/** Repair of holes as a layer. Provide a `Publication`, and a `LiveService`, to tell their subscribers of repairs. */
export const layer = (
  options: GapRepairOptions = {}
): Layer.Layer<GapRepair, never, MarketStore | InstrumentRegistry | ProviderRegistry> =>
  Layer.effect(GapRepair, make(options))
