/** Cards P-010 to P-190: past data - which rows, in which order, with which keys, however they are asked for. */
import { type HistoryRequest, MarketSchema, type Provider, type TimeRange } from "@data-manager/core"
import { Effect, Stream } from "effect"
import { assert } from "vitest"
import { realSleep } from "./FastClock.ts"
import {
  assertSame,
  card,
  failsWith,
  interruptWhen,
  mainSchema,
  type ProviderCard,
  type Row,
  read,
  readAll,
  request,
  rowsOf,
  schemaNotIn,
  schemasOf,
  tapeOf,
  untilClosed
} from "./ProviderCard.ts"
import { SeededRandom } from "./SeededRandom.ts"

const within = (rows: ReadonlyArray<Row>, { start, end }: TimeRange.TimeRange): ReadonlyArray<Row> =>
  rows.filter(({ time }) => start <= time && time < end)

/**
 * Prerequisite: a tape.
 * Action: read all symbols over everything that the service has, each schema.
 * Pass: every row of the tape with every column and its key, none else, by the index clock.
 */
const exact = card("P-010", "the whole range gives exactly the rows of the service", function* (service) {
  const provider = yield* service.connect("valid")
  for (const schema of schemasOf(service, provider.capabilities.history))
    assertSame(yield* read(service, provider, request(service, schema)), tapeOf(service, schema), schema)
})

/**
 * Prerequisite: a tape.
 * Action: read from the time of a row to that of another, and to a nanosecond after it.
 * Pass: the row at the start is in, the row at the end is not.
 */
const halfOpen = card("P-020", "ranges are half-open to the nanosecond", function* (service) {
  const provider = yield* service.connect("valid")
  const { schema, rows } = mainSchema(service, provider.capabilities.history)
  for (const [from, to] of [
    [0.2, 0.4],
    [0.5, 0.51],
    [0.7, 1]
  ] as const) {
    const start = rows[Math.floor(rows.length * from)]!.time
    const last = rows[Math.ceil(rows.length * to) - 1]!.time
    for (const end of [last, last + 1n]) {
      if (start >= end) continue
      const got = yield* read(service, provider, request(service, schema, { range: { start, end } }))
      assertSame(got, within(rows, { start, end }), `[${start}, ${end})`)
    }
  }
})

/** Times inside of groups of rows that share a microsecond, and some others. */
const cutsOf = (rows: ReadonlyArray<Row>, range: TimeRange.TimeRange, random: SeededRandom) => {
  const shared = rows.filter(({ time }, i) => i > 0 && time / 1000n === rows[i - 1]!.time / 1000n)
  assert.isNotEmpty(shared, "some rows of the tape must share their microsecond")
  const cuts = new Set<bigint>()
  for (let i = 0; i < 6; i++) cuts.add(random.pick(shared).time + BigInt(random.below(2)))
  for (let i = 0; i < 6; i++) cuts.add(random.pick(rows).time)
  const inside = [...cuts].filter((cut) => range.start < cut && cut < range.end)
  return [range.start, ...inside, range.end].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0))
}

/**
 * Prerequisite: rows that share a microsecond.
 * Action: read the range in pieces, cut inside of such groups, too.
 * Pass: the pieces together are the whole, key by key.
 */
const chunking = card("P-030", "rows and keys are the same however a range is cut", function* (service) {
  const provider = yield* service.connect("valid")
  for (const schema of schemasOf(service, provider.capabilities.history)) {
    const rows = tapeOf(service, schema)
    if (MarketSchema.kind(schema) === "bars") continue
    const cuts = cutsOf(rows, service.range, new SeededRandom(30))
    const parts: Array<Row> = []
    for (let i = 1; i < cuts.length; i++) {
      const range = { start: cuts[i - 1]!, end: cuts[i]! }
      parts.push(...(yield* read(service, provider, request(service, schema, { range }))))
    }
    assertSame(parts, rows, `${schema} in ${cuts.length - 1} pieces`)
  }
})

/**
 * Prerequisite: several symbols.
 * Action: read each alone.
 * Pass: its own rows alone, with the keys that they have among all.
 */
