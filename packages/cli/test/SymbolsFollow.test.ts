/** A running service sees what `dm symbols` does in other processes. */
import { InstrumentRegistry, type RegistryChange } from "@data-manager/core"
import { TimescaleStore } from "@data-manager/storage-timescale"
import { Effect, Fiber, Layer, Queue, Stream } from "effect"
import { afterAll, assert, describe, it } from "vitest"
import { Workplace } from "./Dm.ts"

const place = new Workplace()
afterAll(() => place.close())

const dm = (...args: ReadonlyArray<string>) =>
  Effect.map(
    Effect.promise(() => place.run(["symbols", ...args])),
    ({ code, stderr }) => assert.strictEqual(code, 0, stderr)
  )

const shown = ({ _tag, entry }: RegistryChange) => [_tag, entry.symbol, entry.enabled]

describe("the registry of a running service", () => {
  it("follows symbols that are added, switched and removed by another process", async () => {
    const registry = InstrumentRegistry.layerWith({ pollInterval: "100 millis" }).pipe(
      Layer.provide(TimescaleStore.layerEmbedded({ dataDir: place.dataDir }))
    )
    const follow = Effect.gen(function* () {
      const { follow: changes, add } = yield* InstrumentRegistry
      yield* add({ symbol: "GLBX.MDP3:NQ.FUT", provider: "databento", stypeIn: "parent" })
      const seen = yield* Queue.unbounded<RegistryChange>()
      const following = yield* Effect.forkChild(
        Stream.runForEach(changes, (change) => Queue.offer(seen, change))
      )
      const next = Effect.map(Queue.take(seen), shown)
      assert.deepStrictEqual(yield* next, ["Added", "GLBX.MDP3:NQ.FUT", true])
      yield* dm("add", "GLBX.MDP3:ES.FUT", "-p", "databento")
      assert.deepStrictEqual(yield* next, ["Added", "GLBX.MDP3:ES.FUT", true])
      yield* dm("disable", "GLBX.MDP3:ES.FUT")
      assert.deepStrictEqual(yield* next, ["Changed", "GLBX.MDP3:ES.FUT", false])
      yield* dm("enable", "GLBX.MDP3:ES.FUT")
      assert.deepStrictEqual(yield* next, ["Changed", "GLBX.MDP3:ES.FUT", true])
      yield* dm("remove", "GLBX.MDP3:NQ.FUT")
      assert.deepStrictEqual(yield* next, ["Removed", "GLBX.MDP3:NQ.FUT", true])
      yield* dm("add", "GLBX.MDP3:NQ.FUT", "-p", "databento")
      assert.deepStrictEqual(yield* next, ["Added", "GLBX.MDP3:NQ.FUT", true])
      yield* Fiber.interrupt(following)
    })
    await Effect.runPromise(Effect.provide(follow, registry))
    const list = (enabled: string) =>
      place.run(["symbols", "list", "--json"], { env: { DM_SYMBOLS_DATABASE_ENABLED: enabled } })
    const [on, off] = [await list("true"), await list("false")]
    assert.lengthOf(JSON.parse(on.stdout).symbols, 2)
    assert.lengthOf(JSON.parse(off.stdout).symbols, 0)
  }, 120_000)
})
