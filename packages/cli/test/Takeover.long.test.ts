import { StoreLease } from "@data-manager/storage-timescale"
import { Effect } from "effect"
import { assert, describe, it } from "vitest"
import { Workplace } from "./Dm.ts"
import { type Fault, OutsideServer, shown, takeOver } from "./Takeover.ts"

type Lease = ReturnType<typeof StoreLease.make>

const rounds = Array.from({ length: 20 }, (_, i): Fault => (i % 3 === 2 ? "freeze" : "kill"))

describe("two services on one database, for long", () => {
  it("follow each other twenty times, killed and frozen, and store every trade once", {
    timeout: 1_800_000
  }, async () => {
    const times = await takeOver(rounds, 600_000, 1500)
    console.log(shown(times))
    assert.lengthOf(times, rounds.length)
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
