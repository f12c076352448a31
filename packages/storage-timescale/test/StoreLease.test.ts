/** What a lease does to the sessions of a holder that is frozen, and of one that the server has lost. */
import { mkdtempSync, rmSync } from "node:fs"
import { connect, createServer, type Socket } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { StoreMigrations } from "@data-manager/core"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Fiber, Layer, Scope } from "effect"
import { StoreLease, TimescaleStore } from "../src/index.ts"
import * as PgPool from "../src/PgPool.ts"
import { clientConfig, type ServerAddress } from "../src/ServerAddress.ts"
import { createDatabase, whyMissing } from "./TestServer.ts"

const missing = await whyMissing()

const database = Effect.acquireRelease(
  Effect.promise(() => createDatabase()),
  (found) => Effect.promise(() => found.drop())
).pipe(
  Effect.tap(({ address }) =>
    Effect.scoped(
      Effect.asVoid(
        TimescaleStore.layerMigrations(address).pipe((layer) =>
          Effect.flatMap(Layer.build(layer), (context) => Context.get(context, StoreMigrations).up())
        )
      )
    )
  ),
  Effect.map(({ address }) => address)
)

const lease = (server: ServerAddress, holder: string, heartbeat = 100) =>
  StoreLease.make({ server, name: "it's", holder, heartbeat, silence: 500 })

const plain = (server: ServerAddress) => PgPool.make({ client: clientConfig(server), maxConnections: 2 })

const fencedPool = (server: ServerAddress, epoch: bigint) =>
  PgPool.make({
    client: clientConfig(server, "frozen"),
    maxConnections: 2,
    fence: { name: "it's", epoch },
    isFenced: true
  })

/** A way to the server that can be cut: what is sent gets nowhere, and nobody is told. */
const cableTo = (server: ServerAddress) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const folder = mkdtempSync(join(tmpdir(), "dm-cable-"))
      const name = `.s.PGSQL.${server.port}`
      const pairs = new Set<readonly [Socket, Socket]>()
      let isCut = false
      const proxy = createServer((near) => {
        const far = connect(join(server.host, name))
        pairs.add([near, far])
        for (const [from, to] of [
          [near, far],
          [far, near]
        ] as const) {
          from.on("data", (chunk) => to.write(chunk))
          from.on("error", () => to.destroy())
          from.on("close", () => to.destroy())
          if (isCut) from.pause()
        }
      })
      await new Promise<void>((done) => proxy.listen(join(folder, name), done))
      const set = (cut: boolean): void => {
        isCut = cut
        for (const pair of pairs) for (const socket of pair) cut ? socket.pause() : socket.resume()
      }
      return {
        host: folder,
        cut: () => set(true),
        mend: () => set(false),
        close: () => {
          for (const pair of pairs) for (const socket of pair) socket.destroy()
          proxy.close()
          rmSync(folder, { recursive: true, force: true })
        }
      }
    }),
    (cable) => Effect.sync(cable.close)
  )

