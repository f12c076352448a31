import { StoreLease } from "@data-manager/storage-timescale"
import { Effect } from "effect"
import { assert, describe, it } from "vitest"
import { Workplace } from "./Dm.ts"
import { OutsideServer, shown, takeOver } from "./Takeover.ts"

type Lease = ReturnType<typeof StoreLease.make>

describe("two services on one database", () => {
  it("follow each other, killed and frozen, and store every trade once", { timeout: 300_000 }, async () => {
    const times = await takeOver(["kill", "freeze"], 60_000, 1000)
    console.log(shown(times))
    const [killed, frozen] = times
    assert.isBelow(killed!.lease, 1000, "after kill -9")
    assert.isBelow(frozen!.lease, 5000, "after SIGSTOP")
  })

  it("stay who they are when the server is restarted", { timeout: 120_000 }, async () => {
    const place = new Workplace()
    const server = new OutsideServer(place)
    try {
      const migrated = await place.run(["migrate", "--up"], {
        env: { DM_DATABASE_URL: await server.start() }
      })
      assert.strictEqual(migrated.code, 0, migrated.stderr)
      const [one, two] = ["one", "two"].map((holder) =>
        StoreLease.make({ server: server.address, name: "restart", holder, silence: "4 seconds" })
      ) as [Lease, Lease]
      const waiting = Effect.gen(function* () {
        const { epoch, lost } = yield* one.acquire
        yield* Effect.forkScoped(Effect.ignore(two.acquire))
        yield* Effect.sleep("1 second")
        for (let restart = 0; restart < 2; restart++) {
          yield* Effect.promise(() => server.close())
          yield* Effect.sleep("500 millis")
          yield* Effect.promise(() => server.start())
          yield* Effect.sleep("5 seconds")
          const roles = [one, two].map((lease) => lease.status())
          assert.deepStrictEqual(
            roles.map(({ role, epoch: held, problem }) => [role, held, problem]),
            [
              ["active", epoch, undefined],
              ["standby", epoch, undefined]
            ]
          )
        }
        // A lock that is lost by one restart is there again: the next fault is noticed at once.
        assert.strictEqual((yield* Effect.timeoutOption(lost, "10 millis"))._tag, "None")
      })
      await Effect.runPromise(Effect.scoped(waiting))
    } finally {
      await server.close()
      await place.close()
    }
  })
})
