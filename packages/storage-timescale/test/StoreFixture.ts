/** A migrated database of one test file, and what tests of writing need beside the store: raw SQL and instruments. */
import { randomUUID } from "node:crypto"
import { type AppendClaim, type BatchContext, batchContext, type StoreError } from "@data-manager/core"
import { Effect, Exit, Scope } from "effect"
import * as Append from "../src/Append.ts"
import * as Ledger from "../src/Ledger.ts"
import * as Migrations from "../src/Migrations.ts"
import * as Partitions from "../src/Partitions.ts"
import * as PgPool from "../src/PgPool.ts"
import { clientConfig } from "../src/ServerAddress.ts"
import { createDatabase, type TestDatabase } from "./TestServer.ts"

/** The writing half of a store, without layers. */
export interface Writer {
  readonly pool: PgPool.PgPool
  readonly partitions: Partitions.Partitions
  readonly append: ReturnType<typeof Append.make>["append"]
  readonly ledger: ReturnType<typeof Ledger.make>
}

/** A database and programs on it. `close` ends them and drops it. */
export interface StoreFixture {
  readonly database: TestDatabase
  readonly writer: Writer
  /** Another program on the same database. */
  readonly connect: (options?: Append.AppendOptions) => Promise<Writer>
  readonly run: <A, E>(effect: Effect.Effect<A, E>) => Promise<A>
  readonly sql: <Row extends PgPool.SqlRow = PgPool.SqlRow>(
    text: string,
    values?: ReadonlyArray<unknown>
  ) => Promise<ReadonlyArray<Row>>
  readonly close: () => Promise<void>
}

/** Opens the writing half of a store on a database. */
export const openWriter = (
  database: TestDatabase,
  options?: Append.AppendOptions
): Effect.Effect<Writer, StoreError, Scope.Scope> =>
  Effect.gen(function* () {
    const pool = yield* PgPool.make({ client: clientConfig(database.address), maxConnections: 4 })
    const partitions = Partitions.make(pool)
    return {
      pool,
      partitions,
      append: Append.make(pool, partitions, options).append,
      ledger: Ledger.make(pool)
    }
  })

/** A migrated database: a new one, or the given one. */
export const openStore = async (given?: TestDatabase): Promise<StoreFixture> => {
  const database = given ?? (await createDatabase(process.env.DM_TEST_DATABASE_URL))
  const scope = Effect.runSync(Scope.make())
  const connect = (options?: Append.AppendOptions) =>
    Effect.runPromise(Scope.provide(openWriter(database, options), scope))
  const writer = await connect()
  await Effect.runPromise(Migrations.make(writer.pool).up())
  return {
    database,
    writer,
    connect,
    run: Effect.runPromise,
    sql: (text, values) => Effect.runPromise(writer.pool.query(text, values)) as never,
    close: async () => {
      await Effect.runPromise(Scope.close(scope, Exit.void))
      await database.drop()
    }
  }
}

/** Instruments of a dataset of their own, at the given scales, straight into the table. */
export const instruments = async (
  store: StoreFixture,
  scales: ReadonlyArray<readonly [price: number, size: number]>,
  context: Partial<BatchContext> = {}
): Promise<{ readonly ids: ReadonlyArray<number>; readonly context: BatchContext }> => {
  const dataset = `TEST.${randomUUID().slice(0, 8)}`
  const [row] = await store.sql<{ readonly id: number }>(
    "INSERT INTO datasets (provider, name) VALUES ('test', $1) RETURNING id",
    [dataset]
  )
  const ids: Array<number> = []
  for (const [i, [price, size]] of scales.entries()) {
    const [made] = await store.sql<{ readonly id: number }>(
      `INSERT INTO instruments (dataset_id, symbol, raw_symbol, price_scale, size_scale, price_unit, size_unit)
       VALUES ($1, $2, $3, $4, $5, ('1e-' || $4::int2)::numeric, ('1e-' || $5::int2)::numeric) RETURNING id`,
      [row!.id, `${dataset}:S${i}`, `S${i}`, price, size]
    )
    ids.push(made!.id)
  }
  return { ids, context: batchContext({ provider: "test", dataset, ...context }) }
}

/** Appends batches as one run; gives the results. */
export const appendAll = Effect.fnUntraced(function* (
  writer: Writer,
  batches: ReadonlyArray<Parameters<Writer["append"]>[0]>,
  claim: Pick<AppendClaim, "onConflict" | "profile"> = {}
) {
  const run = yield* writer.ledger.beginRun({
    kind: "import",
    source: "test",
    provider: "test",
    dataset: "TEST"
  })
  const results = []
  for (const [segment, batch] of batches.entries())
    results.push(yield* writer.append(batch, { run: run.id, segment, ...claim }))
  return results
})
