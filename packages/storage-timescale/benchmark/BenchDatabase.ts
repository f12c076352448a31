/**
 * Where a benchmark of the store runs: in a new database on the server that `DM_BENCH_URL` names, or else on an embedded
 * server with its ordinary settings (fsync on), which is gone with the benchmark.
 *
 *     npm run bench -- storage-timescale/append --on=timescale     # a TimescaleDB server of Debian's, as `npm run test:timescale`
 *     DM_BENCH_URL=postgresql://... npm run bench -- storage-timescale/append
 */
import { chmodSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Effect } from "effect"
import pg from "pg"
import { EmbeddedServer } from "../src/embedded/index.ts"
import { clientConfig, negotiate, parse, type ServerAddress } from "../src/PgServer.ts"

/** A folder for as long as the scope lives. Started as root, servers run as another user, who must get through. */
export const folder = (name: string) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const made = mkdtempSync(join(tmpdir(), `dm-${name}-`))
      chmodSync(made, 0o755)
      return made
    }),
    (made) => Effect.sync(() => rmSync(made, { recursive: true, force: true }))
  )

const embedded = Effect.gen(function* () {
  const dataDir = join(yield* folder("bench"), "data")
  yield* Effect.addFinalizer(() => Effect.ignore(EmbeddedServer.stop(dataDir, { force: true })))
  return yield* EmbeddedServer.acquire({ dataDir, linger: "1 minute" })
})

const execute = (server: ServerAddress, statement: string) =>
  Effect.promise(async () => {
    const client = new pg.Client(clientConfig(server))
    await client.connect()
    try {
      await client.query(statement)
    } finally {
      await client.end()
    }
  })

/** A new database on a server that is there, removed at the end. */
const databaseOn = (url: string) =>
  Effect.gen(function* () {
    const server = yield* Effect.flatMap(parse(url), negotiate)
    const database = `bench_${crypto.randomUUID().replaceAll("-", "")}`
    yield* Effect.acquireRelease(execute(server, `CREATE DATABASE ${database}`), () =>
      execute(server, `DROP DATABASE ${database} WITH (FORCE)`)
    )
    return { ...server, database }
  })

/** The server of `DM_BENCH_URL`; empty where it names none. */
export const named = process.env.DM_BENCH_URL ?? ""

/** A database on a server, or on the embedded one where `url` is empty, for as long as the scope lives. */
export const database = (url: string = named) => (url === "" ? embedded : databaseOn(url))

/** One line about the server: what it is, and the settings that a figure depends on. */
export const describe = (sql: pg.Client, isEmbedded: boolean): Promise<string> =>
  sql
    .query<{ readonly line: string }>(
      `SELECT concat_ws(', ', 'PostgreSQL ' || split_part(current_setting('server_version'), ' ', 1),
         (SELECT format('TimescaleDB %s (%s)', extversion, CASE current_setting('timescaledb.license', true)
                   WHEN 'timescale' THEN 'community' ELSE 'Apache' END)
          FROM pg_extension WHERE extname = 'timescaledb'),
         'shared_buffers ' || current_setting('shared_buffers'), 'max_wal_size ' || current_setting('max_wal_size'),
         'fsync ' || current_setting('fsync'), 'jit ' || current_setting('jit')) AS line`
    )
    .then(({ rows }) => `server: ${isEmbedded ? "embedded " : ""}${rows[0]!.line}`)
