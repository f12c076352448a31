import { execFileSync } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { statfs } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { Effect, FileSystem, Stream } from "effect"
import type { FeedEntry, Spool } from "../src/index.ts"
import { SeededRandom } from "./SeededRandom.ts"
import { randomBatch } from "./SpoolEntries.ts"
import { append, assertEntries, Files, filesIn, quiet, readAll, take, withSpool } from "./SpoolFolder.ts"

const entry: FeedEntry = {
  _tag: "FeedRows",
  session: "s",
  batch: randomBatch(new SeededRandom(1), "trades", 300)
}

// A file system of two megabytes, which really is full when it is full.
describe("a spool on a full disk", () => {
  let disk: string | undefined
  let reason = "a small file system needs root"

  beforeAll(() => {
    if (process.getuid?.() !== 0) return
    const folder = mkdtempSync(join(tmpdir(), "dm-spool-disk-"))
    try {
      execFileSync("mount", ["-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs", folder], { stdio: "pipe" })
      disk = folder
    } catch (error) {
      rmSync(folder, { recursive: true })
      reason = `no file system could be mounted: ${String(error).split("\n")[0]}`
    }
  })

  afterAll(() => {
    if (disk === undefined) return
    execFileSync("umount", ["--lazy", disk])
    rmSync(disk, { recursive: true })
  })

  const fill = (spool: Spool.Spool["Service"], kept: Array<FeedEntry>) =>
    Effect.gen(function* () {
      for (;;) {
        const appended = yield* spool.append(entry)
        if (appended._tag === "Appended") kept.push(entry)
        else if (appended.cause === "disk-full") return
        yield* Effect.sleep("1 millis")
      }
    })

  it.live("drops the newest, keeps what it took, and goes on when there is room", (context) =>
    Effect.gen(function* () {
      if (disk === undefined) return context.skip(reason)
      const fs = yield* FileSystem.FileSystem
      const folder = `${disk}/spool`
      const options = { folder, segmentBytes: 200_000, memoryBytes: 300_000, fsyncInterval: 1 }
      const kept: Array<FeedEntry> = []
      yield* fs.writeFile(`${disk}/ballast`, new Uint8Array(500_000))
      yield* withSpool(options, (spool) =>
        Effect.gen(function* () {
          yield* fill(spool, kept)
          const { dropped, problem } = yield* spool.depth
          assert.include(problem, "ENOSPC")
          assert.isAbove(dropped["disk-full"].rows, 0)
          const before = yield* spool.synced
          assert.isBelow(Number(before), kept.length)
          yield* fs.remove(`${disk}/ballast`)
          assertEntries(yield* readAll(spool), kept)
          assert.isUndefined((yield* spool.depth).problem)
          yield* fill(spool, kept)
        })
      )
      const synced = yield* withSpool(options, (spool) =>
        Effect.gen(function* () {
          // It was closed while the disk was full: what was not safe by then is lost, and nobody was told otherwise.
          const there = Number(spool.opened.next) - 1
          assert.isAtMost(there, kept.length)
          assertEntries(yield* readAll(spool), kept.slice(0, there))
          const files = yield* filesIn(folder)
          yield* spool.release(BigInt(there))
          assert.isBelow((yield* filesIn(folder)).length, files.length)
          const last = yield* append(spool, entry)
          assert.strictEqual(last, BigInt(there + 1))
          yield* spool.flush
          return yield* spool.synced
        })
      )
      yield* withSpool(options, (spool) =>
        Effect.sync(() =>
          assert.deepInclude(spool.opened, { next: synced + 1n, cut: undefined, damaged: [] })
        )
      )
    }).pipe(Effect.provide(Files), Effect.provide(quiet))
  )

  it.live("goes on when everything in the file that fills the disk is done with", (context) =>
    Effect.gen(function* () {
      if (disk === undefined) return context.skip(reason)
      const folder = `${disk}/one-file`
      const options = { folder, segmentBytes: 10_000_000, memoryBytes: 300_000, fsyncInterval: 1 }
      const kept: Array<FeedEntry> = []
      const next = yield* withSpool(options, (spool) =>
        Effect.gen(function* () {
          for (let round = 0; round < 3; round++) {
            yield* fill(spool, kept)
            assert.include((yield* spool.depth).problem, "ENOSPC")
            // What is on disk is read and done with; nobody else makes room.
            const synced = yield* spool.synced
            const first = spool.opened.next
            yield* spool.read(1n).pipe(
              Stream.takeUntil((each) => each._tag === "SpooledEntry" && each.frame >= synced),
              Stream.runDrain
            )
            yield* spool.release(synced)
            yield* spool.flush
            assert.isUndefined((yield* spool.depth).problem)
            assert.isAbove(Number(yield* spool.synced), Number(synced))
            const behind = yield* take(spool, synced + 1n, 3)
            const offset = Number(synced + 1n - first)
            assertEntries(behind, kept.slice(offset, offset + 3), synced + 1n)
          }
          return (yield* spool.synced) + 1n
        })
      )
      yield* withSpool(options, (spool) =>
        Effect.sync(() => assert.deepInclude(spool.opened, { next, cut: undefined, damaged: [] }))
      )
    }).pipe(Effect.provide(Files), Effect.provide(quiet))
  )

  it.live("brings through a disk what is many times as much as that has room for", (context) =>
    Effect.gen(function* () {
      if (disk === undefined) return context.skip(reason)
      const folder = `${disk}/narrow`
      const options = { folder, memoryBytes: 12_000_000, fsyncInterval: 20 }
      const kept: Array<FeedEntry> = []
      yield* withSpool(options, (spool) =>
        Effect.gen(function* () {
          yield* fill(spool, kept)
          const found: Array<Spool.Spooled> = []
          yield* spool.read(1n).pipe(
            Stream.runForEachArray((part) => {
              found.push(...part)
              const last = part.at(-1)!
              return spool.release(last._tag === "SpooledEntry" ? last.frame : last.to)
            }),
            Effect.race(
              Effect.gen(function* () {
                while (found.length < kept.length) yield* Effect.sleep("50 millis")
              })
            ),
            Effect.timeout("20 seconds")
          )
          assertEntries(found, kept)
        })
      )
    }).pipe(Effect.provide(Files), Effect.provide(quiet))
  )

  it.live(
    "takes rows again when its own file was all that filled the disk, and that is done with",
    (context) =>
      Effect.gen(function* () {
        if (disk === undefined) return context.skip(reason)
        const folder = `${disk}/alone`
        const freeBytes = Effect.promise(() =>
          statfs(disk!, { bigint: true }).then(({ bavail, bsize }) => bavail * bsize)
        )
        const options = { folder, freeBytes, memoryBytes: 12_000_000, fsyncInterval: 1 }
        yield* withSpool(options, (spool) =>
          Effect.gen(function* () {
            for (let round = 0; round < 2; round++) {
              const kept: Array<FeedEntry> = []
              yield* fill(spool, kept)
              yield* spool.flush
              // Nothing failed: rows were refused in time.
              assert.isUndefined((yield* spool.depth).problem)
              const synced = yield* spool.synced
              yield* spool.read(1n).pipe(
                Stream.takeUntil((each) => each._tag === "SpooledEntry" && each.frame >= synced),
                Stream.runDrain
              )
              yield* spool.release(synced)
              for (let left = 50; (yield* spool.append(entry))._tag === "Dropped"; left--) {
                assert.isAbove(left, 0, "there is room again")
                yield* Effect.sleep("100 millis")
              }
              yield* spool.release(synced)
            }
          })
        )
      }).pipe(Effect.provide(Files), Effect.provide(quiet))
  )
})
