/**
 * The conformance suite of `Provider`: numbered cards, each a requirement with its prerequisite, action and pass criterion
 * in the comment above it. Numbers are spaced, so that cards can be inserted; a number never changes its meaning.
 *
 *     ProviderSuite.run("acme", { service: AcmeService.make({ trades }) })
 *
 * Every card has a service of its own: a venue on this machine that speaks the provider's protocol, with a tape whose rows
 * are known and with faults on request (`ProviderService`).
 */
import { describe, it } from "@effect/vitest"
import { Clock, Effect, Logger, type Scope } from "effect"
import type { CardError, ProviderCard } from "./ProviderCard.ts"
import { assertNoSecret } from "./ProviderCard.ts"
import { cards as catalogueCards } from "./ProviderCatalogueCard.ts"
import { cards as failureCards } from "./ProviderFailureCard.ts"
import { cards as historyCards } from "./ProviderHistoryCard.ts"
import { cards as liveCards } from "./ProviderLiveCard.ts"
import type { ProviderUnderTest } from "./ProviderService.ts"

/** Every card, by number. */
export const cards: ReadonlyArray<ProviderCard> = [
  ...historyCards,
  ...failureCards,
  ...catalogueCards,
  ...liveCards
]

/** How the suite is run. */
export interface ProviderSuiteOptions {
  /** Cards that are left out, each with the reason, which reporters print: `{ "P-200": "the venue takes no keys" }`. */
  readonly skip?: { readonly [id: string]: string } | undefined
  /** Time that one card may take, in real milliseconds; default 30,000. */
  readonly timeout?: number | undefined
}

/** Registers one test per card with vitest, each against a service of its own. */
export const run = <E>(
  name: string,
  target: ProviderUnderTest<E>,
  options: ProviderSuiteOptions = {}
): void => {
  const skip = checkedReasons(options.skip ?? {})
  describe(`ProviderSuite: ${name}`, () => {
    for (const card of cards)
      it(
        `${card.id} ${card.title}`,
        async (context) => {
          const reason = skip[card.id] ?? (await Effect.runPromise(lacking(card, target)))
          if (reason !== undefined) return context.skip(reason)
          await Effect.runPromise(check(card, target))
        },
        options.timeout ?? 30_000
      )
  })
}

/** Checks one card on a service of its own, without vitest: fails or dies where the card does not pass. */
export const check = <E>(
  card: ProviderCard,
  target: ProviderUnderTest<E>
): Effect.Effect<void, E | CardError> =>
  onClock(
    target,
    Effect.gen(function* () {
      const service = yield* target.service
      const logged: Array<unknown> = []
      const logger = Logger.make(({ cause, message }) => void logged.push(message, cause))
      const outcome = yield* Effect.exit(
        Effect.provide(Effect.scoped(card.check(service)), Logger.layer([logger]))
      )
      assertNoSecret(service, logged)
      yield* outcome
    })
  )

/** What the provider cannot do and the card needs. */
const lacking = <E>({ needs }: ProviderCard, target: ProviderUnderTest<E>) =>
  needs === undefined
    ? Effect.succeed(undefined)
    : onClock(
        target,
        Effect.gen(function* () {
          const { capabilities } = yield* Effect.flatMap(target.service, (service) =>
            service.connect("valid")
          )
          if (capabilities.live.length === 0) return "the provider has no live data"
          return needs === "replay" && capabilities.replaySeconds === 0
            ? "the provider has no replay"
            : undefined
        })
      )

const onClock = <E, A, E2>(
  { clock }: ProviderUnderTest<E>,
  effect: Effect.Effect<A, E2, Scope.Scope>
): Effect.Effect<A, E2> =>
  clock === undefined
    ? Effect.scoped(effect)
    : Effect.suspend(() => Effect.provideService(Effect.scoped(effect), Clock.Clock, clock()))

const checkedReasons = (skip: { readonly [id: string]: string }): { readonly [id: string]: string } => {
  for (const [id, reason] of Object.entries(skip)) {
    if (!cards.some((card) => card.id === id))
      throw new Error(`ProviderSuite: there is no card ${id} to skip`)
    if (reason.trim() === "") throw new Error(`ProviderSuite: skipping ${id} needs a reason`)
  }
  return skip
}
