import { assert, describe, it } from "@effect/vitest"
import { Effect, FileSystem } from "effect"
import type { FeedEntry, Spool } from "../src/index.ts"
import { SeededRandom } from "./SeededRandom.ts"
import { assertSameEntry, randomEntry } from "./SpoolEntries.ts"
import { append, Files, filesIn, quiet, readAll, spoolFolder, withSpool } from "./SpoolFolder.ts"

/** What a spool is, without files: everything that was appended, and up to where it is done with. */
class Model {
  readonly entries: Array<FeedEntry> = []
  released = 0n
}

type OpenSpool = Spool.Spool["Service"]

/** Reads from a random number on: everything that is not released is there, and what is there is right. */
const checkRead = (random: SeededRandom, spool: OpenSpool, model: Model) =>
  Effect.gen(function* () {
    const from = BigInt(1 + random.below(model.entries.length + 1))
    let next = from
    for (const each of yield* readAll(spool, from)) {
      if (each._tag === "SpoolHole") {
        assert.isTrue(each.from === next && each.to <= model.released, each.detail)
        next = each.to + 1n
        continue
      }
      assert.strictEqual(each.frame, next)
      assertSameEntry(each.entry, model.entries[Number(next) - 1]!)
      next += 1n
    }
    assert.strictEqual(next, BigInt(model.entries.length + 1))
  })

const step = (random: SeededRandom, spool: OpenSpool, model: Model) =>
  Effect.gen(function* () {
    switch (random.below(4)) {
      case 0:
        return yield* checkRead(random, spool, model)
      case 1: {
        yield* spool.flush
        const upTo = BigInt(random.below(model.entries.length + 1))
        // Only what was read may be released.
        if (upTo > 0n) yield* readAll(spool, upTo)
        yield* spool.release(upTo)
        if (upTo > model.released) model.released = upTo
        const { frames } = yield* spool.depth
        return assert.strictEqual(frames, BigInt(model.entries.length) - model.released)
      }
      default:
        for (let i = random.below(8); i >= 0; i--) {
          const entry = randomEntry(random, random.below(12))
          model.entries.push(entry)
          assert.strictEqual(yield* append(spool, entry), BigInt(model.entries.length))
        }
    }
  })

/** Bytes of a frame that was never finished, at the end of the newest file. */
const tear = (random: SeededRandom, folder: string) =>
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    const newest = `${folder}/${(yield* filesIn(folder)).at(-1)}`
    const torn = Uint8Array.from({ length: random.below(200) }, () => random.below(256))
    yield* fs.writeFile(newest, torn, { flag: "a" })
  })

describe("a spool against a model", () => {
  for (let seed = 1; seed <= 3; seed++)
    it.live(`keeps everything over appends, reads, releases and restarts, seed ${seed}`, () =>
      Effect.gen(function* () {
        const random = new SeededRandom(seed)
        const folder = yield* spoolFolder
        const model = new Model()
        for (let restart = 0; restart < 8; restart++) {
          const options = {
            folder,
            segmentBytes: 2_000 + random.below(20_000),
            fsyncInterval: random.below(3)
          }
          yield* withSpool(options, (spool) =>
            Effect.gen(function* () {
              assert.strictEqual(spool.opened.next, BigInt(model.entries.length + 1))
              // A consumer says at its start how far it is.
              yield* spool.release(model.released)
              for (let i = random.below(10); i >= 0; i--) yield* step(random, spool, model)
            })
          )
          if (random.chance(0.5)) yield* tear(random, folder)
        }
        yield* withSpool({ folder }, (spool) => checkRead(random, spool, model))
        assert.isAbove(model.entries.length, 30)
      }).pipe(Effect.provide(Files), Effect.provide(quiet))
    )
})
