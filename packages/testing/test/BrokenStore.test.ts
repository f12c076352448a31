/**
 * Every card of the suite can fail: stores that are wrong in one thing, each with the cards that must notice it.
 * Together they must make every card fail.
 */
import {
  ABSENT_I64,
  Coverage,
  Decimal,
  type FeedNote,
  type MarketBatch,
  type MarketStore,
  StoreBadRequest,
  StoreError,
  StoreInvalidData,
  type StoreMigrations,
  TimeRange,
  TradeBatch,
  UnixNanos
} from "@data-manager/core"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Stream } from "effect"
import * as BatchRow from "../src/BatchRow.ts"
import { StoreSuite } from "../src/index.ts"
import type { LeaseRules } from "./MemoryLease.ts"
import {
  appendAtOnce,
  type MemoryRules,
  type MemoryState,
  memoryDatabase,
  soundRules
} from "./MemoryStore.ts"

type Store = MarketStore["Service"]

interface Broken {
  readonly what: string
  /** Cards that must fail. */
  readonly cards: ReadonlyArray<string>
  readonly rules?: Partial<MemoryRules>
  readonly wrap?: (store: Store, state: MemoryState) => Store
  readonly migrations?: (
    migrations: StoreMigrations["Service"],
    state: MemoryState
  ) => StoreMigrations["Service"]
  readonly lease?: Partial<LeaseRules>
}

/** Exchanges the values of some columns as they are kept. */
const keeping =
  (columns: ReadonlyArray<string>, change: (value: bigint) => bigint): MemoryRules["keep"] =>
  (values) =>
    Object.fromEntries(
      Object.entries(values).map(([name, list]) => [
        name,
        columns.includes(name)
          ? list.map((value) => (typeof value === "bigint" ? change(value) : Number(change(BigInt(value)))))
          : list
      ])
    )

const prices = ["price", "bidPrice", "askPrice", "open", "high", "low", "close"]
const sizes = ["size", "bidSize", "askSize"]
const refusal = (detail: string) =>
  Effect.fail(new StoreError({ operation: "read", reason: new StoreBadRequest({ detail }) }))

const lostUpdate = (store: Store, state: MemoryState): Store => ({
  ...store,
  append: (batch, claim) =>
    Effect.gen(function* () {
      const [rows, runs] = [new Map(state.rows), state.runs.map((run) => ({ ...run }))]
      yield* Effect.yieldNow
      Object.assign(state, { rows, runs })
      return yield* appendAtOnce(state, batch, claim)
    })
})

/** A store that takes other notes than those it is given. */
const noting =
  (change: (notes: ReadonlyArray<FeedNote>) => ReadonlyArray<FeedNote>) =>
  (store: Store): Store => ({
    ...store,
    noteFeed: (notes) => store.noteFeed(change(notes)),
    append: (batch, claim) => store.append(batch, { ...claim, feed: change(claim.feed ?? []) })
  })

/** The claim of S-558 over time that is missing. */
const LiveClaim = UnixNanos.parse("2024-09-02T09:00:11Z")!

const migrating = new WeakSet<MemoryState>()

