import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as NodePath from "@effect/platform-node/NodePath"
import { assert, describe, it } from "@effect/vitest"
import { Effect, FileSystem, Layer, Stream } from "effect"
import { batchContext, type FeedEntry, Spool, tradeBuilder } from "../src/index.ts"

const Files = Layer.mergeAll(NodeFileSystem.layer, NodePath.layer)
const rowsOf = (rows: number): FeedEntry => {
  const builder = tradeBuilder(batchContext({ provider: "test", dataset: "TEST" }), rows)
  builder.length = rows
  for (let i = 0; i < rows; i++) builder.columns.tsEvent[i] = BigInt(i)
  return { _tag: "FeedRows", session: "s", batch: builder.flush() }
}
const note: FeedEntry = { _tag: "Watermark", session: "s", at: 12345678901234567890n }

describe("Spool", () => {
  it.live("keeps entries over a restart", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const folder = `${yield* fs.makeTempDirectoryScoped()}/spool`
      yield* Effect.scoped(
        Effect.gen(function* () {
          const spool = yield* Spool.make({ folder, maxBytes: 1e9 })
          assert.deepStrictEqual(yield* spool.append(rowsOf(3)), { _tag: "Appended", frame: 1n })
          assert.deepStrictEqual(yield* spool.append(note), { _tag: "Appended", frame: 2n })
          const read = yield* Stream.runCollect(Stream.take(spool.read(1n), 2))
          assert.strictEqual(read.length, 2)
          yield* spool.release(1n)
        })
      )
      const spool = yield* Spool.make({ folder, maxBytes: 1e9 })
      assert.deepStrictEqual(yield* spool.append(rowsOf(70000)), { _tag: "Appended", frame: 3n })
      const read = yield* Stream.runCollect(Stream.take(spool.read(1n), 3))
      assert.deepStrictEqual(
        read.map((each) => each._tag),
        ["SpooledEntry", "SpooledEntry", "SpooledEntry"]
      )
    }).pipe(Effect.provide(Files))
  )
})
