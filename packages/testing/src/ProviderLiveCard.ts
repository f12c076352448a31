/** Cards P-400 to P-490: live data - the rows of history, once each, and every loss told. */
import { Effect, Exit, Stream } from "effect"
import { assert } from "vitest"
import { realSleep } from "./FastClock.ts"
import {
  assertAccounted,
  assertWhole,
  card,
  failsWith,
  gapsOf,
  hasReplay,
  interruptWhen,
  linesOf,
  mainSchema,
  type PlayOptions,
  type ProviderCard,
  play,
  read,
  reasonIn,
  request,
  schemaNotIn,
  untilClosed,
  untilPlayed
} from "./ProviderCard.ts"
import type { ProviderFault, ProviderService } from "./ProviderService.ts"

/** Plays the tape of the main schema to its end. */
const playTape = (service: ProviderService, options: PlayOptions = {}) =>
  Effect.gen(function* () {
    const provider = yield* service.connect("valid")
    const { rows, schema } = mainSchema(service, provider.capabilities.live)
    const playing = yield* play(service, provider, schema, options)
    yield* untilPlayed(playing, rows)
    return { playing, provider, rows, schema }
  })

/**
 * Prerequisite: a tape.
 * Action: play it live; read it as history.
 * Pass: the same rows with the same keys.
 */
const asHistory = card(
  "P-400",
  "live rows are those of history, key by key",
  function* (service) {
    const { playing, provider, rows, schema } = yield* playTape(service)
    assertWhole(playing, rows)
    if (!provider.capabilities.history.includes(schema)) return
    const past = yield* read(service, provider, request(service, schema))
    assert.deepStrictEqual(linesOf(playing.rows), linesOf(past))
  },
  "live"
)

/**
 * Prerequisite: several symbols.
 * Action: play one of them.
 * Pass: its rows alone, and its instrument known with the first of them.
 */
const oneSymbol = card(
  "P-410",
  "a symbol alone gives its rows alone, by name",
  function* (service) {
    const provider = yield* service.connect("valid")
    const { rows, schema } = mainSchema(service, provider.capabilities.live)
    const [symbol = ""] = service.symbols
    const own = rows.filter((row) => row.symbol === symbol)
    const playing = yield* play(service, provider, schema, { symbols: [symbol] })
    yield* untilPlayed(playing, own)
    assertWhole(playing, own)
    const claims = playing.events.flatMap((event) => (event._tag === "Mapping" ? [event.claim] : []))
    for (const claim of claims)
      assert.deepStrictEqual([claim.provider, claim.dataset], [provider.id, service.dataset])
  },
  "live"
)

/** Plays with a session that ends early, at several rows. */
const broken = (id: string, title: string, fault: (afterRows: number) => ProviderFault): ProviderCard =>
  card(
    id,
    title,
    function* (service) {
      const provider = yield* service.connect("valid")
      const { rows, schema } = mainSchema(service, provider.capabilities.live)
      for (const share of [0.1, 0.4]) yield* service.fault(fault(Math.floor(rows.length * share)))
      const playing = yield* play(service, provider, schema)
      yield* untilPlayed(playing, rows)
      if (hasReplay(provider)) assertWhole(playing, rows)
      else assertAccounted(playing, rows)
      const { reconnects } = yield* provider.health
      assert.isAtLeast(reconnects, 2, "reconnections are counted")
    },
    "live"
  )

/**
 * Prerequisite: sessions that end early: in order, by a reset, in silence.
 * Action: play the tape.
 * Pass: the stream goes on by itself; every row comes once, or lies in a gap; with replay there is no gap.
 */
const disconnect = broken("P-420", "a session that ends in order is made good", (afterRows) => ({
  type: "disconnect",
  afterRows
}))
const reset = broken("P-430", "a connection that is reset is made good", (afterRows) => ({
  type: "reset",
  afterRows
}))
const stall = broken("P-440", "a session that falls silent is given up and made good", (afterRows) => ({
  type: "stall",
  afterRows
}))

/**
 * Prerequisite: a service that leaves rows out.
 * Action: play the tape.
 * Pass: they are missing, and lie in gaps of this dataset and schema.
 */
