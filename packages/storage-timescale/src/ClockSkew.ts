/** How far the server's clock is from this machine's. */
import type { StoreError } from "@data-manager/core"
import { Clock, Effect } from "effect"
import type { PgConnection, SqlRow } from "./PgPool.ts"

/** Milliseconds since the epoch on the server; asked on a session that exists, so that the way there is short. */
const clockQuery = "SELECT (extract(epoch from clock_timestamp()) * 1000)::float8 AS now"

/** The server's clock minus this machine's, half of the round trip taken off. Milliseconds. */
export const measure = (connection: Pick<PgConnection, "query">): Effect.Effect<number, StoreError> =>
  Effect.gen(function* () {
    const before = yield* Clock.currentTimeMillis
    const [row] = yield* connection.query<SqlRow & { readonly now: number }>(clockQuery)
    const after = yield* Clock.currentTimeMillis
    return row!.now - (before + after) / 2
  })
