/**
 * The state of one live stream until it is interrupted: sessions one after another, with what was given remembered between
 * them, so that the reader sees every row once, in whole groups, and every hole as a `Gap`.
 *
 *     LiveSession -> LiveIntake (records to events) -> EventQueue -> reader
 *          ^             |
 *          |             +-- mappings -> register
 *          +-- ResumePlan: from where to ask again
 */
import {
  type Gap,
  MarketSchema,
  type ProviderError,
  type ProviderEvent,
  type ProviderHealth,
  type RegisterListings,
  type StoreError,
  UnixNanos
} from "@data-manager/core"
import { type Clock, Duration, Effect, Exit, Latch, Queue, Random, Redacted, type Scope } from "effect"
import { withoutKey } from "../ApiKey.ts"
import type { DbnMetadata } from "../dbn/DbnMetadata.ts"
import { UNDEF_TIMESTAMP } from "../dbn/Sentinel.ts"
import { ErrorCode } from "../GatewayCode.ts"
import { backoffMillis } from "./Backoff.ts"
import { ByteBudget, EventQueue } from "./EventQueue.ts"
import type { GatewayNotice } from "./GatewayNotice.ts"
import type { GatewayAddress } from "./GatewaySocket.ts"
import { LiveIntake } from "./LiveIntake.ts"
import { DEFAULT_BATCH_ROWS, DEFAULT_QUEUE_BYTES, type LiveOptions, sessionRequest } from "./LiveOptions.ts"
import {
  GATEWAY_PORT,
  gatewayHost,
  type LiveSubscription,
  type SessionRequest,
  subscriptionProblem
} from "./LiveRequest.ts"
import { LiveSession, type SessionSubscription } from "./LiveSession.ts"
import { ResumePlan } from "./ResumePlan.ts"
import { badLiveRequest, describeEnd, liveError, type SessionEnd, verdictOf } from "./SessionEnd.ts"
import { SubscriptionSet } from "./SubscriptionSet.ts"

/** A session that lasted as long has proved that the way is good: the next wait is short again. */
const LASTING_MILLIS = 30_000
/** A warning of slow reading shows in health for as long. */
const WARNING_MILLIS = 60_000

/** Health of a stream, with what is special to it. */
export interface LiveHealth extends ProviderHealth {
  /** The socket is not read, because the reader of the stream is behind. */
  readonly paused: boolean
  /** Memory of events not yet read. */
  readonly queuedBytes: number
  /** The gateway's id of the session, where there is one. */
  readonly sessionId: string | undefined
  /** The gateway's latest complaints about symbols that mean nothing at the moment. */
  readonly unresolved: ReadonlyArray<string>
  /** Times the gateway said that we read too slowly. */
  readonly slowReaderWarnings: number
  /** Requests sent and not yet acknowledged, in this session. */
  readonly unacknowledged: number
  /** Records that gave no row since the stream was opened, by cause: types without a table, fields that lack. */
  readonly notStored: ReadonlyMap<string, number>
}

/** One stream. */
export class LiveClient {
  readonly queue: EventQueue<ProviderEvent, ProviderError | StoreError>
  readonly #subscriptions = new SubscriptionSet()
  readonly #options: LiveOptions
  readonly #request: SessionRequest
  readonly #key: string
  readonly #clock: Clock.Clock
  readonly #address: GatewayAddress
  readonly #budget: ByteBudget
  readonly #mbp1Schema: "mbp-1" | "tbbo"
  readonly #intake: LiveIntake
  readonly #plan: ResumePlan
  readonly #claims = Latch.makeUnsafe(false)
  readonly #log = Effect.runSync(Queue.unbounded<Effect.Effect<void>>())
  readonly #unacknowledged = new Set<number>()
  /** Requests made in the running session, whose symbols begin with their acknowledgement. */
  readonly #added = new Map<number, MarketSchema.MarketSchema>()
  #session: LiveSession | undefined
  #lastId = 0
  #sessions = 0
  /** Why there is no session; why registering fails. */
  #trouble: string | undefined
  #storeTrouble: string | undefined
  #unresolved: Array<string> = []
  #slowWarnings = 0
  #slowWarnedAt = Number.NEGATIVE_INFINITY
  #lastDataAt: bigint | undefined
  /** When the stream began, and whether it had to wait for its first session. */
  #openedAt = 0n
  #waited = false

