/**
 * From where each schema of a stream goes on, and which times are missing for good. Bookkeeping alone: no socket, no clock
 * of its own.
 *
 * The vendor's recipe: subscribe again from the lowest of the instruments' newest times and leave out what was given
 * (`ReplayFilter`). Two bounds keep it practical. Records are sent in the order of sending, not of event time, so the replay
 * begins at least `REORDER` before the newest row. And an instrument that last traded hours ago would bring back hours of
 * all others: it does not reach back further than `overlap`.
 */
import { type GapCause, MarketSchema, UnixNanos } from "@data-manager/core"
import type { SeenRows } from "./SeenRows.ts"

/** Rows may come this much after others of the same event time. */
const REORDER = 10n * UnixNanos.PerSecond
/** After the first word of a replay's completion, all of it has come. */
const SURELY_COMPLETE = 600n * UnixNanos.PerSecond
/** How far back the gateway replays, less a minute for the way there. */
export const REPLAY_WINDOW = 86_400n * UnixNanos.PerSecond - 60n * UnixNanos.PerSecond

/** How a schema is asked for in the next session. */
export interface SchemaPlan {
  /** Replay from there; undefined: what comes from now on. */
  readonly start: bigint | undefined
  /** First moment of what this session cannot bring back, and why. */
  readonly lostFrom: bigint | undefined
  readonly cause: GapCause
}

/** Time that is missing for good. */
export interface Hole {
  readonly start: bigint
  readonly end: bigint
  readonly cause: GapCause
}

/** What a stream knows of one schema. */
interface SchemaState {
  /** Everything from there on was given or reported as missing. */
  from: bigint | undefined
  /** Where the replay under way began; undefined once it is complete. */
  replaying: bigint | undefined
  /** Words of its completion in this session, and when the first one came. */
  completions: number
  completedAt: bigint | undefined
  /** The gateway cannot replay what this schema lacks. */
  isAgedOut: boolean
  plan: SchemaPlan | undefined
}

/** What to ask for, per schema. */
export class ResumePlan {
  readonly #seen: SeenRows
  /** Start that the user asked for. */
  readonly #asked: bigint | undefined
  readonly #overlap: bigint
  readonly #resumes: boolean
  readonly #states = new Map<MarketSchema.MarketSchema, SchemaState>()

  /** `overlap`: nanoseconds that instruments without recent rows reach back. */
  constructor(seen: SeenRows, asked: bigint | undefined, overlap: bigint, resumes: boolean) {
    this.#seen = seen
    this.#asked = asked === undefined ? undefined : floorMicro(asked)
    this.#overlap = overlap
    this.#resumes = resumes
  }

  /** How the schema is asked for in a session that begins at `now`. */
  plan(schema: MarketSchema.MarketSchema, now: bigint): SchemaPlan {
    const state = this.#state(schema)
    if (state.completedAt !== undefined && now - state.completedAt >= SURELY_COMPLETE)
      state.replaying = undefined
    state.plan = this.#planOf(schema, state, floorMicro(now) - REPLAY_WINDOW)
    return state.plan
  }

  /** The session begins, at `at` by the gateway's clock: its rows are whole from `from` on, after the hole. */
  started(
    schema: MarketSchema.MarketSchema,
    at: bigint
  ): { readonly from: bigint; readonly hole: Hole | undefined } {
    const state = this.#state(schema)
    const { start, lostFrom, cause } = state.plan ?? nothingKnown
    const from = start ?? UnixNanos.ceilMicros(at) * UnixNanos.PerMicro
    state.replaying = start
    state.completions = 0
    state.completedAt = undefined
    state.from ??= from
    if (start === undefined) state.isAgedOut = false
    const hole = lostFrom !== undefined && lostFrom < from ? { start: lostFrom, end: from, cause } : undefined
    return { from, hole }
  }

  /** A schema that was subscribed in a running session is whole from then on. */
  added(schema: MarketSchema.MarketSchema, at: bigint): void {
    this.#state(schema).from ??= UnixNanos.ceilMicros(at) * UnixNanos.PerMicro
  }

