/** A look into the database of a place, beside whoever else uses it. */
import { PgPool, PgServer } from "@data-manager/storage-timescale"
import { EmbeddedServer } from "@data-manager/storage-timescale/embedded"
import { Effect } from "effect"
import type { Workplace } from "./Dm.ts"

/** The first row of a query. */
export const inDatabase = async <A>(place: Workplace, sql: string): Promise<A> =>
  (await allInDatabase<A>(place, sql))[0]!

/** All rows of a query. */
export const allInDatabase = <A>(place: Workplace, sql: string): Promise<ReadonlyArray<A>> =>
  Effect.runPromise(
    Effect.scoped(
      Effect.gen(function* () {
        const address = yield* EmbeddedServer.acquire({ dataDir: place.dataDir })
        const pool = yield* PgPool.make({ client: PgServer.clientConfig(address), maxConnections: 1 })
        return (yield* pool.query(sql)) as unknown as ReadonlyArray<A>
      })
    )
  )