  /** `options` have passed their checks. */
  constructor(options: LiveOptions, clock: Clock.Clock) {
    this.#options = options
    this.#request = sessionRequest(options)
    this.#key = Redacted.value(options.apiKey)
    this.#clock = clock
    this.#address = {
      host: options.address?.host ?? gatewayHost(options.dataset),
      port: options.address?.port ?? GATEWAY_PORT,
      lookup: options.address?.lookup
    }
    this.#budget = new ByteBudget(options.queueBytes ?? DEFAULT_QUEUE_BYTES)
    this.#budget.onRoom = () => this.#session?.resume()
    this.queue = new EventQueue(this.#budget)
    this.#mbp1Schema = options.subscriptions.some(({ schema }) => schema === "tbbo") ? "tbbo" : "mbp-1"
    this.#intake = new LiveIntake({
      dataset: options.dataset,
      mbp1Schema: this.#mbp1Schema,
      batchRows: options.batchRows ?? DEFAULT_BATCH_ROWS,
      budget: this.#budget,
      publish: (event, bytes) => this.#publish(event, bytes),
      onNotice: (notice) => this.#notice(notice),
      onClaims: () => this.#claims.openUnsafe()
    })
    const overlap = BigInt(Duration.toMillis(options.overlap ?? "5 minutes")) * UnixNanos.PerMilli
    this.#plan = new ResumePlan(this.#intake.seen, options.from, overlap, options.resume ?? true)
  }

  /** Sessions, registrations and log lines until interrupted or beyond help. */
  get run(): Effect.Effect<void> {
    return Effect.raceAllFirst([this.#supervise, this.#registering, this.#logging]).pipe(
      Effect.catchCause((cause) => Effect.sync(() => this.queue.end(Exit.failCause(cause)))),
      Effect.annotateLogs({ provider: "databento", dataset: this.#options.dataset })
    )
  }

  #checked(subscription: LiveSubscription): Effect.Effect<void, ProviderError> {
    const problem =
      subscriptionProblem(subscription) ??
      this.#subscriptions.problem(subscription) ??
      this.#tbboProblem(subscription)
    return problem === undefined ? Effect.void : badLiveRequest(this.#options.dataset, problem)
  }

  /** Records of mbp-1 and tbbo look alike: which of them a stream has is settled when it is opened. */
  #tbboProblem({ schema }: LiveSubscription): string | undefined {
    return schema === "tbbo" && this.#mbp1Schema !== "tbbo"
      ? "tbbo cannot be added to a stream that began without it: open another one"
      : undefined
  }

  readonly subscribe = Effect.fnUntraced(
    { self: this },
    function* (this: LiveClient, subscription: LiveSubscription) {
      yield* this.#checked(subscription)
      const missing = this.#subscriptions.add(subscription)
      this.#mute()
      const session = this.#session
      if (missing.length === 0 || session?.acceptsSubscriptions !== true) return
      const id = this.#nextId()
      this.#added.set(id, subscription.schema)
      this.#intake.awaitsAcknowledgement = true
      yield* session.subscribe({ ...subscription, symbols: missing }, id)
    }
  )

  readonly unsubscribe = Effect.fnUntraced(
    { self: this },
    function* (this: LiveClient, subscription: LiveSubscription) {
      yield* this.#checked(subscription)
      this.#subscriptions.remove(subscription)
      this.#mute()
    }
  )

  readonly health: Effect.Effect<LiveHealth> = Effect.sync(() => {
    const session = this.#session
    const { lastEvent } = this.#intake
    return {
      state: this.#state(),
      lastDataAt: this.#lastDataAt,
      lag:
        this.#lastDataAt === undefined || lastEvent === undefined ? undefined : this.#lastDataAt - lastEvent,
      reconnects: Math.max(0, this.#sessions - 1),
      detail: this.#detail(),
      paused: session?.isPaused ?? false,
      queuedBytes: this.#budget.used,
      sessionId: session?.sessionId,
      unresolved: this.#unresolved,
      slowReaderWarnings: this.#slowWarnings,
      unacknowledged: this.#unacknowledged.size,
      notStored: this.#intake.notStored
    }
  })

  #state(): ProviderHealth["state"] {
    if (this.#session?.isStreaming !== true) return this.#trouble === undefined ? "idle" : "down"
    const isWarned = this.#now() - this.#slowWarnedAt < WARNING_MILLIS
    return this.#session.isPaused || isWarned || this.#storeTrouble !== undefined ? "degraded" : "healthy"
  }

  #detail(): string {
    if (this.#session?.isStreaming !== true) return this.#trouble ?? "connecting"
    if (this.#storeTrouble !== undefined) return `instruments cannot be registered: ${this.#storeTrouble}`
    if (this.#session.isPaused) return "the reader of the stream is behind: the socket is not read"
    return this.#plan.catchingUp.length > 0 ? `replaying ${this.#plan.catchingUp.join(", ")}` : "streaming"
  }

  #now(): number {
    return this.#clock.currentTimeMillisUnsafe()
  }

  #nowNanos(): bigint {
    return BigInt(this.#now()) * UnixNanos.PerMilli
  }

  #nextId(): number {
    this.#lastId += 1
    this.#unacknowledged.add(this.#lastId)
    return this.#lastId
  }

  #publish(event: ProviderEvent, bytes: number): void {
    if (event._tag === "Batch") this.#lastDataAt = this.#nowNanos()
    this.queue.offer(event, bytes)
  }

  #say(line: Effect.Effect<void>): void {
    Queue.offerUnsafe(this.#log, line)
  }

  readonly #logging = Effect.suspend(() => Effect.forever(Effect.flatten(Queue.take(this.#log))))

  /** One session after another. */
  readonly #supervise = Effect.suspend(() =>
    Effect.gen({ self: this }, function* () {
      this.#openedAt = this.#nowNanos()
      for (let attempt = 1; ; attempt++) {
        const began = this.#now()
        const end = yield* Effect.scoped(this.#runSession())
        if (this.#now() - began >= LASTING_MILLIS) attempt = 1
        if (end._tag === "Fatal" && end.code === ErrorCode.replayAgedOut) this.#plan.agedOut()
        const verdict = verdictOf(end, attempt, this.#sessions > 0)
        if (verdict._tag === "GiveUp") return yield* liveError(this.#options.dataset, verdict.reason)
        const wait = backoffMillis(attempt - 1, verdict.pace, yield* Random.next)
        this.#trouble = `${describeEnd(end)}; connecting again in ${(wait / 1000).toFixed(1)} s`
        this.#waited = true
        yield* Effect.logWarning(`live: ${this.#trouble}`)
        yield* Effect.sleep(wait)
      }
    })
  )

  #runSession(): Effect.Effect<SessionEnd, never, Scope.Scope> {
    return Effect.suspend(() => {
      const session = new LiveSession({
        address: this.#address,
        request: this.#request,
        key: this.#key,
        subscriptions: () => this.#requests(),
        intake: this.#intake,
        budget: this.#budget,
        onStarted: (metadata) => this.#started(metadata)
      })
      this.#session = session
      return session.run
    })
  }

  /** What the session asks for; further subscriptions are sent by themselves. */
  #requests(): ReadonlyArray<SessionSubscription> {
    this.#unacknowledged.clear()
    this.#added.clear()
    this.#intake.awaitsAcknowledgement = false
    this.#lastId = 0
    this.#subscriptions.restart()
    const now = this.#nowNanos()
    const starts = new Map(
      this.#subscriptions.schemas.map((schema) => [schema, this.#plan.plan(schema, now).start])
    )
    return this.#subscriptions.all.map((subscription) => ({
      subscription,
      id: this.#nextId(),
      start: starts.get(subscription.schema)
    }))
  }

  /** The header of a session: from here on rows come. */
  #started(metadata: DbnMetadata): void {
    this.#sessions += 1
    this.#trouble = undefined
    this.#unresolved = []
    const { filter } = this.#intake
    const hasStart = metadata.start !== UNDEF_TIMESTAMP && metadata.start > 0n
    const at = hasStart ? metadata.start : this.#nowNanos()
    const schemas = this.#subscriptions.schemas
    const replayed = new Map<number, bigint>()
    const begun = new Map<bigint, Set<number>>()
    for (const schema of schemas) {
      const { from, hole } = this.#plan.started(schema, at)
      if (hole !== undefined) this.#gap(schema, hole.start, hole.end, hole.cause)
      else if (this.#sessions === 1 && this.#waited && this.#options.from === undefined)
        // The stream was asked for before it could begin.
        this.#gap(schema, this.#openedAt, from, "disconnect")
      const code = MarketSchema.code(schema)
      if (this.#plan.catchingUp.includes(schema)) replayed.set(code, from)
      else begun.set(from, (begun.get(from) ?? new Set()).add(code))
    }
    filter.restart(replayed)
    for (const [from, codes] of begun) filter.begin(from, codes, false)
    this.#mute()
    this.#say(Effect.logInfo(`live: session ${this.#session?.sessionId ?? "without id"} started`))
  }

  #gap(schema: MarketSchema.MarketSchema, start: bigint, end: bigint, cause: Gap["cause"]): void {
    if (start >= end) return
    const range = { start, end }
    this.#intake.gap({ _tag: "Gap", dataset: this.#options.dataset, schema, range, cause })
    this.#say(
      Effect.logWarning(
        `live: ${schema} is missing ${UnixNanos.toIso(start)} .. ${UnixNanos.toIso(end)} (${cause})`
      )
    )
  }

  #notice(notice: GatewayNotice): void {
    switch (notice._tag) {
      case "Heartbeat":
      case "EndOfInterval":
        return
      case "Acknowledged":
        this.#acknowledged(notice.id, notice.at)
        return
      case "ReplayCompleted":
        this.#replayCompleted(notice.schema)
        return
      case "SlowReader":
        this.#slowReader(notice.text)
        return
      case "Unresolved":
        this.#unresolved = [...this.#unresolved.slice(-99), this.#clean(notice.text)]
        break
      case "Skipped":
        for (const schema of this.#subscriptions.skippable) {
          const hole = this.#plan.skipped(schema, notice.at)
          if (hole !== undefined) this.#gap(schema, hole.start, hole.end, hole.cause)
        }
        break
      case "Fatal":
        this.#session?.finish({ _tag: "Fatal", code: notice.code, detail: this.#clean(notice.text) })
        break
      case "Other":
        break
    }
    this.#say(Effect.logWarning(`live: the gateway says: ${this.#clean(notice.text)}`))
  }

  #clean(text: string): string {
    return withoutKey(text, this.#key)
  }

  #acknowledged(id: number | undefined, at: bigint): void {
    // Acknowledgements come in the order of the requests, should one not tell its number.
    const [oldest] = this.#unacknowledged
    const acknowledged = id ?? oldest
    if (acknowledged === undefined) return
    this.#unacknowledged.delete(acknowledged)
    const schema = this.#added.get(acknowledged)
    if (schema === undefined) return
    this.#added.delete(acknowledged)
    this.#intake.awaitsAcknowledgement = this.#added.size > 0
    this.#plan.added(schema, at)
    this.#intake.filter.begin(at, new Set([MarketSchema.code(schema)]), true)
  }

  #replayCompleted(named: MarketSchema.MarketSchema | undefined): void {
    const open = this.#plan.catchingUp
    const schema = named ?? (open.length === 1 ? open[0] : undefined)
    if (schema === undefined || !open.includes(schema)) return
    const lines = this.#subscriptions.linesOf(schema)
    this.#plan.caughtUp(schema, this.#nowNanos(), lines)
    // Of several lines others may still be replayed; their rows tell by themselves where they go on.
    if (lines === 1) this.#intake.filter.finishReplay(MarketSchema.code(schema))
  }

  #slowReader(text: string): void {
    const now = this.#now()
    this.#slowWarnings += 1
    if (now - this.#slowWarnedAt >= WARNING_MILLIS)
      this.#say(Effect.logWarning(`live: the gateway says that we read too slowly: ${this.#clean(text)}`))
    this.#slowWarnedAt = now
  }

  #mute(): void {
    this.#intake.filter.mute(this.#subscriptions.muted((symbol) => this.#intake.idsOf(symbol)))
  }

  /** Registers what events wait for. A store that is away for a while makes them wait, not fail. */
  readonly #registering = Effect.suspend(() =>
    Effect.gen({ self: this }, function* () {
      for (;;) {
        yield* this.#claims.await
        yield* this.#claims.close
        const claims = this.#intake.claimsToRegister()
        if (claims === undefined) continue
        const instruments = yield* this.#register(claims)
        this.#intake.registered(claims, instruments)
        if (this.#subscriptions.hasRemoved) this.#mute()
      }
    })
  )

  #register(claims: Parameters<RegisterListings>[0], failures = 0): ReturnType<RegisterListings> {
    return this.#options.register(claims).pipe(
      Effect.tap(() =>
        Effect.sync(() => {
          this.#storeTrouble = undefined
        })
      ),
      Effect.catch((error) => {
        if (!error.isRetryable) return Effect.fail(error)
        this.#storeTrouble = error.message
        const wait = Effect.flatMap(Random.next, (random) =>
          Effect.sleep(backoffMillis(failures, "usual", random))
        )
        const line = Effect.logWarning(
          `live: instruments cannot be registered, trying again: ${error.message}`
        )
        return Effect.andThen(
          Effect.andThen(line, wait),
          Effect.suspend(() => this.#register(claims, failures + 1))
        )
      })
    )
  }
}