const oneSymbol = card(
  "P-040",
  "a symbol alone gives its rows alone, with the same keys",
  function* (service) {
    const provider = yield* service.connect("valid")
    assert.isAtLeast(service.symbols.length, 2, "two symbols are needed")
    const { schema, rows } = mainSchema(service, provider.capabilities.history)
    for (const symbol of service.symbols.slice(0, 3)) {
      const got = yield* read(service, provider, request(service, schema, { symbols: [symbol] }))
      assertSame(
        got,
        rows.filter((row) => row.symbol === symbol),
        symbol
      )
    }
  }
)

/**
 * Prerequisite: a hole between two rows.
 * Action: read it.
 * Pass: no rows, and no failure.
 */
const quiet = card("P-050", "time without rows is no failure", function* (service) {
  const provider = yield* service.connect("valid")
  const { schema, rows } = mainSchema(service, provider.capabilities.history)
  const holes = rows.slice(1).map(({ time }, i) => ({ start: rows[i]!.time + 1n, end: time }))
  const range = holes.reduce((a, b) => (b.end - b.start > a.end - a.start ? b : a))
  assertSame(yield* read(service, provider, request(service, schema, { range })), [], "a hole")
})

/**
 * Prerequisite: a tape.
 * Action: look at each batch when it comes, and at all of them again at the end.
 * Pass: batches are of the provider, dataset and kind, none is empty, every row's instrument is known when it comes, and
 * nothing changes afterwards.
 */
const batches = card(
  "P-060",
  "batches say whose they are, name their instruments, and never change",
  function* (service) {
    const provider = yield* service.connect("valid")
    for (const schema of schemasOf(service, provider.capabilities.history)) {
      const { events, exit, rows } = yield* readAll(service, provider, request(service, schema))
      yield* exit
      const given = events.flatMap((event) => (event._tag === "Batch" ? [event.batch] : []))
      for (const batch of given) {
        assert.isAbove(batch.length, 0, "an empty batch")
        assert.deepStrictEqual(
          [batch.context.provider, batch.context.dataset, kindOf[batch._tag]],
          [provider.id, service.dataset, MarketSchema.kind(schema)]
        )
      }
      const unnamed = rows.find(({ symbol }) => symbol.startsWith("#"))
      assert.isUndefined(unnamed, "a row came before its instrument was known")
      const later = given.flatMap((batch) => rowsOf(service, schema, batch))
      assert.deepStrictEqual(later, rows, "a batch changed after it was given")
    }
  }
)

const kindOf = { TradeBatch: "trades", QuoteBatch: "quotes", BarBatch: "bars", BookBatch: "book" } as const

/**
 * Prerequisite: a tape.
 * Action: compare the identities of all rows.
 * Pass: no two are equal: a store would take the second for a repetition.
 */
const identities = card("P-070", "no two rows have one identity", function* (service) {
  const provider = yield* service.connect("valid")
  for (const schema of schemasOf(service, provider.capabilities.history)) {
    const rows = yield* read(service, provider, request(service, schema))
    const seen = new Map<string, string>()
    for (const { identity, line } of rows) {
      assert.isFalse(seen.has(identity), `one identity, ${identity}:\n${seen.get(identity)}\n${line}`)
      seen.set(identity, line)
    }
  }
})

/**
 * Prerequisite: a tape.
 * Action: interrupt a reader at its first batch; then read everything.
 * Pass: the service is left alone, and the provider goes on.
 */
const interrupted = card("P-100", "an interrupted reader leaves nothing open", function* (service) {
  const provider = yield* service.connect("valid")
  const { schema, rows } = mainSchema(service, provider.capabilities.history)
  let begun = false
  const reader = Stream.runForEach(provider.history(request(service, schema)), (event) => {
    begun ||= event._tag === "Batch"
    return begun ? Effect.never : Effect.void
  })
  yield* interruptWhen(
    Effect.exit(reader),
    Effect.sync(() => begun),
    "a first batch"
  )
  yield* untilClosed(service, "after an interruption")
  assertSame(yield* read(service, provider, request(service, schema)), rows, "afterwards")
})

/**
 * Prerequisite: a tape.
 * Action: take the first events slowly.
 * Pass: everything comes.
 */
const slow = card("P-110", "a slow reader gets everything", function* (service) {
  const provider = yield* service.connect("valid")
  const { schema, rows } = mainSchema(service, provider.capabilities.history)
  const got: Array<Row> = []
  let taken = 0
  yield* Stream.runForEach(provider.history(request(service, schema)), (event) => {
    if (event._tag === "Batch") got.push(...rowsOf(service, schema, event.batch))
    return taken++ < 5 ? realSleep(40) : Effect.void
  })
  assertSame(got, rows, "read slowly")
})