describe.skipIf(missing !== undefined)("a lease", () => {
  it.live(
    "ends a transaction that a frozen holder has left open, with its locks",
    () =>
      Effect.gen(function* () {
        const server = yield* database
        const frozen = yield* lease(server, "frozen", 60_000).acquire
        const pool = yield* fencedPool(server, frozen.epoch)
        const working = yield* pool
          .transaction("write", (connection) =>
            Effect.andThen(
              connection.query("INSERT INTO datasets (provider, name) VALUES ('test', 'frozen')"),
              Effect.andThen(Effect.sleep("3 seconds"), connection.query("SELECT 1"))
            )
          )
          .pipe(Effect.exit, Effect.forkChild)
        const other = yield* Effect.timeout(lease(server, "other").acquire, "2 seconds")
        assert.strictEqual(other.epoch, 2n)
        const look = yield* plain(server)
        const [left] = yield* look.query(
          "SELECT count(*)::int4 AS sessions FROM pg_stat_activity WHERE application_name = 'frozen'"
        )
        assert.strictEqual(left!.sessions, 0, "the sessions of the holder before are gone")
        // Nobody has to wait for its row.
        yield* look.query("INSERT INTO datasets (provider, name) VALUES ('test', 'frozen')")
        assert.isTrue(Exit.isFailure(yield* Fiber.join(working)))
        const refused = yield* Effect.flip(pool.query("SELECT 1"))
        assert.strictEqual(refused.reason._tag, "StoreFenced", refused.message)
        assert.isFalse(refused.isRetryable)
        assert.include(refused.message, "belongs to other by now (epoch 2, this one had 1)")
      }),
    30_000
  )

  it.live(
    "goes on with a transaction that began before a heartbeat",
    () =>
      Effect.gen(function* () {
        const server = yield* database
        const held = lease(server, "holder", 50)
        const { epoch } = yield* held.acquire
        const pool = yield* fencedPool(server, epoch)
        const look = yield* plain(server)
        const heartbeat = Effect.map(
          look.query("SELECT heartbeat_at::text AS at FROM leases"),
          ([row]) => row!.at
        )
        const moved = yield* pool.transaction("write", () =>
          Effect.gen(function* () {
            const before = yield* heartbeat
            yield* Effect.sleep("400 millis")
            return before !== (yield* heartbeat)
          })
        )
        assert.isTrue(moved, "heartbeats do not wait for transactions")
      }),
    30_000
  )

  it.live(
    "is held on where the server ends the holder's session, and nobody else waits",
    () =>
      Effect.gen(function* () {
        const server = yield* database
        const held = lease(server, "holder")
        const { epoch, lost } = yield* held.acquire
        const ended = yield* Effect.forkChild(Effect.exit(lost))
        const look = yield* plain(server)
        yield* look.query(
          "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'dm-lease'"
        )
        yield* Effect.sleep("2500 millis")
        assert.isUndefined(ended.pollUnsafe())
        assert.strictEqual(held.status().role, "active")
        assert.isUndefined(held.status().problem)
        const waiting = yield* Effect.forkChild(lease(server, "other").acquire)
        yield* Effect.sleep("1200 millis")
        assert.isUndefined(waiting.pollUnsafe(), "it has its lock again")
        const [row] = yield* look.query("SELECT epoch FROM leases")
        assert.strictEqual(row!.epoch, epoch)
      }),
    30_000
  )

  it.live(
    "is lost by a holder that is cut off, and the one that has it now is not disturbed when the network is back",
    () =>
      Effect.gen(function* () {
        const server = yield* database
        const cable = yield* cableTo(server)
        const far = lease({ ...server, host: cable.host }, "far")
        const { lost } = yield* far.acquire
        const ended = yield* Effect.forkChild(Effect.flip(lost))
        cable.cut()
        const near = yield* Effect.timeout(lease(server, "near").acquire, "10 seconds")
        assert.strictEqual(near.epoch, 2n)
        assert.isUndefined(ended.pollUnsafe(), "it cannot know")
        cable.mend()
        const error = yield* Effect.timeout(Fiber.join(ended), "12 seconds")
        assert.strictEqual(error.reason._tag, "StoreFenced")
        assert.deepStrictEqual([far.status().role, far.status().holder], ["standby", "near"])
        const again = yield* Effect.forkChild(far.acquire)
        yield* Effect.sleep("1200 millis")
        assert.isUndefined(again.pollUnsafe())
      }),
    40_000
  )

  it.live(
    "is given back: the next one need not wait for silence",
    () =>
      Effect.gen(function* () {
        const server = yield* database
        const scope = yield* Scope.make()
        yield* Scope.provide(lease(server, "first").acquire, scope)
        yield* Scope.close(scope, Exit.void)
        const look = yield* plain(server)
        const [row] = yield* look.query("SELECT holder, heartbeat_at::text AS at FROM leases")
        assert.deepStrictEqual(row, { holder: "", at: "-infinity" })
        const next = yield* Effect.timeout(lease(server, "second").acquire, "500 millis")
        assert.strictEqual(next.epoch, 2n)
      }),
    30_000
  )
})
