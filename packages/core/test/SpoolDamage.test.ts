import { assert, describe, it } from "@effect/vitest"
import { Effect, FileSystem } from "effect"
import { type FeedEntry, SpoolFile, SpoolFrame } from "../src/index.ts"
import { SeededRandom } from "./SeededRandom.ts"
import { assertSameEntry, notes, randomBatch, randomEntry } from "./SpoolEntries.ts"
import {
  append,
  assertEntries,
  Files,
  filesIn,
  quiet,
  readAll,
  spoolFolder,
  withSpool
} from "./SpoolFolder.ts"

const note: FeedEntry = { _tag: "Watermark", session: "s", at: 1n }
const ended: FeedEntry = { _tag: "SessionEnded", session: "s" }
const trade: FeedEntry = {
  _tag: "FeedRows",
  session: "s",
  batch: randomBatch(new SeededRandom(3), "trades", 1)
}

/** A folder with a spool of these entries; its files. */
const spooled = (entries: ReadonlyArray<FeedEntry>, segmentBytes = 64 << 20) =>
  Effect.gen(function* () {
    const folder = yield* spoolFolder
    yield* withSpool({ folder, segmentBytes }, (spool) =>
      Effect.forEach(entries, (entry) => append(spool, entry), { discard: true })
    )
    const files = (yield* filesIn(folder)).map((name) => `${folder}/${name}`)
    return { folder, files, segmentBytes }
  })

const frameEnds = (bytes: Uint8Array): ReadonlyArray<number> => {
  const memory = SpoolFrame.FrameMemory.of(bytes)
  const ends = [SpoolFile.HeaderBytes]
  for (let at = SpoolFile.HeaderBytes; at < bytes.length; ) {
    const header = SpoolFrame.inspect(memory, at, bytes.length)
    at += typeof header === "string" ? assert.fail(header) : header.bytes
    ends.push(at)
  }
  return ends
}

