/** What is said when a server, a login or a database is not as it should be. */
import type { StoreError } from "@data-manager/core"
import { StoreMigrations } from "@data-manager/core"
import { Effect } from "effect"
import { assert } from "vitest"
import * as PgServer from "../../src/PgServer.ts"
import * as TimescaleStore from "../../src/TimescaleStore.ts"

/** Applies all migrations to the database of a URL, as `dm migrate --up` does. */
export const migrate = (url: string) =>
  PgServer.parse(url).pipe(
    Effect.flatMap(PgServer.negotiate),
    Effect.flatMap((server) =>
      StoreMigrations.use(({ up }) => up()).pipe(Effect.provide(TimescaleStore.layerMigrations(server)))
    )
  )

/** The typed error of an effect that must fail. */
export const failureOf = <A>(effect: Effect.Effect<A, StoreError>): Promise<StoreError> =>
  Effect.runPromise(Effect.flip(effect))

/** Whether an error is of this kind and says all of this, on one line. */
export const assertSays = (
  error: StoreError,
  reason: StoreError["reason"]["_tag"],
  ...words: ReadonlyArray<RegExp>
): void => {
  assert.strictEqual(error.reason._tag, reason, error.message)
  for (const word of words) assert.match(error.message, word)
  assert.notInclude(error.message, "\n")
}