/**
 * Prerequisite: several symbols.
 * Action: two requests at once, of other symbols.
 * Pass: each gets its own.
 */
const concurrent = card("P-120", "requests at the same time do not mix", function* (service) {
  const provider = yield* service.connect("valid")
  const { schema, rows } = mainSchema(service, provider.capabilities.history)
  const [first = "", ...others] = service.symbols
  const [one, rest] = yield* Effect.all(
    [
      read(service, provider, request(service, schema, { symbols: [first] })),
      read(service, provider, request(service, schema, { symbols: others }))
    ],
    { concurrency: 2 }
  )
  assertSame(
    one,
    rows.filter(({ symbol }) => symbol === first),
    first
  )
  assertSame(
    rest,
    rows.filter(({ symbol }) => symbol !== first),
    "the others"
  )
})

const refused = (provider: Provider, what: HistoryRequest, saying: string, name: string) =>
  Effect.map(failsWith(Stream.runDrain(provider.history(what)), ["ProviderBadRequest"], name), (error) =>
    assert.include(error.message, saying, name)
  )

/**
 * Prerequisite: what the provider does not have.
 * Action: ask for a schema, a dataset and symbols that do not exist, and for a range whose end is not behind its start.
 * Pass: `ProviderBadRequest`, whose text names what was wrong; no row is asked for where the request says it all.
 */
const unservable = card("P-130", "requests that cannot be served say why", function* (service) {
  const provider = yield* service.connect("valid")
  const { schema } = mainSchema(service, provider.capabilities.history)
  const missing = schemaNotIn(provider.capabilities.history)
  if (missing !== undefined) yield* refused(provider, request(service, missing), missing, "a schema")
  const { start } = service.range
  yield* refused(
    provider,
    request(service, schema, { range: { start: start + 1_000_000n, end: start + 1_000_000n } }),
    "",
    "an empty range"
  )
  yield* refused(
    provider,
    request(service, schema, { range: { start: start + 1_000_000n, end: start } }),
    "",
    "a range backwards"
  )
  yield* refused(provider, request(service, schema, { symbols: [] }), "symbol", "no symbols")
  assert.strictEqual(yield* service.historyRequests, 0, "rows were asked for in vain")
  yield* refused(provider, request(service, schema, { dataset: "NO.SUCH" }), "NO.SUCH", "a dataset")
  const { unknownSymbol } = service
  yield* refused(provider, request(service, schema, { symbols: [unknownSymbol] }), unknownSymbol, "a symbol")
})

/**
 * Prerequisite: a symbol that the service does not have.
 * Action: ask for it among others.
 * Pass: the others' rows all come, or a `ProviderBadRequest` names it; never a part of the rows.
 */
const partlyUnknown = card("P-140", "an unknown symbol among others takes no rows away", function* (service) {
  const provider = yield* service.connect("valid")
  const { schema, rows } = mainSchema(service, provider.capabilities.history)
  const symbols = [...service.symbols, service.unknownSymbol]
  const { exit, rows: got } = yield* readAll(service, provider, request(service, schema, { symbols }))
  if (exit._tag === "Success") return assertSame(got, rows, "the known ones")
  const error = yield* failsWith(exit, ["ProviderBadRequest"], "an unknown symbol")
  assert.include(error.message, service.unknownSymbol)
})

/**
 * Prerequisite: time after everything that the service has.
 * Action: read it.
 * Pass: nothing, as an empty stream or a `ProviderBadRequest`; never an endless wait.
 */
const outside = card("P-150", "time that the service does not have gives nothing", function* (service) {
  const provider = yield* service.connect("valid")
  const { schema } = mainSchema(service, provider.capabilities.history)
  const day = 86_400_000_000_000n
  const range = { start: service.range.end + day, end: service.range.end + 2n * day }
  const { exit, rows } = yield* readAll(service, provider, request(service, schema, { range }))
  assert.isEmpty(rows)
  if (exit._tag === "Failure") yield* failsWith(exit, ["ProviderBadRequest"], "a range in the future")
})

/** Cards of past data. */
export const cards: ReadonlyArray<ProviderCard> = [
  exact,
  halfOpen,
  chunking,
  oneSymbol,
  quiet,
  batches,
  identities,
  interrupted,
  slow,
  concurrent,
  unservable,
  partlyUnknown,
  outside
]
