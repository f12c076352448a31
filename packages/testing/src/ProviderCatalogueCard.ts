/** Cards P-300 to P-390: what a provider says of itself and of what there is. */
import { type ListingClaim, LocalInstruments, MarketSchema } from "@data-manager/core"
import { Effect, Stream } from "effect"
import { assert } from "vitest"
import { until } from "./FastClock.ts"
import {
  card,
  failsWith,
  mainSchema,
  type ProviderCard,
  play,
  request,
  schemasOf,
  tapeOf
} from "./ProviderCard.ts"

/**
 * Prerequisite: none.
 * Action: look at id and capabilities.
 * Pass: they make sense.
 */
const capabilities = card("P-300", "id and capabilities make sense", function* (service) {
  const { capabilities: able, id } = yield* service.connect("valid")
  assert.match(id, /^[a-z0-9][a-z0-9_-]*$/, "lower case, as in [providers.id]")
  assert.isNotEmpty([...able.history, ...able.live], "neither history nor live data")
  for (const schema of [...able.history, ...able.live]) assert.include(MarketSchema.all, schema)
  assert.include(able.symbolTypes, "raw_symbol")
  for (const limit of [able.maxSymbols, able.maxDays, able.replaySeconds])
    assert.isTrue(Number.isFinite(limit) && limit >= 0)
  if (able.live.length === 0) assert.strictEqual(able.replaySeconds, 0)
})

/**
 * Prerequisite: a tape.
 * Action: ask for the available range of each schema, and of a dataset that does not exist.
 * Pass: every row lies in it, no more is promised than the service has, and the dataset is refused by name.
 */
const available = card("P-310", "the available range holds every row", function* (service) {
  const provider = yield* service.connect("valid")
  for (const schema of schemasOf(service, provider.capabilities.history)) {
    const range = yield* provider.availableRange(request(service, schema))
    const rows = tapeOf(service, schema)
    assert.isTrue(range.start <= rows[0]!.time, `${schema}: the first row lies before it`)
    assert.isTrue(rows[rows.length - 1]!.time < range.end, `${schema}: the last row lies behind it`)
    assert.isTrue(range.start >= service.range.start && range.end <= service.range.end, `${schema}: too much`)
  }
  const [schema = "trades"] = provider.capabilities.history
  const error = yield* failsWith(
    provider.availableRange(request(service, schema, { dataset: "NO.SUCH" })),
    ["ProviderBadRequest"],
    "a dataset"
  )
  assert.include(error.message, "NO.SUCH")
})

/**
 * Prerequisite: a tape.
 * Action: estimate everything, and a half of it.
 * Pass: at least one request; the rows are counted right where they are counted; a half is not more; nothing is fetched.
 */
const estimated = card("P-320", "an estimate is right and fetches nothing", function* (service) {
  const provider = yield* service.connect("valid")
  const { schema, rows } = mainSchema(service, provider.capabilities.history)
  const whole = yield* provider.estimate(request(service, schema))
  assert.isAtLeast(whole.requests, 1)
  if (whole.records !== undefined) assert.strictEqual(whole.records, BigInt(rows.length))
  const range = { start: service.range.start, end: rows[rows.length >> 1]!.time }
  const half = yield* provider.estimate(request(service, schema, { range }))
  if (half.records !== undefined)
    assert.strictEqual(half.records, BigInt(rows.filter(({ time }) => time < range.end).length))
  assert.isAtMost(half.requests, whole.requests)
  assert.strictEqual(yield* service.historyRequests, 0, "an estimate fetched rows")
  if (provider.capabilities.billed) assert.isDefined(whole.costUsd, "requests are billed, and have no price")
})

/**
 * Prerequisite: symbols.
 * Action: discover them; register what was found.
 * Pass: each symbol is there once at a time, is of this provider and dataset, has a time in which it is valid, and gives
 * the instrument that rows name.
 */
const discovered = card("P-330", "discovery lists every symbol", function* (service) {
  const provider = yield* service.connect("valid")
  const claims: ReadonlyArray<ListingClaim> = yield* Stream.runCollect(provider.discover(service.dataset))
  for (const claim of claims) {
    assert.deepStrictEqual([claim.provider, claim.dataset], [provider.id, service.dataset])
    assert.isTrue(claim.valid.start < claim.valid.end, `${claim.rawSymbol}: never valid`)
  }
  const found = new Set(claims.map(({ rawSymbol }) => rawSymbol))
  for (const symbol of service.symbols) assert.isTrue(found.has(symbol), `${symbol} was not discovered`)
  assert.isFalse(found.has(service.unknownSymbol))
  const { register } = LocalInstruments.make()
  const instruments = yield* Effect.orDie(register(claims))
  assert.strictEqual(
    new Set(instruments.map(({ id }) => id)).size,
    new Set(claims.map(({ nativeId, rawSymbol }) => rawSymbol ?? nativeId)).size
  )
  const error = yield* failsWith(
    Stream.runDrain(provider.discover("NO.SUCH")),
    ["ProviderBadRequest"],
    "a dataset"
  )
  assert.include(error.message, "NO.SUCH")
})

/**
 * Prerequisite: live data.
 * Action: ask for the health before, during and after.
 * Pass: idle, healthy with the time of the newest data, idle.
 */
const health = card(
  "P-340",
  "health follows the live streams",
  function* (service) {
    const provider = yield* service.connect("valid")
    const { schema } = mainSchema(service, provider.capabilities.live)
    assert.strictEqual((yield* provider.health).state, "idle")
    yield* Effect.scoped(
      Effect.gen(function* () {
        const playing = yield* play(service, provider, schema)
        yield* until(
          Effect.sync(() => playing.rows.length > 0),
          "first rows"
        )
        const during = yield* provider.health
        assert.strictEqual(during.state, "healthy", during.detail)
        assert.isDefined(during.lastDataAt)
        assert.strictEqual(during.reconnects, 0)
      })
    )
    yield* until(
      Effect.map(provider.health, ({ state }) => state === "idle"),
      "idle again"
    )
  },
  "live"
)

/** Cards of what there is. */
export const cards: ReadonlyArray<ProviderCard> = [capabilities, available, estimated, discovered, health]
