import { assert, describe, it } from "@effect/vitest"
import { Clock, Deferred, Duration, Effect, Exit, Fiber, FileSystem, Stream } from "effect"
import type { FeedEntry, Spool } from "../src/index.ts"
import { SeededRandom } from "./SeededRandom.ts"
import { randomBatch, randomEntry } from "./SpoolEntries.ts"
import {
  append,
  assertEntries,
  BadDisk,
  Files,
  filesIn,
  quiet,
  readAll,
  reasonOf,
  spoolFolder,
  take,
  withSpool
} from "./SpoolFolder.ts"

const entriesOf = (seed: number, count: number, rows = 20): ReadonlyArray<FeedEntry> => {
  const random = new SeededRandom(seed)
  return Array.from({ length: count }, () => randomEntry(random, random.below(rows)))
}
const appendAll = (spool: Spool.Spool["Service"], entries: ReadonlyArray<FeedEntry>) =>
  Effect.forEach(entries, (entry) => append(spool, entry))

const trades = (rows: number): FeedEntry => ({
  _tag: "FeedRows",
  session: "s",
  batch: randomBatch(new SeededRandom(rows), "quotes", rows)
})
const note: FeedEntry = { _tag: "Watermark", session: "s", at: 1n }

describe("Spool", () => {
  it.live("keeps entries and goes on with their numbers over restarts", () =>
    Effect.gen(function* () {
      const folder = yield* spoolFolder
      const entries = entriesOf(1, 120)
      for (let from = 0; from < 120; from += 40)
        yield* withSpool({ folder }, (spool) =>
          Effect.gen(function* () {
            const numbers = yield* appendAll(spool, entries.slice(from, from + 40))
            assert.deepStrictEqual(
              numbers,
              entries.slice(from, from + 40).map((_, i) => BigInt(from + i + 1))
            )
            assertEntries(yield* readAll(spool), entries.slice(0, from + 40))
          })
        )
      yield* withSpool({ folder }, (spool) =>
        Effect.gen(function* () {
          assert.deepInclude(spool.opened, { first: 1n, next: 121n, cut: undefined })
          assertEntries(yield* readAll(spool, 50n), entries.slice(49), 50n)
        })
      )
    }).pipe(Effect.provide(Files))
  )

  it.live("begins files of bounded size and removes those that are released", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const folder = yield* spoolFolder
      const options = { folder, segmentBytes: 10_000 }
      const entries = [...entriesOf(2, 100), trades(200), ...entriesOf(3, 20)]
      const id = yield* withSpool(options, (spool) =>
        Effect.gen(function* () {
          yield* appendAll(spool, entries)
          assertEntries(yield* readAll(spool), entries)
          const names = yield* filesIn(folder)
          assert.isAbove(names.length, 5)
          for (const name of names) {
            const size = Number((yield* fs.stat(`${folder}/${name}`)).size)
            // The one large frame has a file of its own.
            assert.isTrue(size <= 10_000 || name === "00000000000000000101.spool", `${name}: ${size}`)
          }
          const third = BigInt(names[2]!.slice(0, 20))
          yield* spool.release(third - 2n)
          assert.deepStrictEqual(yield* filesIn(folder), names.slice(1))
          yield* spool.release(third - 1n)
          assert.deepStrictEqual(yield* filesIn(folder), names.slice(2))
          yield* spool.release(1n)
          assertEntries(yield* readAll(spool, third), entries.slice(Number(third) - 1), third)
          yield* spool.release(121n)
          assert.deepStrictEqual(yield* filesIn(folder), names.slice(-1))
          return yield* spool.id
        })
      )
      yield* withSpool(options, (spool) =>
        Effect.gen(function* () {
          assert.strictEqual(yield* spool.id, id)
          assert.strictEqual(yield* append(spool, note), 122n)
        })
      )
    }).pipe(Effect.provide(Files))
  )

  it.live("follows the writer, and gives out what is on disk alone", () =>
    Effect.gen(function* () {
      const folder = yield* spoolFolder
      yield* withSpool({ folder, fsyncInterval: "1 hour", segmentBytes: 20_000 }, (spool) =>
        Effect.gen(function* () {
          const entries = entriesOf(4, 200)
          const found: Array<Spool.Spooled> = []
          const all = yield* Deferred.make<void>()
          const reader = yield* Effect.forkChild(
            Stream.runForEach(spool.read(1n), (each) =>
              Effect.suspend(() => {
                found.push(each)
                return found.length === entries.length ? Deferred.succeed(all, undefined) : Effect.void
              })
            )
          )
          yield* appendAll(spool, entries.slice(0, 5))
          yield* Effect.sleep("40 millis")
          assert.strictEqual(yield* spool.synced, 0n)
          assert.strictEqual(found.length, 0)
          for (const entry of entries.slice(5)) {
            yield* append(spool, entry)
            if ((yield* spool.depth).frames % 20n === 0n) yield* spool.flush
          }
          yield* spool.flush
          yield* Deferred.await(all)
          yield* Fiber.interrupt(reader)
          assertEntries(found, entries)
          assert.strictEqual(yield* spool.synced, 200n)
        })
      )
    }).pipe(Effect.provide(Files))
  )

  it.live("syncs within the interval without being asked", () =>
    Effect.gen(function* () {
      const folder = yield* spoolFolder
      for (const fsyncInterval of ["0 millis", "20 millis"] as const)
        yield* withSpool({ folder, fsyncInterval }, (spool) =>
          Effect.gen(function* () {
            const frame = yield* append(spool, note)
            const [element] = yield* take(spool, frame, 1)
            assert.deepInclude(element, { _tag: "SpooledEntry", frame, entry: note })
            assert.strictEqual(yield* spool.synced, frame)
          })
        )
    }).pipe(Effect.provide(Files))
  )

  it.live("syncs though the clock is set back by an hour", () =>
    Effect.gen(function* () {
      const folder = yield* spoolFolder
      const clock = yield* Clock.Clock
      let offset = 0
      const jumping: Clock.Clock = {
        ...clock,
        sleep: (duration) => clock.sleep(duration),
        currentTimeMillisUnsafe: () => clock.currentTimeMillisUnsafe() + offset,
        currentTimeNanosUnsafe: () => clock.currentTimeNanosUnsafe() + BigInt(offset) * 1_000_000n,
        currentTimeMillis: Effect.sync(() => clock.currentTimeMillisUnsafe() + offset),
        currentTimeNanos: Effect.sync(() => clock.currentTimeNanosUnsafe() + BigInt(offset) * 1_000_000n)
      }
      yield* withSpool({ folder, fsyncInterval: 100 }, (spool) =>
        Effect.gen(function* () {
          for (let round = 0; round < 4; round++) {
            const last = yield* append(spool, note)
            // Written, and not yet synced.
            yield* Effect.sleep("30 millis")
            offset -= 3_600_000
            yield* Effect.sleep("300 millis")
            assert.strictEqual(yield* spool.synced, last)
          }
        })
      ).pipe(Effect.provideService(Clock.Clock, jumping))
    }).pipe(Effect.provide(Files), Effect.provide(quiet))
  )

  it.live("tells what waits", () =>
    Effect.gen(function* () {
      const folder = yield* spoolFolder
      yield* withSpool({ folder }, (spool) =>
        Effect.gen(function* () {
          assert.deepInclude(yield* spool.depth, { frames: 0n, rows: 0n, age: Duration.zero, bytes: 64 })
          yield* appendAll(spool, [trades(3), note, trades(4)])
          yield* spool.flush
          const depth = yield* spool.depth
          assert.deepInclude(depth, { frames: 3n, rows: 7n, problem: undefined })
          assert.isAbove(Duration.toMillis(depth.age), 0)
          const [file] = yield* filesIn(folder)
          const fs = yield* FileSystem.FileSystem
          assert.strictEqual(depth.bytes, Number((yield* fs.stat(`${folder}/${file}`)).size))
        })
      )
      yield* withSpool({ folder }, (spool) =>
        Effect.gen(function* () {
          assert.deepInclude(yield* spool.depth, { frames: 3n, rows: 7n })
          yield* spool.release(3n)
          assert.deepInclude(yield* spool.depth, { frames: 0n, rows: 0n, age: Duration.zero })
        })
      )
    }).pipe(Effect.provide(Files))
  )

  it.live(
    "drops the newest where the folder is full, finds room for notes, and goes on after a release",
    () =>
      Effect.gen(function* () {
        const folder = yield* spoolFolder
        yield* withSpool({ folder, maxBytes: 60_000, segmentBytes: 8_000 }, (spool) =>
          Effect.gen(function* () {
            const kept: Array<FeedEntry> = []
            const entry = trades(30)
            for (;;) {
              const result = yield* spool.append(entry)
              if (result._tag === "Appended") kept.push(entry)
              else {
                assert.strictEqual(result.cause, "overflow")
                break
              }
            }
            kept.push(note)
            yield* append(spool, note)
            const { bytes, dropped } = yield* spool.depth
            assert.isAtMost(bytes, 60_000)
            assert.deepStrictEqual(dropped.overflow, { entries: 1, rows: 30 })
            assertEntries(yield* readAll(spool), kept)
            yield* spool.release(BigInt(kept.length))
            assert.strictEqual(yield* append(spool, entry), BigInt(kept.length + 1))
          })
        )
      }).pipe(Effect.provide(Files))
  )

  it.live("leaves free space to others", () =>
    Effect.gen(function* () {
      const folder = yield* spoolFolder
      let free = 4_000_000n
      const options = { folder, diskFloor: 2_000_000, freeBytes: Effect.sync(() => free), fsyncInterval: 0 }
      yield* withSpool(options, (spool) =>
        Effect.gen(function* () {
          let kept = 0
          while ((yield* spool.append(trades(1_000)))._tag === "Appended") kept += 1
          assert.isAtMost(kept * 101_000, 2_000_000)
          assert.isAbove(kept, 5)
          assert.deepInclude(yield* spool.append(trades(1_000)), { _tag: "Dropped", cause: "disk-full" })
          assert.strictEqual((yield* spool.append(note))._tag, "Appended")
          free = 100_000_000n
          while ((yield* spool.append(trades(1_000)))._tag === "Dropped") yield* Effect.sleep("20 millis")
          assert.isAbove((yield* spool.depth).dropped["disk-full"].entries, 1)
        })
      )
    }).pipe(Effect.provide(Files))
  )

  it.live("takes more than its memory at once where room is waited for in between, and not without", () =>
    Effect.gen(function* () {
      const folder = yield* spoolFolder
      const pieces = Array.from({ length: 200 }, () => trades(100))
      for (const isWaiting of [true, false])
        yield* withSpool({ folder: `${folder}/${isWaiting}`, memoryBytes: 400_000 }, (spool) =>
          Effect.gen(function* () {
            for (const piece of pieces) {
              yield* spool.append(piece)
              if (isWaiting) yield* spool.room
            }
            const { bytes, dropped } = yield* spool.depth
            assert.isAbove(bytes, isWaiting ? 1_000_000 : 0)
            assert.strictEqual(dropped.overflow.entries === 0, isWaiting)
          })
        )
    }).pipe(Effect.provide(Files))
  )

  it.live("lets nobody wait a second time for a disk that hangs, until that does something", () => {
    const disk = new BadDisk()
    const waits = (spool: Spool.Spool["Service"]) => Exit.isFailure(Effect.runSyncExit(spool.room))
    return Effect.gen(function* () {
      const folder = yield* spoolFolder
      yield* withSpool({ folder, memoryBytes: 100_000 }, (spool) =>
        Effect.gen(function* () {
          yield* spool.append(note)
          yield* spool.flush
          assert.isFalse(waits(spool))
          disk.works.closeUnsafe()
          yield* spool.append(trades(800))
          yield* spool.room
          assert.isAbove((yield* spool.depth).bytes, 50_000)
          assert.isFalse(waits(spool))
          disk.works.openUnsafe()
          yield* spool.flush
          disk.works.closeUnsafe()
          yield* spool.append(trades(800))
          assert.isTrue(waits(spool))
          disk.works.openUnsafe()
          yield* spool.room
          assert.isFalse(waits(spool))
        })
      )
    }).pipe(Effect.provide(disk.layer))
  })

  for (const [what, breakIt] of [
    [
      "has no room left in the middle of a frame",
      (disk: BadDisk) => {
        disk.room = 7_777
      }
    ],
    [
      "fails to sync",
      (disk: BadDisk) => {
        disk.failsSync = true
      }
    ],
    [
      "fails to write, and to cut what it has written",
      (disk: BadDisk) => {
        disk.room = 7_777
        disk.failsTruncate = true
      }
    ]
  ] as const)
    it.live(`loses nothing of what it took while the disk ${what}`, () => {
      const disk = new BadDisk()
      return Effect.gen(function* () {
        const folder = yield* spoolFolder
        const options = {
          folder,
          segmentBytes: 5_000,
          fsyncInterval: "1 millis",
          memoryBytes: 100_000
        } as const
        const before = entriesOf(6, 30)
        const during: Array<FeedEntry> = []
        const after = entriesOf(7, 30)
        yield* withSpool(options, (spool) =>
          Effect.gen(function* () {
            yield* appendAll(spool, before)
            yield* spool.flush
            breakIt(disk)
            let dropped: Spool.SpoolAppended
            for (;;) {
              const entry = trades(20)
              dropped = yield* spool.append(entry)
              if (dropped._tag === "Dropped" && dropped.cause === "disk-full") break
              if (dropped._tag === "Appended") during.push(entry)
              yield* Effect.sleep("1 millis")
            }
            assert.include((yield* spool.depth).problem, "ENOSPC")
            disk.room = Number.POSITIVE_INFINITY
            disk.failsSync = false
            disk.failsTruncate = false
            yield* spool.flush
            yield* appendAll(spool, after)
            assertEntries(yield* readAll(spool), [...before, ...during, ...after])
            assert.isUndefined((yield* spool.depth).problem)
          })
        )
        assert.isAbove(disk.failures, 0)
        yield* withSpool(options, (spool) =>
          Effect.gen(function* () {
            assert.deepInclude(spool.opened, { cut: undefined, damaged: [] })
            assertEntries(yield* readAll(spool), [...before, ...during, ...after])
          })
        )
      }).pipe(Effect.provide(disk.layer), Effect.provide(quiet))
    })

  it.live("says that a position is behind what it ever gave out, and takes a new id", () =>
    Effect.gen(function* () {
      const folder = yield* spoolFolder
      const [before, after] = yield* withSpool({ folder }, (spool) =>
        Effect.gen(function* () {
          yield* appendAll(spool, [note, note, note])
          yield* spool.flush
          // Nobody has read these yet: a position there is of a past that the disk does not have.
          assert.strictEqual(yield* reasonOf(spool.release(2n)), "SpoolBehind")
          yield* take(spool, 1n, 3)
          yield* spool.release(2n)
          return [yield* spool.id, yield* spool.renew]
        })
      )
      assert.notStrictEqual(after, before)
      yield* withSpool({ folder }, (spool) =>
        Effect.gen(function* () {
          assert.strictEqual(yield* spool.id, after)
          assert.strictEqual(yield* append(spool, note), 4n)
          assertEntries(yield* readAll(spool), [note, note, note, note])
        })
      )
    }).pipe(Effect.provide(Files))
  )
})