  /**
   * The gateway says at `now` that a replay of the schema is complete. Whether it says so per request, per line or per
   * schema is not documented: all is done after as many words as lines were sent, or a while after the first one.
   */
  caughtUp(schema: MarketSchema.MarketSchema, now: bigint, lines: number): void {
    const state = this.#state(schema)
    state.completions += 1
    state.completedAt ??= now
    if (state.completions >= lines) state.replaying = undefined
  }

  /** Schemas whose replay is under way. */
  get catchingUp(): ReadonlyArray<MarketSchema.MarketSchema> {
    return [...this.#states].filter(([, state]) => state.replaying !== undefined).map(([schema]) => schema)
  }

  /** The gateway no longer has what is being replayed. */
  agedOut(): void {
    for (const state of this.#states.values()) if (state.replaying !== undefined) state.isAgedOut = true
  }

  /** What a schema lost between its newest row and `at`. */
  skipped(schema: MarketSchema.MarketSchema, at: bigint): Hole | undefined {
    const lostFrom = this.#lostFrom(schema, this.#state(schema))
    const end = UnixNanos.ceilMicros(at) * UnixNanos.PerMicro
    return lostFrom === undefined || lostFrom >= end
      ? undefined
      : { start: lostFrom, end, cause: "slow-reader" }
  }

  #state(schema: MarketSchema.MarketSchema): SchemaState {
    const known = this.#states.get(schema)
    if (known !== undefined) return known
    const state: SchemaState = {
      from: undefined,
      replaying: undefined,
      completions: 0,
      completedAt: undefined,
      isAgedOut: false,
      plan: undefined
    }
    this.#states.set(schema, state)
    return state
  }

  #planOf(schema: MarketSchema.MarketSchema, state: SchemaState, earliest: bigint): SchemaPlan {
    if (state.from === undefined) {
      if (this.#asked === undefined) return nothingKnown
      const start = max(this.#asked, earliest)
      return { start, lostFrom: start > this.#asked ? this.#asked : undefined, cause: "provider" }
    }
    const lostFrom = this.#lostFrom(schema, state)
    if (state.isAgedOut) return { start: undefined, lostFrom, cause: "provider" }
    if (!this.#resumes) return { start: undefined, lostFrom, cause: "disconnect" }
    const wanted = this.#wantedStart(schema, state.from, state.replaying)
    const start = max(wanted, earliest)
    const isCovered = lostFrom === undefined || lostFrom >= start
    return { start, lostFrom: isCovered ? undefined : lostFrom, cause: "disconnect" }
  }

  #wantedStart(schema: MarketSchema.MarketSchema, from: bigint, replaying: bigint | undefined): bigint {
    const times = this.#seen.timesOf(MarketSchema.code(schema))
    if (times === undefined) return replaying ?? from
    const within = max(times.lowest, times.newest - this.#overlap)
    const safe = floorMicro(min(within, times.newest - REORDER))
    // A replay that was cut off has brought some symbols further than others: it begins again where it began.
    return max(from, replaying === undefined ? safe : min(safe, replaying))
  }

  /** Rows before are all there; later ones may be missing once something is. */
  #lostFrom(schema: MarketSchema.MarketSchema, state: SchemaState): bigint | undefined {
    if (state.from === undefined) return undefined
    // While a replay is under way, all after its beginning is in doubt.
    if (state.replaying !== undefined) return state.replaying
    const times = this.#seen.timesOf(MarketSchema.code(schema))
    return times === undefined ? state.from : max(state.from, floorMicro(times.newest - REORDER))
  }
}

const nothingKnown: SchemaPlan = { start: undefined, lostFrom: undefined, cause: "disconnect" }

const floorMicro = (time: bigint): bigint => UnixNanos.floorMicros(time) * UnixNanos.PerMicro
const max = (a: bigint, b: bigint): bigint => (a > b ? a : b)
const min = (a: bigint, b: bigint): bigint => (a < b ? a : b)
