/**
 * What a card of the provider suite is, and the few things that all cards do: connect, read rows as lines that can be
 * compared, play live data until the tape has run out, and see that no secret was told.
 */
import { inspect } from "node:util"
import {
  ABSENT_I64,
  type ConfigError,
  type HistoryRequest,
  type MarketBatch,
  MarketSchema,
  type Provider,
  type ProviderError,
  type ProviderErrorReason,
  type ProviderEvent,
  UnixNanos
} from "@data-manager/core"
import { Cause, Effect, Exit, Fiber, type Scope, Stream } from "effect"
import { assert } from "vitest"
import * as BatchRow from "./BatchRow.ts"
import { realSleep, until } from "./FastClock.ts"
import type { ProviderService } from "./ProviderService.ts"

/** How a card's check can fail beside an assertion. */
export type CardError = ProviderError | ConfigError

/** A numbered requirement. Its check fails with the provider's error or dies with an assertion error. */
export interface ProviderCard {
  readonly id: string
  readonly title: string
  /** What a provider must be able to do for the card to say anything. */
  readonly needs?: "live" | "replay" | undefined
  readonly check: (service: ProviderService) => Effect.Effect<void, CardError, Scope.Scope>
}

/** A card. */
export const card = (
  id: string,
  title: string,
  check: (service: ProviderService) => Generator<Effect.Effect<unknown, CardError, Scope.Scope>, void, never>,
  needs?: ProviderCard["needs"]
): ProviderCard => ({ id, title, needs, check: (service) => Effect.gen(() => check(service)) })

/** One row, from the tape or from a provider. */
export interface Row {
  readonly symbol: string
  /** On the index clock. */
  readonly time: bigint
  /** On the venue's clock. */
  readonly tsEvent: bigint
  /** Equal for two rows that cannot both be stored. */
  readonly identity: string
  /** Everything; equal exactly where the rows are. */
  readonly line: string
}

/** The row's time on a clock, and its event time where it has no capture. */
const indexTime = (batch: MarketBatch, i: number, clock: MarketSchema.RowClock): bigint => {
  const received = batch._tag === "BarBatch" ? ABSENT_I64 : batch.columns.tsRecv[i]!
  return clock === "ts_event" || received === ABSENT_I64 ? batch.columns.tsEvent[i]! : received
}

/** Rows of a batch, instruments by name: ids mean nothing outside of the process that gave them. */
export const rowsOf = (service: ProviderService, schema: MarketSchema.MarketSchema, batch: MarketBatch) =>
  BatchRow.of(batch).map((row, i): Row => {
    const symbol = batch.context.instruments.get(row.instrument)?.rawSymbol ?? `#${row.instrument}`
    const time = indexTime(batch, i, service.clock(schema))
    const text = BatchRow.text({ ...row, instrument: 0 }).slice(2)
    return {
      symbol,
      time,
      tsEvent: batch.columns.tsEvent[i]!,
      identity: `${symbol} ${row.series} ${UnixNanos.floorMicros(row.time)} ${row.key}`,
      line: `${UnixNanos.toIso(time)} ${symbol} ${text}`
    }
  })

/** The tape of a schema as rows. */
export const tapeOf = (service: ProviderService, schema: MarketSchema.MarketSchema): ReadonlyArray<Row> =>
  service.rows(schema).flatMap((batch) => rowsOf(service, schema, batch))

/** Schemas that the provider offers and the tape has; there is at least one. */
export const schemasOf = (service: ProviderService, offered: ReadonlyArray<MarketSchema.MarketSchema>) => {
  const schemas = offered.filter((schema) => service.rows(schema).length > 0)
  assert.isNotEmpty(schemas, `the service has rows of none of ${offered.join(", ")}`)
  return schemas
}

/** The schema on which cards work that need one alone: the one with the longest tape. */
export const mainSchema = (service: ProviderService, offered: ReadonlyArray<MarketSchema.MarketSchema>) => {
  const lengths = schemasOf(service, offered).map((schema) => ({ schema, rows: tapeOf(service, schema) }))
  const longest = lengths.reduce((best, one) => (one.rows.length > best.rows.length ? one : best))
  assert.isAtLeast(longest.rows.length, 200, "a tape of at least 200 rows is needed")
  return longest
}