const broken: ReadonlyArray<Broken> = [
  {
    what: "clocks lose their nanoseconds",
    cards: ["S-010", "S-050", "S-210", "S-610", "S-620"],
    rules: {
      keep: keeping(["tsEvent", "tsRecv"], (t) =>
        t === ABSENT_I64 ? t : t - (((t % 1000n) + 1000n) % 1000n)
      )
    }
  },
  {
    what: "an absent count of orders becomes 0",
    cards: ["S-020", "S-040"],
    rules: { keep: keeping(["bidCount", "askCount"], (count) => (count === 4294967295n ? 0n : count)) }
  },
  {
    what: "an absent number of trades becomes 0",
    cards: ["S-030"],
    rules: { keep: keeping(["tradeCount"], (count) => (count === ABSENT_I64 ? 0n : count)) }
  },
  {
    what: "values pass through a double",
    cards: ["S-050", "S-052", "S-054", "S-056"],
    rules: { keep: keeping([...prices, ...sizes], (value) => BigInt.asIntN(64, BigInt(Number(value)))) }
  },
  {
    what: "prices are rounded to two places",
    cards: ["S-050", "S-060", "S-250"],
    rules: {
      keep: (values) => {
        const exponent = values.priceExponent?.[0] as number
        if (exponent >= -2) return values
        const unit = 10n ** BigInt(-2 - exponent)
        return keeping(prices, (value) => (value === ABSENT_I64 ? value : (value / unit) * unit))(
          values,
          "trades"
        )
      }
    }
  },
  {
    what: "an absent price is 0",
    cards: ["S-010", "S-020", "S-030", "S-040", "S-070", "S-740"],
    rules: { keep: keeping(prices, (value) => (value === ABSENT_I64 ? 0n : value)) }
  },
  {
    what: "text ids and symbols are forgotten",
    cards: ["S-080"],
    wrap: (store) => ({
      ...store,
      readTrades: (request) =>
        Stream.map(store.readTrades(request), (batch) => new TradeBatch(batch.context, batch, batch.length))
    })
  },
  {
    what: "every key reads as a venue's id",
    cards: ["S-080"],
    wrap: (store) => ({
      ...store,
      readTrades: (request) =>
        Stream.map(
          store.readTrades(request),
          (batch) => new TradeBatch({ ...batch.context, keyKind: "venue-id" }, batch, batch.length)
        )
    })
  },
  {
    what: "an empty batch is not written into the ledger",
    cards: ["S-090"],
    wrap: (store) => ({
      ...store,
      append: (batch, claim) =>
        batch.length === 0
          ? Effect.succeed({ inserted: 0, duplicates: 0, conflicts: 0, skipped: false })
          : store.append(batch, claim)
    })
  },
  { what: "bad rows are accepted", cards: ["S-100", "S-360"], rules: { acceptsRow: () => undefined } },
  {
    what: "the rows before a bad one are written",
    cards: ["S-100", "S-360"],
    wrap: (store) => ({
      ...store,
      append: (batch, claim) =>
        Effect.catch(store.append(batch, claim), (error) =>
          error.reason._tag === "StoreInvalidData" && error.message.includes("row")
            ? Effect.andThen(
                store.append(batch.slice(0, batch.length - 1), { ...claim, coverage: [] }),
                Effect.fail(error)
              )
            : Effect.fail(error)
        )
    })
  },
  {
    what: "publishers keep 15 bits",
    cards: ["S-110"],
    rules: {
      keep: keeping(["publisher"], (publisher) => publisher & 0x7fffn),
      acceptsRow: (kept, known) => (known ? soundRules.acceptsRow({ ...kept, values: {} }, known) : "unknown")
    }
  },
  {
    what: "the largest key is absent",
    cards: ["S-120"],
    rules: { keep: keeping(["tradeKey"], (key) => (key === ABSENT_I64 ? 0n : key)) }
  },
  {
    what: "keys are compared without a sign",
    cards: ["S-120"],
    rules: {
      readOrder: (a, b) =>
        soundRules.readOrder(
          { ...a, key: BigInt.asUintN(64, a.key) },
          { ...b, key: BigInt.asUintN(64, b.key) }
        )
    }
  },
  {
    what: "an append writes into the batch",
    cards: ["S-130"],
    wrap: (store) => ({
      ...store,
      append: (batch, claim) =>
        Effect.tap(store.append(batch, claim), () =>
          Effect.sync(() => (batch.columns as { flags?: Uint8Array }).flags?.fill(7))
        )
    })
  },
  {
    what: "a slice is taken for the batch that it was cut from",
    cards: ["S-140"],
    wrap: (store) => ({ ...store, append: (batch, claim) => store.append(uncut(batch), claim) })
  },
  {
    what: "the microsecond alone tells rows apart",
    cards: ["S-210", "S-220"],
    rules: { identity: (row) => BatchRow.identity({ ...row, key: 0n }) }
  },
  {
    what: "the ordinal is not part of the key",
    cards: ["S-210", "S-220"],
    rules: { identity: (row) => BatchRow.identity({ ...row, key: row.key >> 16n }) }
  },
  {
    what: "the nanosecond is part of the identity",
    cards: ["S-230"],
    rules: { identity: (row) => `${BatchRow.identity(row)} ${row.time}` }
  },
  {
    what: "the last write wins",
    cards: ["S-230", "S-270"],
    wrap: (store) => ({
      ...store,
      append: (batch, claim) => store.append(batch, { ...claim, onConflict: "replace" })
    })
  },
  {
    what: "the stored row wins, always",
    cards: ["S-240", "S-245", "S-740", "S-980"],
    wrap: (store) => ({
      ...store,
      append: (batch, claim) => store.append(batch, { ...claim, onConflict: "keep" })
    })
  },
  {
    what: "history replaces the key and not the microsecond",
    cards: ["S-240"],
    rules: { replaceGroup: BatchRow.identity }
  },
  {
    what: "a second segment takes the first one's rows for live ones",
    cards: ["S-245"],
    rules: { replacesAgain: true }
  },
  {
    what: "numbers are compared as they are written",
    cards: ["S-250"],
    rules: {
      sameContent: (a, b) => soundRules.sameContent(a, b) && `${a.values.price}` === `${b.values.price}`
    }
  },
  {
    what: "an absent capture time is other content",
    cards: ["S-255", "S-257"],
    rules: { sameContent: (a, b) => BatchRow.text(a.row) === BatchRow.text(b.row) }
  },
  {
    what: "a stored row is never completed",
    cards: ["S-255", "S-257"],
    rules: { completed: (stored) => stored }
  },
  {
    what: "the newest duplicate is stored, whatever it knows",
    cards: ["S-255", "S-257"],
    rules: { completed: (_, other) => other }
  },
  {
    what: "the capture is not compared at all",
    cards: ["S-255"],
    rules: {
      sameContent: (a, b) => {
        const venue = ({ row }: typeof a) =>
          BatchRow.text({ ...row, tsRecv: 0n, content: row.content.replace(/ delta \S+/, "") })
        return venue(a) === venue(b)
      }
    }
  },
  {
    what: "either clock of a quote may be absent",
    cards: ["S-257"],
    rules: {
      sameContent: (a, b) => {
        const loose = (kept: typeof a) => ({
          ...kept,
          row: { ...kept.row, content: kept.row.content.replace(/^event \S+/, "") }
        })
        return soundRules.sameContent(loose(a), loose(b))
      }
    }
  },
  {
    what: "content that differs is a duplicate",
    cards: ["S-230", "S-260", "S-270", "S-920"],
    rules: { sameContent: () => true }
  },
  {
    what: "conflicts of quotes, bars and books are dropped",
    cards: ["S-270"],
    rules: { countsConflict: (kind) => kind === "trades" }
  },
  {
    what: "conflicts tell only what was set aside",
    cards: ["S-272", "S-274"],
    wrap: (store) => ({
      ...store,
      conflicts: (request) =>
        Stream.map(store.conflicts(request), (conflict) => ({ ...conflict, stored: undefined }))
    })
  },
  {
    what: "a conflict takes the row that came for the one that was stored",
    cards: ["S-272", "S-274"],
    wrap: (store) => ({
      ...store,
      conflicts: (request) =>
        Stream.map(store.conflicts(request), (conflict) => ({
          ...conflict,
          setAside: conflict.stored ?? conflict.setAside,
          stored: conflict.setAside
        }))
    })
  },
  {
    what: "every conflict was met by a new row",
    cards: ["S-274"],
    wrap: (store) => ({
      ...store,
      conflicts: (request) =>
        Stream.map(store.conflicts(request), (conflict) => ({ ...conflict, lost: "new" as const }))
    })
  },
  {
    what: "conflicts are told up to the first thousand",
    cards: ["S-274"],
    wrap: (store) => ({ ...store, conflicts: (request) => Stream.take(store.conflicts(request), 1_000) })
  },
  {
    what: "conflicts are of all schemas and times",
    cards: ["S-272"],
    wrap: (store) => ({
      ...store,
      conflicts: ({ instruments }) => store.conflicts({ instruments })
    })
  },
  {
    what: "conflicts forget text ids",
    cards: ["S-274"],
    wrap: (store) => ({
      ...store,
      conflicts: (request) =>
        Stream.map(store.conflicts(request), (conflict) => ({
          ...conflict,
          setAside: BatchRow.select(conflict.setAside, [0]),
          stored:
            conflict.stored?._tag === "TradeBatch"
              ? new TradeBatch(conflict.stored.context, conflict.stored, 1)
              : conflict.stored
        }))
    })
  },
  {
    what: "conflicts name no run",
    cards: ["S-272"],
    wrap: (store) => ({
      ...store,
      conflicts: (request) => Stream.map(store.conflicts(request), (conflict) => ({ ...conflict, run: 0n }))
    })
  },
  {
    what: "the instrument is not part of the identity",
    cards: ["S-280"],
    rules: { identity: (row) => BatchRow.identity({ ...row, instrument: 0 }) }
  },
  {
    what: "the schema is not part of the identity",
    cards: ["S-280"],
    rules: { identity: (row) => BatchRow.identity({ ...row, series: "" }) }
  },
  {
    what: "a committed segment is written again",
    cards: ["S-310"],
    rules: { isDone: () => false, acceptsSegment: () => true }
  },
  {
    what: "duplicates are added to the volume",
    cards: ["S-320", "S-720"],
    wrap: (store) => {
      let repeated = false
      return {
        ...store,
        append: (batch, claim) =>
          Effect.tap(store.append(batch, claim), (result) =>
            Effect.sync(() => {
              repeated = result.duplicates > 0
            })
          ),
        readBars: (request) =>
          Stream.map(store.readBars(request), (batch) => {
            if (repeated) for (let i = 0; i < batch.length; i++) batch.columns.volumeLow[i]! *= 2n
            return batch
          })
      }
    }
  },
  {
    what: "every row counts as inserted",
    cards: ["S-120", "S-210", "S-320", "S-330"],
    wrap: (store) => ({
      ...store,
      append: (batch, claim) =>
        Effect.map(store.append(batch, claim), (result) =>
          result.skipped ? result : { ...result, inserted: batch.length - result.conflicts, duplicates: 0 }
        )
    })
  },
  {
    what: "a run is never resumed",
    cards: ["S-090", "S-340", "S-345", "S-350", "S-450"],
    wrap: (store) => ({
      ...store,
      beginRun: (source) => store.beginRun({ ...source, fingerprint: undefined })
    })
  },
  {
    what: "completing a run changes nothing",
    cards: ["S-340", "S-920"],
    wrap: (store) => ({
      ...store,
      completeRun: (run) => Effect.asVoid(Effect.when(store.completeRun(run), Effect.succeed(run > 1_000n)))
    })
  },
  {
    what: "two look for a run at once and both make one",
    cards: ["S-345"],
    wrap: (store, state) => ({
      ...store,
      beginRun: (source) =>
        Effect.gen(function* () {
          const known = state.runs.some((run) => run.source.fingerprint === source.fingerprint)
          yield* Effect.yieldNow
          return yield* store.beginRun(known ? source : { ...source, fingerprint: undefined })
        })
    })
  },
  { what: "holes in the segments are accepted", cards: ["S-350"], rules: { acceptsSegment: () => true } },
  { what: "holes in a stream are accepted", cards: ["S-370"], rules: { acceptsPiece: () => true } },
  {
    what: "a failed segment is counted",
    cards: ["S-360"],
    wrap: (store, state) => ({
      ...store,
      append: (batch, claim) =>
        Effect.tapError(store.append(batch, claim), () =>
          Effect.sync(() => {
            for (const run of state.runs) if (run.id === claim.run) run.nextSegment += 1
          })
        )
    })
  },
  { what: "two writers overwrite each other", cards: ["S-410", "S-420", "S-430"], wrap: lostUpdate },
  {
    what: "a claim is written before its rows",
    cards: ["S-440"],
    wrap: (store) => ({
      ...store,
      append: (batch, claim) =>
        Effect.gen(function* () {
          yield* store.claimCoverage(claim.coverage ?? [])
          yield* Effect.sleep("2 millis")
          return yield* store.append(batch, { ...claim, coverage: [] })
        })
    })
  },
  {
    what: "a claim is written after its rows",
    cards: ["S-440"],
    wrap: (store) => ({
      ...store,
      append: (batch, claim) =>
        Effect.gen(function* () {
          const result = yield* store.append(batch, { ...claim, coverage: [] })
          yield* Effect.sleep("2 millis")
          yield* store.claimCoverage(claim.coverage ?? [])
          return result
        })
    })
  },
  {
    what: "an append that is interrupted leaves half of its rows",
    cards: ["S-450"],
    wrap: (store) => ({
      ...store,
      append: (batch, claim) =>
        Effect.gen(function* () {
          const half = batch.slice(0, batch.length >> 1)
          const run = yield* store.beginRun({ kind: "import", source: "", provider: "", dataset: "" })
          const first = yield* store.append(half, { run: run.id, segment: 0 })
          yield* Effect.sleep("4 millis")
          const all = yield* store.append(batch, claim)
          return all.skipped
            ? all
            : { ...all, inserted: all.inserted + first.inserted, duplicates: all.duplicates - first.inserted }
        })
    })
  },
  {
    what: "claims are rounded outward",
    cards: ["S-510"],
    rules: {
      claimed: ({ start, end }) => ({
        start: UnixNanos.floorMicros(start) * 1000n,
        end: UnixNanos.ceilMicros(end) * 1000n
      })
    }
  },
  {
    what: "causes and times of asking are forgotten",
    cards: ["S-520"],
    wrap: (store) => ({
      ...store,
      markCoverage: (spans) =>
        store.markCoverage(
          spans.map(({ instrument, schema, state, range }) => ({ instrument, schema, state, range }))
        )
    })
  },
  { what: "expired time stays held", cards: ["S-530"], rules: { heldAfterMark: (held) => held } },
  {
    what: "coverage is not filtered by state",
    cards: ["S-540"],
    wrap: (store) => ({ ...store, coverage: (request) => store.coverage({ ...request, states: undefined }) })
  },
  {
    what: "coverage answers spans that only touch the range",
    cards: ["S-540"],
    wrap: (store) => ({
      ...store,
      coverage: (request) =>
        store.coverage({
          ...request,
          range:
            request.range === undefined
              ? undefined
              : { start: request.range.start - 1n, end: request.range.end + 1n }
        })
    })
  },
  {
    what: "the end of a range is included",
    cards: ["S-610", "S-660"],
    rules: { inRange: (time, range) => range.start <= time && time <= range.end }
  },
  {
    what: "ranges are whole microseconds",
    cards: ["S-610"],
    rules: {
      inRange: (time, { start, end }) =>
        TimeRange.contains(
          { start: UnixNanos.floorMicros(start), end: UnixNanos.ceilMicros(end) },
          UnixNanos.floorMicros(time)
        )
    }
  },
  {
    what: "live time is rounded outward",
    cards: ["S-550", "S-554", "S-586"],
    rules: {
      live: (mine, instrument) => {
        const { held, missing } = soundRules.live(mine, instrument)
        const wider = held.map(({ start, end }) => ({ start: start - 1_000n, end: end + 1_000n }))
        return { held: Coverage.ranges(wider), missing }
      }
    }
  },
  {
    what: "a watermark goes back",
    cards: ["S-550", "S-586"],
    rules: {
      live: (mine, instrument) => {
        const last = mine.findLast((note) => note._tag === "Watermark")
        const others = mine.filter((note) => note._tag !== "Watermark" || note === last)
        return soundRules.live(others, instrument)
      }
    }
  },
  {
    what: "who has left is forgotten",
    cards: ["S-554", "S-558", "S-562", "S-578", "S-586", "S-590", "S-606"],
    wrap: noting((notes) => notes.filter((note) => note._tag !== "InstrumentsLeft"))
  },
  {
    what: "who comes back was never away",
    cards: ["S-554", "S-586", "S-590"],
    rules: {
      live: (mine, instrument) => {
        const comesBack = (from: number) =>
          mine
            .slice(from)
            .some((note) => note._tag === "InstrumentsJoined" && note.instruments.includes(instrument))
        return soundRules.live(
          mine.filter((note, i) => note._tag !== "InstrumentsLeft" || !comesBack(i)),
          instrument
        )
      }
    }
  },
  {
    what: "what is missing of some is missing of all",
    cards: ["S-558", "S-586", "S-590", "S-606"],
    wrap: noting((notes) =>
      notes.map((note) => (note._tag === "RowsMissing" ? { ...note, instruments: undefined } : note))
    )
  },
  {
    what: "what is missing is not held by anything",
    cards: ["S-558"],
    rules: {
      claimed: (range) => (range.start === LiveClaim ? undefined : soundRules.claimed(range))
    }
  },
  {
    what: "sessions never end",
    cards: ["S-562", "S-578"],
    wrap: noting((notes) => notes.filter((note) => note._tag !== "SessionEnded"))
  },
  {
    what: "notes of unknown sessions are left out",
    cards: ["S-566"],
    wrap: (store) => ({
      ...store,
      noteFeed: (notes) => Effect.catch(store.noteFeed(notes), () => Effect.void)
    })
  },
  {
    what: "the notes before a refused one are taken",
    cards: ["S-566"],
    wrap: (store) => ({
      ...store,
      noteFeed: (notes) => Effect.forEach(notes, (note) => store.noteFeed([note]), { discard: true })
    })
  },
  {
    what: "an empty batch has no notes",
    cards: ["S-570"],
    wrap: (store) => ({
      ...store,
      append: (batch, claim) => store.append(batch, { ...claim, feed: batch.length === 0 ? [] : claim.feed })
    })
  },
  {
    what: "a segment that is there brings notes",
    cards: ["S-570"],
    wrap: (store) => ({
      ...store,
      append: (batch, claim) =>
        Effect.tap(store.append(batch, claim), ({ skipped }) =>
          skipped ? store.noteFeed(claim.feed ?? []) : Effect.void
        )
    })
  },
  {
    what: "notes come before their rows",
    cards: ["S-574"],
    wrap: (store) => ({
      ...store,
      append: (batch, claim) =>
        store
          .noteFeed(claim.feed ?? [])
          .pipe(
            Effect.andThen(Effect.sleep("4 millis")),
            Effect.andThen(store.append(batch, { ...claim, feed: undefined }))
          )
    })
  },
  {
    what: "open sessions come as they began",
    cards: ["S-578"],
    wrap: (store, state) => ({
      ...store,
      openFeedSessions: Effect.map(store.openFeedSessions, (all) => {
        const begun = state.notes.map((note) => note.session)
        return [...all].sort((a, b) => begun.indexOf(a.session) - begun.indexOf(b.session))
      })
    })
  },
  {
    what: "one of two that note at once is lost",
    cards: ["S-582"],
    wrap: (store, state) => ({
      ...store,
      noteFeed: (notes) =>
        Effect.gen(function* () {
          const before = [...state.notes]
          yield* Effect.yieldNow
          state.notes = before
          yield* store.noteFeed(notes)
        })
    })
  },
  {
    what: "what comes late does not count",
    cards: ["S-586", "S-590"],
    rules: {
      live: (mine, instrument) => {
        let watermark = UnixNanos.Min
        const inTime = mine.filter((note) => {
          if (note._tag === "Watermark") watermark = note.at
          else if ("at" in note) return note.at >= watermark
          return true
        })
        return soundRules.live(inTime, instrument)
      }
    }
  },
  {
    what: "sessions hold what retention has removed",
    cards: ["S-594", "S-598"],
    rules: { cutsLive: (why) => why !== "expired" }
  },
  {
    what: "sessions hold what was revised",
    cards: ["S-598"],
    rules: { cutsLive: (why) => why !== "revised" }
  },
  {
    what: "a session has at most 10,000 instruments",
    cards: ["S-602"],
    wrap: noting((notes) =>
      notes.map((note) =>
        note._tag === "InstrumentsJoined" ? { ...note, instruments: note.instruments.slice(0, 10_000) } : note
      )
    )
  },
  {
    what: "coverage is cut to the range",
    cards: ["S-606"],
    wrap: (store) => ({
      ...store,
      coverage: (request) =>
        Effect.map(store.coverage(request), (spans) =>
          spans.map((span) => ({
            ...span,
            range: TimeRange.intersect(span.range, request.range ?? span.range) ?? span.range
          }))
        )
    })
  },
  {
    what: "times before 1970 come last",
    cards: ["S-620"],
    rules: {
      readOrder: (a, b) =>
        soundRules.readOrder(
          { ...a, time: BigInt.asUintN(64, a.time) },
          { ...b, time: BigInt.asUintN(64, b.time) }
        )
    }
  },
  {
    what: "one instrument after the other",
    cards: ["S-010", "S-620", "S-630"],
    rules: { readOrder: (a, b) => a.instrument - b.instrument || soundRules.readOrder(a, b) }
  },
  {
    what: "an absent capture time comes first",
    cards: ["S-630"],
    rules: {
      readOrder: (a, b) => {
        const first = (row: BatchRow.BatchRow) =>
          row.tsRecv === ABSENT_I64 ? { ...row, tsRecv: -ABSENT_I64 } : row
        return soundRules.readOrder(first(a), first(b))
      }
    }
  },
  {
    what: "batches are as large as they come",
    cards: ["S-640"],
    wrap: (store) => ({
      ...store,
      readQuotes: (request) => store.readQuotes({ ...request, batchRows: undefined })
    })
  },
  {
    what: "a read that is left keeps its connection",
    cards: ["S-650"],
    wrap: (store) => {
      let free = 10
      return {
        ...store,
        readTrades: (request) =>
          Stream.suspend(() => {
            if (free === 0) return Stream.never
            free -= 1
            const back = Stream.fromEffectDrain(Effect.sync(() => free++))
            return Stream.concat(store.readTrades(request), back)
          })
      }
    }
  },
  {
    what: "no instruments means all of them",
    cards: ["S-660"],
    wrap: (store, state) => ({
      ...store,
      readTrades: (request) =>
        store.readTrades(
          request.instruments.length > 0
            ? request
            : { ...request, instruments: state.known.map(({ instrument }) => instrument.id) }
        )
    })
  },
  {
    what: "a reversed range is an error",
    cards: ["S-660"],
    wrap: (store) => ({
      ...store,
      readTrades: (request) =>
        request.range.end < request.range.start
          ? Stream.fromEffect(refusal("the range is reversed"))
          : store.readTrades(request)
    })
  },
  {
    what: "the first 500 instruments are read",
    cards: ["S-670"],
    wrap: (store) => ({
      ...store,
      readTrades: (request) =>
        store.readTrades({ ...request, instruments: request.instruments.slice(0, 500) })
    })
  },
  { what: "one batch for all datasets", cards: ["S-675"], rules: { sharesBatch: () => true } },
  {
    what: "the last trades are the last of all instruments together",
    cards: ["S-675", "S-680"],
    wrap: (store) => ({
      ...store,
      lastTrades: (instruments, count) =>
        Effect.map(store.lastTrades(instruments, count), (batches) => {
          let left = count
          return batches
            .toReversed()
            .map((batch) => {
              const part = batch.slice(Math.max(0, batch.length - left))
              left -= part.length
              return part
            })
            .toReversed()
        })
    })
  },
  {
    what: "the last trades of several datasets come one dataset after the other",
    cards: ["S-675"],
    wrap: (store) => ({
      ...store,
      lastTrades: (instruments, count) =>
        Effect.map(
          Effect.forEach(instruments, (instrument) => store.lastTrades([instrument], count)),
          (each) => each.flat()
        )
    })
  },
  {
    what: "the last trades are of the first dataset alone",
    cards: ["S-675"],
    wrap: (store) => ({
      ...store,
      lastTrades: (instruments, count) =>
        Effect.map(store.lastTrades(instruments, count), (batches) =>
          batches.filter((batch) => batch.context.dataset === batches[0]?.context.dataset)
        )
    })
  },
  {
    what: "days are counted to the microsecond",
    cards: ["S-690"],
    wrap: (store) => ({
      ...store,
      availability: (request) =>
        Effect.map(store.availability(request), (days) =>
          days.map((day) => ({ ...day, first: UnixNanos.floorMicros(day.first) * 1000n }))
        )
    })
  },
  {
    what: "bars of four hours start with the session",
    cards: ["S-710"],
    rules: {
      barStart: (time, seconds) =>
        seconds === 14_400
          ? soundRules.barStart(time - 3_600_000_000_000n, seconds) + 3_600_000_000_000n
          : soundRules.barStart(time, seconds)
    }
  },
  {
    what: "rows that come late are dropped",
    cards: ["S-630", "S-720", "S-970"],
    rules: {
      lateRows: (row, stored) =>
        ![...stored].some((kept) => kept.row.time > row.time && kept.kind === "trades")
    }
  },
  {
    what: "bars are computed once",
    cards: ["S-720", "S-740"],
    wrap: (store) => {
      const cache = new Map<string, ReturnType<Store["readBars"]>>()
      return {
        ...store,
        readBars: (request) =>
          Stream.unwrap(
            Effect.gen(function* () {
              const key = `${request.timeframe} ${request.instruments} ${request.range.start} ${request.range.end}`
              const cached =
                cache.get(key) ?? Stream.fromIterable(yield* Stream.runCollect(store.readBars(request)))
              cache.set(key, cached)
              return cached
            })
          )
      }
    }
  },
  {
    what: "open and close go by the key",
    cards: ["S-730"],
    rules: { barOrder: (a, b) => Number(a.time - b.time) || Number(a.key - b.key) }
  },
  {
    what: "volume wraps at 64 bits",
    cards: ["S-750"],
    rules: { volume: ({ mantissa, exponent }) => ({ mantissa: BigInt.asIntN(64, mantissa), exponent }) }
  },
  {
    what: "empty bars have the prices of the bar before",
    cards: ["S-760"],
    rules: {
      filler: (before, start) => ({ ...before, start, volume: { mantissa: 0n, exponent: 0 }, tradeCount: 0n })
    }
  },
  {
    what: "nothing is filled",
    cards: ["S-760"],
    wrap: (store) => ({ ...store, readBars: (request) => store.readBars({ ...request, fill: false }) })
  },
  {
    what: "a provider's bars are preferred",
    cards: ["S-770"],
    wrap: (store) => ({
      ...store,
      readBars: (request) =>
        store.readBars(
          request.schema === undefined ? { ...request, source: request.source ?? "provider" } : request
        )
    })
  },
  {
    what: "session bars are bars of no known length",
    cards: ["S-775"],
    wrap: (store) => ({
      ...store,
      readBars: (request) =>
        request.schema === "ohlcv-eod"
          ? Stream.fromEffect(refusal("there are no bars of 0 seconds"))
          : store.readBars(request)
    })
  },
  {
    what: "an unknown series of bars is empty",
    cards: ["S-775"],
    wrap: (store) => ({
      ...store,
      readBars: (request) => (request.schema === "mbp-1" ? Stream.empty : store.readBars(request))
    })
  },
  {
    what: "the bars of all schemas are one series",
    cards: ["S-775"],
    wrap: (store) => ({
      ...store,
      readBars: (request) =>
        request.schema === "ohlcv-1d"
          ? Stream.concat(store.readBars(request), store.readBars({ ...request, schema: "ohlcv-eod" }))
          : store.readBars(request)
    })
  },
  {
    what: "a range selects every bar that it touches",
    cards: ["S-780"],
    rules: {
      barInRange: (start, seconds, range) =>
        TimeRange.overlaps({ start, end: start + BigInt(seconds) * UnixNanos.PerSecond }, range)
    }
  },
  {
    what: "bars before 1970 are cut toward zero",
    cards: ["S-785"],
    rules: { barStart: (time, seconds) => time - (time % (BigInt(seconds) * UnixNanos.PerSecond)) }
  },
  {
    what: "bars that do not fit are rounded",
    cards: ["S-790"],
    rules: {
      atOneExponent: (list) =>
        soundRules.atOneExponent(list) ?? {
          mantissas: list.map((price) => Decimal.rescale(price.mantissa, price.exponent, 0) ?? 0n),
          exponent: 0
        }
    }
  },
  {
    what: "every claim is a new instrument",
    cards: ["S-810", "S-830", "S-860", "S-870"],
    rules: { sameInstrument: () => false }
  },
  { what: "scales follow the newest definition", cards: ["S-820"], rules: { keepsScales: false } },
  {
    what: "scales are the provider's",
    cards: ["S-820"],
    rules: { scales: (claim) => ({ priceScale: claim.defaultPriceScale, sizeScale: claim.defaultSizeScale }) }
  },
  { what: "text is identity", cards: ["S-830"], rules: { sameInstrument: () => true } },
  {
    what: "another expiration is overlooked",
    cards: ["S-830"],
    rules: { sameInstrument: (claim, listings) => soundRules.sameInstrument(claim, listings, {}) }
  },
  { what: "a number is never named", cards: ["S-840"], rules: { namesNumber: () => false } },
  { what: "datasets are not told apart", cards: ["S-850"], rules: { sameDataset: () => true } },
  {
    what: "all datasets are loaded",
    cards: ["S-850"],
    wrap: (store) => ({ ...store, loadInstruments: () => store.loadInstruments() })
  },
  {
    what: "listings forget their numbers",
    cards: ["S-860"],
    wrap: (store) => ({
      ...store,
      registerListings: (claims) =>
        store.registerListings(
          claims.map((claim) => ({
            ...claim,
            nativeId: claim.rawSymbol === undefined ? claim.nativeId : undefined
          }))
        )
    })
  },
  {
    what: "the newest definition replaces the details",
    cards: ["S-870"],
    rules: { mergeDetails: (_, told) => told }
  },
  {
    what: "a removed symbol is forgotten",
    cards: ["S-880"],
    rules: { keepEntry: ({ removedAt: _, ...entry }) => entry }
  },
  { what: "removed rows stay held", cards: ["S-910"], rules: { marksExpired: false } },
  {
    what: "retention removes the bars, too",
    cards: ["S-910"],
    wrap: (store, state) => ({
      ...store,
      expireTrades: (before) =>
        Effect.tap(store.expireTrades(before), () =>
          Effect.sync(() => {
            state.retired = []
          })
        )
    })
  },
  {
    what: "open runs count as complete",
    cards: ["S-920"],
    wrap: (store) => ({
      ...store,
      statistics: Effect.map(store.statistics, (all) => ({
        ...all,
        runs: { completed: all.runs.completed + all.runs.open, open: 0n }
      }))
    })
  },
  { what: "going down keeps the data", cards: ["S-940"], rules: { dropsOnDown: false } },
  {
    what: "going down takes back everything",
    cards: ["S-940"],
    migrations: (migrations) => ({ ...migrations, down: () => migrations.down(0) })
  },
  {
    what: "the second of two that migrate fails",
    cards: ["S-950"],
    migrations: (migrations, state) => ({
      ...migrations,
      up: (to) =>
        Effect.gen(function* () {
          if (migrating.has(state))
            return yield* new StoreError({
              operation: "migrate up",
              reason: new StoreInvalidData({ detail: "relation already exists" })
            })
          migrating.add(state)
          const states = yield* migrations.up(to)
          migrating.delete(state)
          return states
        })
    })
  },
  { what: "two have a lease at once", cards: ["S-992"], lease: { isWaitedFor: false } },
  { what: "a lease keeps its epoch", cards: ["S-992", "S-994"], lease: { step: 0n } },
  { what: "a silent holder keeps its lease", cards: ["S-994"], lease: { isLostBySilence: false } },
  { what: "a store of an epoch before may write", cards: ["S-992", "S-994"], lease: { isFenced: false } },
  { what: "whoever wants a lease has it", cards: ["S-996"], lease: { isWaitedFor: false } }
]