const loss = card(
  "P-450",
  "what the service leaves out is a gap",
  function* (service) {
    const provider = yield* service.connect("valid")
    const { rows, schema } = mainSchema(service, provider.capabilities.live)
    yield* service.fault({ type: "loss", afterRows: Math.floor(rows.length / 2), rows: 20 })
    const playing = yield* play(service, provider, schema)
    yield* untilPlayed(playing, rows)
    const missing = assertAccounted(playing, rows)
    assert.isNotEmpty(gapsOf(playing), `${missing.length} rows are missing, and no gap says so`)
    for (const gap of gapsOf(playing)) {
      assert.deepStrictEqual([gap.dataset, gap.schema], [service.dataset, schema])
      assert.isTrue(gap.range.start < gap.range.end, "a gap of no time")
    }
  },
  "live"
)

/**
 * Prerequisite: a reader that has enough.
 * Action: interrupt it.
 * Pass: its connection is closed.
 */
const interrupted = card(
  "P-460",
  "an interrupted reader leaves nothing open",
  function* (service) {
    const provider = yield* service.connect("valid")
    const { schema } = mainSchema(service, provider.capabilities.live)
    let begun = false
    const reader = Stream.runForEach(provider.live(request(service, schema)), (event) =>
      Effect.sync(() => {
        begun ||= event._tag === "Batch"
      })
    )
    yield* interruptWhen(
      Effect.exit(reader),
      Effect.sync(() => begun),
      "a first batch"
    )
    yield* untilClosed(service, "after an interruption")
  },
  "live"
)

/**
 * Prerequisite: a reader that takes its time.
 * Action: play the tape.
 * Pass: every row comes once, or lies in a gap.
 */
const slow = card(
  "P-470",
  "a slow reader gets everything, or is told what not",
  function* (service) {
    let taken = 0
    const { playing, rows } = yield* playTape(service, {
      pace: () => (taken++ < 5 ? realSleep(60) : Effect.void)
    })
    assertAccounted(playing, rows)
  },
  "live"
)

/**
 * Prerequisite: a symbol and a schema that the service does not have.
 * Action: play them, the symbol among others.
 * Pass: the schema is refused; the symbol takes no rows of others away, or is refused by name.
 */
const unservable = card(
  "P-480",
  "what cannot be collected is refused, and takes nothing away",
  function* (service) {
    const provider = yield* service.connect("valid")
    const missing = schemaNotIn(provider.capabilities.live)
    if (missing !== undefined)
      yield* failsWith(
        Stream.runDrain(provider.live(request(service, missing))),
        ["ProviderBadRequest"],
        `schema ${missing}`
      )
    const { rows, schema } = mainSchema(service, provider.capabilities.live)
    const symbols = [...service.symbols, service.unknownSymbol]
    const playing = yield* play(service, provider, schema, { symbols })
    yield* untilPlayed(playing, rows)
    if (playing.exit === undefined) return assertWhole(playing, rows)
    assert.isTrue(Exit.isFailure(playing.exit), "it ended well")
    if (Exit.isSuccess(playing.exit)) return
    const error = reasonIn(playing.exit.cause, ["ProviderBadRequest"], "an unknown symbol")
    assert.include(error.message, service.unknownSymbol)
  },
  "live"
)

/**
 * Prerequisite: a provider with replay, and a tape that was played.
 * Action: play from the event time of a row in its middle.
 * Pass: that row and every one that happened later, none that happened before.
 */
const replay = card(
  "P-490",
  "replay begins at the time asked for",
  function* (service) {
    const { provider, rows, schema } = yield* Effect.scoped(playTape(service))
    const from = rows[rows.length >> 1]!.tsEvent
    const playing = yield* play(service, provider, schema, { from })
    yield* untilPlayed(playing, rows)
    const later = rows.filter(({ tsEvent }) => tsEvent >= from)
    assert.deepStrictEqual(linesOf(playing.rows), linesOf(later), "from the middle on")
  },
  "replay"
)

/** Cards of live data. */
export const cards: ReadonlyArray<ProviderCard> = [
  asHistory,
  oneSymbol,
  disconnect,
  reset,
  stall,
  loss,
  interrupted,
  slow,
  unservable,
  replay
]
