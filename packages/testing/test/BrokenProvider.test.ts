/** Each card of the provider suite fails for a provider that is wrong in one thing: none passes whatever comes. */
import {
  type HistoryRequest,
  type Provider,
  ProviderBadRequest,
  ProviderError,
  type ProviderEvent,
  TradeBatch
} from "@data-manager/core"
import { Effect, Exit, Stream } from "effect"
import { assert, describe, it } from "vitest"
import * as BatchRow from "../src/BatchRow.ts"
import * as FastClock from "../src/FastClock.ts"
import * as ProviderSuite from "../src/ProviderSuite.ts"
import type { TestProviderOptions } from "../src/TestProvider.ts"
import { TAPE_START, type TestVenue } from "../src/TestVenue.ts"
import { memoryService } from "./MemoryService.ts"

type Events = Stream.Stream<ProviderEvent, ProviderError>
type Change = (right: Provider, venue: TestVenue) => Partial<Provider>

const history =
  (change: (events: Events, request: HistoryRequest, venue: TestVenue) => Events): Change =>
  ({ history: right }, venue) => ({ history: (request) => change(right(request), request, venue) })

const live =
  (change: (events: Events, venue: TestVenue) => Events): Change =>
  ({ live: right }, venue) => ({ live: (selection, options) => change(right(selection, options), venue) })

const eachBatch = (events: Events, change: (batch: TradeBatch) => ReadonlyArray<TradeBatch>): Events =>
  Stream.flatMap(events, (event) =>
    event._tag === "Batch" && event.batch instanceof TradeBatch
      ? Stream.fromIterable(change(event.batch).map((batch) => ({ _tag: "Batch" as const, batch })))
      : Stream.succeed(event)
  )

/** A copy of a batch whose columns may be written. */
const rewritten = (batch: TradeBatch, write: (copy: TradeBatch) => void): TradeBatch => {
  const copy = BatchRow.select(
    batch,
    Array.from({ length: batch.length }, (_, i) => i)
  )
  write(copy)
  return copy
}

const withKeysPlus = (step: bigint) => (batch: TradeBatch) => [
  rewritten(batch, ({ columns }) =>
    columns.tradeKey.forEach((key, i) => {
      columns.tradeKey[i] = key + step
    })
  )
]

const withoutGaps = (events: Events): Events => Stream.filter(events, (event) => event._tag !== "Gap")

/** A reader that is not ready loses what comes meanwhile. */
const losing = (events: Events): Events => Stream.buffer(events, { capacity: 1, strategy: "sliding" })

/** Counts one more connection than there is, once a reader goes. */
const leaking = (events: Events, venue: TestVenue): Events =>
  Stream.ensuring(
    events,
    Effect.sync(() => {
      venue.open += 1
    })
  )

const bad = (detail: string): ProviderError =>
  new ProviderError({ provider: "test", operation: "history", reason: new ProviderBadRequest({ detail }) })

interface Mutant {
  readonly name: string
  readonly options?: TestProviderOptions | undefined
  readonly change: Change
  readonly catches: ReadonlyArray<string>
}

