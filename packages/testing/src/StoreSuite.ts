/**
 * The conformance suite of `MarketStore`: numbered cards, each a requirement with its prerequisite, action and pass
 * criterion in the comment above it. Numbers are spaced, so that cards can be inserted; a number never changes its
 * meaning.
 *
 *     StoreSuite.run("my store", { database: freshDatabase })
 *
 * Most cards share one database and use datasets of their own in it; some need a database alone, some an empty one.
 */
import { MarketStore, type StoreError, StoreMigrations } from "@data-manager/core"
import { describe, it, layer } from "@effect/vitest"
import { Context, Effect, Layer, type Scope } from "effect"
import { cards as appendCards } from "./StoreAppendCard.ts"
import { cards as barCards } from "./StoreBarCard.ts"
import { type StoreCard, type StoreDatabase, StoreFixture } from "./StoreCard.ts"
import { cards as concurrencyCards } from "./StoreConcurrencyCard.ts"
import { cards as coverageCards } from "./StoreCoverageCard.ts"
import { cards as feedCards } from "./StoreFeedCard.ts"
import { cards as identityCards } from "./StoreIdentityCard.ts"
import { cards as instrumentCards } from "./StoreInstrumentCard.ts"
import { cards as interleavingCards } from "./StoreInterleavingCard.ts"
import { cards as leaseCards } from "./StoreLeaseCard.ts"
import { cards as ledgerCards } from "./StoreLedgerCard.ts"
import { cards as operationCards } from "./StoreOperationCard.ts"
import { cards as readCards } from "./StoreReadCard.ts"

/** Every card, by number. */
export const cards: ReadonlyArray<StoreCard> = [
  ...appendCards,
  ...identityCards,
  ...ledgerCards,
  ...concurrencyCards,
  ...coverageCards,
  ...feedCards,
  ...readCards,
  ...barCards,
  ...instrumentCards,
  ...operationCards,
  ...interleavingCards,
  ...leaseCards
]

/** What is tested. */
export interface StoreUnderTest<E> {
  /**
   * Makes a new, empty database without any schema; it may be dropped when the scope closes. Called for the cards that
   * need one of their own, and once for all others together.
   */
  readonly database: Effect.Effect<StoreDatabase, E, Scope.Scope>
}

/** How the suite is run. */
export interface StoreSuiteOptions {
  /**
   * Cards that are left out, each with the reason, which reporters print: `{ "S-910": "keeps everything for ever" }`.
   */
  readonly skip?: { readonly [id: string]: string } | undefined
  /** Time that one card may take, in milliseconds; default 30,000. */
  readonly timeout?: number | undefined
}

/** Registers one test per card with vitest, against stores on databases of `target`. */
export const run = <E>(name: string, target: StoreUnderTest<E>, options: StoreSuiteOptions = {}): void => {
  const skip = checkedReasons(options.skip ?? {})
  const timeout = options.timeout ?? 30_000
  const shared = cards.filter((card) => card.database === "shared" && skip[card.id] === undefined)
  const alone = cards.filter((card) => card.database !== "shared" && skip[card.id] === undefined)
  describe(`StoreSuite: ${name}`, () => {
    layer(fixture(target), { excludeTestServices: true, timeout: 60_000 })((test) => {
      for (const card of shared)
        if (card.database === "shared") test.effect(titleOf(card), () => card.check, timeout)
    })
    for (const card of alone) it.live(titleOf(card), () => check(card, target), timeout)
    for (const [id, reason] of Object.entries(skip)) {
      const card = cards.find((each) => each.id === id)!
      it(titleOf(card), (context) => context.skip(reason))
    }
  })
}

/** Checks one card on a database of its own, without vitest: fails or dies where the card does not pass. */
export const check = <E>(card: StoreCard, target: StoreUnderTest<E>): Effect.Effect<void, E | StoreError> =>
  Effect.scoped(
    card.database === "empty"
      ? Effect.flatMap(target.database, card.check)
      : Effect.provide(card.check, fixture(target))
  )

const titleOf = (card: StoreCard): string => `${card.id} ${card.title}`

const fixture = <E>(target: StoreUnderTest<E>): Layer.Layer<StoreFixture, E | StoreError> =>
  Layer.effect(
    StoreFixture,
    Effect.gen(function* () {
      const database = yield* target.database
      yield* Effect.scoped(
        Effect.flatMap(Layer.build(Layer.fresh(database.migrations)), (context) =>
          Context.get(context, StoreMigrations).up()
        )
      )
      const connect = Effect.map(Layer.build(Layer.fresh(database.store)), (context) =>
        Context.get(context, MarketStore)
      )
      return StoreFixture.of({ first: yield* connect, second: yield* connect })
    })
  )

const checkedReasons = (skip: { readonly [id: string]: string }): { readonly [id: string]: string } => {
  for (const [id, reason] of Object.entries(skip)) {
    if (!cards.some((card) => card.id === id)) throw new Error(`StoreSuite: there is no card ${id} to skip`)
    if (reason.trim() === "") throw new Error(`StoreSuite: skipping ${id} needs a reason`)
  }
  return skip
}