/** All symbols and all of the time, changed in parts. */
export const request = (
  service: ProviderService,
  schema: MarketSchema.MarketSchema,
  change: Partial<HistoryRequest> = {}
): HistoryRequest => ({
  dataset: service.dataset,
  symbols: service.symbols,
  stypeIn: "raw_symbol",
  schema,
  range: service.range,
  ...change
})

/** A stream that was read to an end: its events, its rows as they were when they came, and how it ended. */
export interface Reading {
  readonly events: ReadonlyArray<ProviderEvent>
  readonly rows: ReadonlyArray<Row>
  readonly exit: Exit.Exit<void, CardError>
}

/** Reads past data to its end, whichever it is. */
export const readAll = (
  service: ProviderService,
  provider: Provider,
  what: HistoryRequest
): Effect.Effect<Reading> =>
  Effect.gen(function* () {
    const events: Array<ProviderEvent> = []
    const rows: Array<Row> = []
    const exit = yield* Effect.exit(
      Stream.runForEach(provider.history(what), (event) =>
        Effect.sync(() => {
          events.push(event)
          if (event._tag === "Batch") rows.push(...rowsOf(service, what.schema, event.batch))
        })
      )
    )
    return { events, rows, exit }
  })

/** Rows of past data; the stream must end well. */
export const read = (service: ProviderService, provider: Provider, what: HistoryRequest) =>
  Effect.flatMap(readAll(service, provider, what), ({ exit, rows }) => Effect.as(exit, rows))

/** The same lines, whatever the order of rows of one time; times must not go back. */
export const assertSame = (actual: ReadonlyArray<Row>, expected: ReadonlyArray<Row>, what: string): void => {
  for (let i = 1; i < actual.length; i++)
    assert.isTrue(
      actual[i - 1]!.time <= actual[i]!.time,
      `${what}: not in index-clock order at row ${i}:\n${actual[i - 1]!.line}\n${actual[i]!.line}`
    )
  assert.deepStrictEqual(linesOf(actual), linesOf(expected), what)
}

/** The lines, sorted. */
export const linesOf = (rows: ReadonlyArray<Row>): ReadonlyArray<string> =>
  rows.map(({ line }) => line).sort()

/** The error of an effect that must fail for a reason of these. Anything else, success included, is an assertion error. */
export const failsWith = <A, R>(
  effect: Effect.Effect<A, CardError, R>,
  reasons: ReadonlyArray<ProviderErrorReason["_tag"] | "ConfigError">,
  what: string
): Effect.Effect<CardError, never, R> =>
  Effect.map(Effect.exit(effect), (exit) => {
    if (Exit.isSuccess(exit)) return assert.fail(`${what}: it succeeded`)
    return reasonIn(exit.cause, reasons, what)
  })

/** The same for an exit that is at hand. */
export const reasonIn = (
  cause: Cause.Cause<CardError>,
  reasons: ReadonlyArray<ProviderErrorReason["_tag"] | "ConfigError">,
  what: string
): CardError => {
  const error = cause.reasons.find(Cause.isFailReason)?.error
  if (error === undefined) return assert.fail(`${what}: no typed failure but\n${Cause.pretty(cause)}`)
  const tag = error._tag === "ConfigError" ? error._tag : error.reason._tag
  assert.include(reasons, tag, `${what}: ${error.message}`)
  assert.isAbove(error.message.length, 10, `${what}: an error that says something`)
  return error
}

/** Nothing that a provider said contains a secret. */
export const assertNoSecret = (service: ProviderService, said: ReadonlyArray<unknown>): void => {
  for (const thing of said) {
    const text = typeof thing === "string" ? thing : inspect(thing, { depth: 8, showHidden: true })
    for (const secret of service.secrets) assert.notInclude(text, secret, "a secret was told")
  }
}

/** Live data while it is played. */
export interface LivePlay {
  readonly events: Array<ProviderEvent>
  readonly rows: Array<Row>
  /** How it ended, where it did. */
  exit: Exit.Exit<void, CardError> | undefined
}

/** How live data is played. */
export interface PlayOptions {
  readonly symbols?: ReadonlyArray<string> | undefined
  readonly from?: bigint | undefined
  /** Before the next event is taken. */
  readonly pace?: ((play: LivePlay) => Effect.Effect<void>) | undefined
}