describe("a damaged spool", () => {
  it("holds the whole frames wherever a file is cut", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const random = new SeededRandom(2)
      const { files } = yield* spooled([...notes, ...Array.from({ length: 8 }, () => randomEntry(random, 6))])
      const bytes = yield* fs.readFile(files[0]!)
      const memory = SpoolFrame.FrameMemory.of(bytes)
      const ends = frameEnds(bytes)
      for (let length = SpoolFile.HeaderBytes; length <= bytes.length; length++) {
        const { next, end, damaged } = SpoolFile.examine(memory, length, 1n)
        const whole = ends.findLastIndex((each) => each <= length)
        if (next !== BigInt(whole + 1) || end !== ends[whole] || damaged.length > 0)
          assert.fail(`of ${length} bytes, frames up to ${next} were found in ${end}`)
      }
    }).pipe(Effect.scoped, Effect.provide(Files), Effect.runPromise))

  it.live("opens to the whole frames wherever its newest file is cut", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const entries = [ended, ended]
      const { folder, files } = yield* spooled(entries)
      const bytes = yield* fs.readFile(files[0]!)
      const ends = frameEnds(bytes)
      for (let length = 0; length <= bytes.length; length++) {
        yield* fs.writeFile(files[0]!, bytes.subarray(0, length))
        const whole = Math.max(0, ends.filter((end) => end <= length).length - 1)
        const end = length < SpoolFile.HeaderBytes ? 0 : ends[whole]!
        // Of a file without a byte nothing was cut.
        const cut = length > end ? { file: files[0]!, offset: end, bytes: length - end } : undefined
        yield* withSpool({ folder, fsyncInterval: 0 }, (spool) =>
          Effect.gen(function* () {
            const { first, next } = spool.opened
            assert.deepStrictEqual([first, next, spool.opened.cut], [1n, BigInt(whole + 1), cut])
            assert.strictEqual(yield* append(spool, trade), BigInt(whole + 1))
            assertEntries(yield* readAll(spool), [...entries.slice(0, whole), trade])
          })
        )
      }
    }).pipe(Effect.provide(Files), Effect.provide(quiet))
  )

  it.live("never gives out a frame with a flipped bit, and accounts for every number", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const random = new SeededRandom(5)
      const entries = Array.from({ length: 30 }, () => randomEntry(random, random.below(10)))
      const { folder, files, segmentBytes } = yield* spooled(entries, 6_000)
      assert.isAbove(files.length, 3)
      let holes = 0
      for (let round = 0; round < 30; round++) {
        const file = random.pick(files)
        const bytes = yield* fs.readFile(file)
        const flipped = Uint8Array.from(bytes)
        for (let flip = random.below(3); flip >= 0; flip--)
          flipped[random.below(flipped.length)]! ^= 1 << random.below(8)
        yield* fs.writeFile(file, flipped)
        yield* withSpool({ folder, segmentBytes }, (spool) =>
          Effect.gen(function* () {
            let next = 1n
            for (const each of yield* readAll(spool)) {
              if (each._tag === "SpoolHole") {
                assert.strictEqual(each.from, next)
                assert.isTrue(each.to >= each.from)
                assert.include(each.detail, ".spool")
                next = each.to + 1n
                holes += 1
              } else {
                assert.strictEqual(each.frame, next)
                assertSameEntry(each.entry, entries[Number(next) - 1]!)
                next += 1n
              }
            }
            assert.strictEqual(next, spool.opened.next)
          })
        )
        // What was cut from the newest file comes back here.
        yield* fs.writeFile(file, bytes)
      }
      assert.isAbove(holes, 8)
    }).pipe(Effect.provide(Files), Effect.provide(quiet))
  )

  it.live("tells of damage in the middle of the newest file, and keeps what is behind it", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const { folder, files } = yield* spooled([...notes, trade])
      const bytes = yield* fs.readFile(files[0]!)
      const ends = frameEnds(bytes)
      const damaged = Uint8Array.from(bytes).fill(0, ends[2]!, ends[4]! - 8)
      yield* fs.writeFile(files[0]!, damaged)
      yield* withSpool({ folder }, (spool) =>
        Effect.gen(function* () {
          assert.strictEqual(spool.opened.next, BigInt(notes.length + 2))
          assert.isUndefined(spool.opened.cut)
          assert.include(spool.opened.damaged[0], `from byte ${ends[2]} on, frames 3 to 4`)
          const found = yield* readAll(spool)
          assert.deepInclude(found[2], { _tag: "SpoolHole", from: 3n, to: 4n })
          assertEntries(found.slice(3), [...notes.slice(4), trade], 5n)
        })
      )
    }).pipe(Effect.provide(Files), Effect.provide(quiet))
  )

  it.live("tells of files that are gone or cut, and of what was released", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const entries = Array.from({ length: 60 }, () => trade)
      const { folder, files, segmentBytes } = yield* spooled(entries, 1_000)
      const firsts = files.map((file) => BigInt(file.slice(-26, -6)))
      yield* fs.remove(files[0]!)
      yield* fs.remove(files[2]!)
      yield* fs.truncate(files[4]!, 70)
      yield* withSpool({ folder, segmentBytes }, (spool) =>
        Effect.gen(function* () {
          const holes = (yield* readAll(spool)).filter((each) => each._tag === "SpoolHole")
          assert.deepStrictEqual(
            holes.map(({ from, to }) => [from, to]),
            [0, 2, 4].map((i) => [firsts[i], firsts[i + 1]! - 1n])
          )
          const later = firsts[6]!
          yield* fs.remove(files[7]!)
          const [first, second] = (yield* readAll(spool, later)).filter((each) => each._tag === "SpoolHole")
          assert.deepInclude(first, { from: firsts[7]!, to: firsts[8]! - 1n })
          assert.isUndefined(second)
        })
      )
    }).pipe(Effect.provide(Files), Effect.provide(quiet))
  )

  it.live("writes down a new id where no file tells the old one", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const { folder, files } = yield* spooled([note, trade])
      const bytes = yield* fs.readFile(files[0]!)
      bytes[20]! ^= 1
      yield* fs.writeFile(files[0]!, bytes)
      const open = withSpool({ folder }, (spool) =>
        Effect.gen(function* () {
          assert.strictEqual(spool.opened.next, 3n)
          assert.deepStrictEqual(spool.opened.damaged, [`${files[0]}: the header`])
          assertEntries(yield* readAll(spool), [note, trade])
          return yield* spool.id
        })
      )
      assert.strictEqual(yield* open, yield* open)
    }).pipe(Effect.provide(Files), Effect.provide(quiet))
  )
})