/** The whole batch that a slice was cut from, as a program that forgets the offset would see it. */
const uncut = (batch: MarketBatch): MarketBatch => {
  if (batch._tag !== "TradeBatch" || batch.columns.price.byteOffset % 8 !== 0) return batch
  const { buffer } = batch.columns.tsEvent
  const columns = Object.fromEntries(
    Object.entries<BigInt64Array>(batch.columns as never).map(([name, view]) => {
      const offset = batch.columns.tsEvent.byteOffset / 8
      const View = view.constructor as new (b: ArrayBuffer, o: number, n: number) => BigInt64Array
      return [name, new View(buffer, view.byteOffset - offset * view.BYTES_PER_ELEMENT, batch.length)]
    })
  )
  return new TradeBatch(batch.context, { columns, words: batch.words } as never, batch.length)
}

const passes = (id: string, each: Broken) => {
  const card = StoreSuite.cards.find((one) => one.id === id)!
  const database = memoryDatabase(each.rules, each.wrap, each.migrations, each.lease)
  return StoreSuite.check(card, { database }).pipe(Effect.timeout("5 seconds"), Effect.exit)
}

describe("a broken store", () => {
  for (const each of broken)
    it.live(`is noticed: ${each.what} (${each.cards.join(", ")})`, () =>
      Effect.gen(function* () {
        for (const id of each.cards) {
          const exit = yield* passes(id, each)
          assert.isTrue(Exit.isFailure(exit), `${id} passes although ${each.what}`)
          // Not for an accident of the card itself.
          if (Exit.isFailure(exit))
            assert.notMatch(Cause.pretty(exit.cause), /TypeError|ReferenceError|RangeError/)
        }
      })
    )

  it("makes every card fail", () => {
    const failed = new Set(broken.flatMap((each) => each.cards))
    const never = StoreSuite.cards.filter((card) => !failed.has(card.id)).map((card) => card.id)
    assert.deepStrictEqual(never, [])
    const unknown = [...failed].filter((id) => !StoreSuite.cards.some((card) => card.id === id))
    assert.deepStrictEqual(unknown, [])
  })
})

describe("StoreSuite", () => {
  it("numbers its cards in order, each once", () => {
    const ids = StoreSuite.cards.map((card) => card.id)
    assert.deepStrictEqual(ids, [...new Set(ids)].sort())
    for (const id of ids) assert.match(id, /^S-\d{3}$/)
  })

  it("leaves out no card without a reason, and none that does not exist", () => {
    const target = { database: memoryDatabase() }
    assert.throws(
      () => StoreSuite.run("x", target, { skip: { "S-010": " " } }),
      "skipping S-010 needs a reason"
    )
    assert.throws(() => StoreSuite.run("x", target, { skip: { "S-011": "why" } }), "there is no card S-011")
  })
})