/** Reads live data in the background, until the scope closes. */
export const play = (
  service: ProviderService,
  provider: Provider,
  schema: MarketSchema.MarketSchema,
  options: PlayOptions = {}
): Effect.Effect<LivePlay, never, Scope.Scope> =>
  Effect.gen(function* () {
    const playing: LivePlay = { events: [], rows: [], exit: undefined }
    const selection = request(service, schema, {
      ...(options.symbols === undefined ? {} : { symbols: options.symbols })
    })
    const stream = provider.live(selection, { from: options.from })
    const take = (event: ProviderEvent) => {
      playing.events.push(event)
      if (event._tag === "Batch") playing.rows.push(...rowsOf(service, schema, event.batch))
      return options.pace?.(playing) ?? Effect.void
    }
    yield* Stream.runForEach(stream, take).pipe(
      Effect.onExit((exit) =>
        Effect.sync(() => {
          playing.exit = exit
        })
      ),
      Effect.exit,
      Effect.forkScoped
    )
    return playing
  })

/** Waits until the last row of the tape was played or told as lost, and a little for what should not come any more. */
export const untilPlayed = (playing: LivePlay, tape: ReadonlyArray<Row>): Effect.Effect<void> => {
  const last = tape[tape.length - 1]!
  let checked = 0
  let isOver = false
  const look = Effect.sync(() => {
    for (; checked < playing.rows.length; checked++) isOver ||= playing.rows[checked]!.line === last.line
    return isOver || playing.exit !== undefined || gapsOf(playing).some((gap) => gap.range.end > last.time)
  })
  return Effect.andThen(until(look, `the last row of the tape: ${last.line}`), realSleep(30))
}

/** Losses that were told. */
export const gapsOf = ({ events }: { readonly events: ReadonlyArray<ProviderEvent> }) =>
  events.flatMap((event) => (event._tag === "Gap" ? [event] : []))

/**
 * Every row of the tape was played once, or lies in a gap that was told; nothing else was played; rows of one instrument
 * came in order. Answers with the rows that are missing.
 */
export const assertAccounted = (playing: LivePlay, tape: ReadonlyArray<Row>): ReadonlyArray<Row> => {
  if (playing.exit !== undefined) assert.fail(`the live stream ended: ${inspect(playing.exit, { depth: 5 })}`)
  const seen = new Set<string>()
  const newest = new Map<string, bigint>()
  const known = new Set(tape.map(({ line }) => line))
  for (const { identity, line, symbol, time } of playing.rows) {
    assert.isTrue(known.has(line), `a row that the tape does not have: ${line}`)
    assert.isFalse(seen.has(identity), `a row came twice: ${line}`)
    seen.add(identity)
    assert.isTrue(time >= (newest.get(symbol) ?? time), `a row of ${symbol} came late: ${line}`)
    newest.set(symbol, time)
  }
  const gaps = gapsOf(playing)
  const missing = tape.filter(({ identity }) => !seen.has(identity))
  for (const { line, time } of missing)
    assert.isTrue(
      gaps.some(({ range }) => range.start <= time && time < range.end),
      `lost without a gap: ${line}\n${gaps.length} gaps: ${inspect(gaps.slice(0, 5), { depth: 5 })}`
    )
  return missing
}

/** All rows, no gap. */
export const assertWhole = (playing: LivePlay, tape: ReadonlyArray<Row>): void => {
  assert.isEmpty(
    assertAccounted(playing, tape),
    "rows are missing although the provider can ask for them again"
  )
  assert.isEmpty(gapsOf(playing), "a gap where nothing was lost")
}

/** The service has no connection and no request open any more. */
export const untilClosed = (service: ProviderService, what: string): Effect.Effect<void> =>
  until(
    Effect.map(service.open, (open) => open === 0),
    `${what}: all connections closed`
  )

/** The reader of `effect` is interrupted once `holds`. */
export const interruptWhen = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  holds: Effect.Effect<boolean>,
  what: string
): Effect.Effect<void, never, R | Scope.Scope> =>
  Effect.gen(function* () {
    const fiber = yield* Effect.forkScoped(effect)
    yield* until(holds, what)
    yield* Fiber.interrupt(fiber)
  })

/** Whether the provider can ask for what was missed. */
export const hasReplay = (provider: Provider): boolean => provider.capabilities.replaySeconds > 0

/** Names of all schemas, for requests that a provider cannot serve. */
export const schemaNotIn = (offered: ReadonlyArray<MarketSchema.MarketSchema>) =>
  MarketSchema.all.find((schema) => !offered.includes(schema))