const mutants: ReadonlyArray<Mutant> = [
  {
    name: "leaves the first row of a batch out",
    change: history((events) => eachBatch(events, (batch) => (batch.length > 1 ? [batch.slice(1)] : []))),
    catches: ["P-010"]
  },
  {
    name: "takes the end of a range for its last moment",
    change: ({ history: right }) => ({
      history: (request) =>
        right({ ...request, range: { start: request.range.start, end: request.range.end + 1n } })
    }),
    catches: ["P-020"]
  },
  {
    name: "counts keys from the beginning of each request",
    change: history((events, { range }, venue) =>
      range.start === venue.range.start ? events : eachBatch(events, withKeysPlus(1n))
    ),
    catches: ["P-030"]
  },
  {
    name: "gives all symbols",
    change: ({ history: right, live: rightLive }, { symbols }) => ({
      history: (request) => right({ ...request, symbols }),
      live: (selection, options) => rightLive({ ...selection, symbols }, options)
    }),
    catches: ["P-040", "P-120", "P-410"]
  },
  {
    name: "fails where there are no rows",
    change: history((events) => {
      let rows = 0
      return Stream.concat(
        Stream.tap(events, (event) =>
          Effect.sync(() => {
            if (event._tag === "Batch") rows += event.batch.length
          })
        ),
        Stream.unwrap(Effect.sync(() => (rows === 0 ? Stream.fail(bad("nothing")) : Stream.empty)))
      )
    }),
    catches: ["P-050"]
  },
  {
    name: "fills one batch again and again",
    change: history((events) => {
      let before: TradeBatch | undefined
      return eachBatch(events, (batch) => {
        before?.columns.size.fill(0n)
        before = batch
        return [batch]
      })
    }),
    catches: ["P-060"]
  },
  {
    name: "gives empty batches",
    change: history((events) => eachBatch(events, (batch) => [batch.slice(0, 0), batch])),
    catches: ["P-060"]
  },
  {
    name: "gives rows twice",
    change: history((events) => eachBatch(events, (batch) => [batch, batch])),
    catches: ["P-010", "P-070"]
  },
  {
    name: "keeps a request open",
    change: history((events, _, venue) => leaking(events, venue)),
    catches: ["P-100"]
  },
  { name: "loses rows of a slow reader", change: history(losing), catches: ["P-110"] },
  {
    name: "answers with an empty stream whatever is asked",
    change: () => ({ history: () => Stream.empty, live: () => Stream.empty }),
    catches: ["P-010", "P-130", "P-200", "P-210", "P-480"]
  },
  {
    name: "takes an unknown symbol for the end of everything",
    change: ({ history: right }) => ({
      history: (request) => (request.symbols.includes("NONE") ? Stream.empty : right(request))
    }),
    catches: ["P-130", "P-140"]
  },
  {
    name: "gives what it has instead of what does not exist",
    change: ({ history: right }, { range }) => ({
      history: (request) => right(request.range.start >= range.end ? { ...request, range } : request)
    }),
    catches: ["P-150"]
  },
  {
    name: "shows the key",
    change: history((events) =>
      Stream.mapError(events, (error) =>
        error.reason._tag === "ProviderUnauthorized"
          ? new ProviderError({ ...error, cause: { sent: "the key" } })
          : error
      )
    ),
    catches: ["P-200"]
  },
  {
    name: "takes every end for a good one",
    change: history((events) =>
      Stream.catch(events, (error) =>
        error.reason._tag === "ProviderBadRequest" || error.reason._tag === "ProviderUnauthorized"
          ? Stream.fail(error)
          : Stream.empty
      )
    ),
    catches: ["P-220", "P-230", "P-240", "P-250"]
  },
  {
    name: "says that everything is the user's fault",
    change: history((events) => Stream.mapError(events, () => bad("something"))),
    catches: ["P-200", "P-220", "P-230", "P-240"]
  },
  {
    name: "dies of bytes that it does not understand",
    change: history((events) =>
      Stream.catch(events, (error) =>
        error.reason._tag === "ProviderMalformed"
          ? Stream.die(new SyntaxError("unexpected <"))
          : Stream.fail(error)
      )
    ),
    catches: ["P-250"]
  },
  { name: "has an id that no table can have", change: () => ({ id: "Test" }), catches: ["P-300"] },
  {
    name: "forgets the last row in what is available",
    change: (_, { range, tape }) => ({
      availableRange: () => Effect.succeed({ start: range.start, end: tape[tape.length - 1]!.tsRecv })
    }),
    catches: ["P-310"]
  },
  {
    name: "fetches rows to count them",
    change: ({ estimate }, venue) => ({
      estimate: (request) =>
        Effect.tap(estimate(request), () =>
          Effect.sync(() => {
            venue.historyRequests += 1
          })
        )
    }),
    catches: ["P-320"]
  },
  {
    name: "does not find the first symbol",
    change: ({ discover }) => ({ discover: (dataset) => Stream.drop(discover(dataset), 1) }),
    catches: ["P-330"]
  },
  {
    name: "does not know how it is doing",
    change: () => ({ health: Effect.succeed({ state: "idle", reconnects: 0, detail: "" } as const) }),
    catches: ["P-340", "P-420", "P-430", "P-440"]
  },
  {
    name: "has other keys live",
    change: live((events) => eachBatch(events, withKeysPlus(1n << 50n))),
    catches: ["P-400"]
  },
  {
    name: "says nothing of what is lost while it reconnects",
    options: { capabilities: { replaySeconds: 0 } },
    change: live(withoutGaps),
    catches: ["P-420", "P-430", "P-440", "P-450"]
  },
  {
    name: "begins its live rows anew with each session",
    change: live((events) => eachBatch(events, (batch) => [batch, batch.slice(0, 1)])),
    catches: ["P-400", "P-420", "P-430", "P-440", "P-470"]
  },
  { name: "keeps a live connection open", change: live(leaking), catches: ["P-460"] },
  { name: "loses live rows of a slow reader", change: live(losing), catches: ["P-470"] },
  {
    name: "replays from where it likes",
    change: ({ live: right }, { range }) => ({
      live: (selection, { from } = {}) => right(selection, from === undefined ? {} : { from: range.start })
    }),
    catches: ["P-490"]
  }
]

const check = (id: string, { change, options = {} }: Mutant) => {
  const card = ProviderSuite.cards.find((one) => one.id === id)
  if (card === undefined) throw new Error(`there is no card ${id}`)
  const target = {
    service: Effect.sync(() =>
      memoryService(options, (right, venue) => ({ ...right, ...change(right, venue) }))
    ),
    clock: () => FastClock.make(TAPE_START + 60_000_000_000n)
  }
  return Effect.runPromise(
    Effect.provideService(Effect.exit(ProviderSuite.check(card, target)), FastClock.Patience, 1000)
  )
}

describe("a provider that", () => {
  for (const mutant of mutants) {
    const { catches, name } = mutant
    it(`${name} fails ${catches.join(", ")}`, async () => {
      const exits = await Promise.all(catches.map((id) => check(id, mutant)))
      assert.deepStrictEqual(
        catches.filter((_, i) => Exit.isSuccess(exits[i]!)),
        [],
        "cards that passed"
      )
    })
  }

  it("is wrong in one thing exists for every card", () => {
    const caught = new Set(mutants.flatMap(({ catches }) => catches))
    assert.deepStrictEqual(
      ProviderSuite.cards.map(({ id }) => id).filter((id) => !caught.has(id)),
      []
    )
  })
})
