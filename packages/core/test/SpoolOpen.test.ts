import { assert, describe, it } from "@effect/vitest"
import { Effect, FileSystem } from "effect"
import { Crc32c, Spool } from "../src/index.ts"
import { append, Files, filesIn, reasonOf, spoolFolder, withSpool } from "./SpoolFolder.ts"

const open = (folder: string, processes?: Spool.SpoolProcesses) =>
  Effect.scoped(Spool.make({ folder, maxBytes: 1e9, processes }))

const process = (id: number, running: ReadonlyArray<number>): Spool.SpoolProcesses => ({
  self: Effect.succeed({ id, start: "5.boot" }),
  isRunning: (other) => Effect.succeed(running.includes(other.id) && other.start === "5.boot")
})

describe("opening a spool", () => {
  it.live("makes a folder and files for its user alone", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const folder = `${yield* spoolFolder}/a/b`
      yield* withSpool({ folder, segmentBytes: 500 }, (spool) =>
        Effect.gen(function* () {
          for (let i = 0; i < 20; i++) yield* append(spool, { _tag: "SessionEnded", session: "s" })
          yield* spool.flush
          assert.strictEqual((yield* fs.stat(folder)).mode & 0o777, 0o700)
          const names = yield* fs.readDirectory(folder)
          assert.isAbove(names.length, 3)
          for (const name of names)
            assert.strictEqual((yield* fs.stat(`${folder}/${name}`)).mode & 0o777, 0o600, name)
        })
      )
      const left = yield* fs.readDirectory(folder)
      assert.deepStrictEqual(left.sort(), yield* filesIn(folder))
    }).pipe(Effect.provide(Files))
  )

  it.live("refuses a folder that others may enter, a file, and a folder below a file", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const folder = yield* spoolFolder
      yield* fs.makeDirectory(folder, { mode: 0o750 })
      yield* fs.chmod(folder, 0o750)
      const error = yield* Effect.flip(open(folder))
      assert.strictEqual(error.reason._tag, "SpoolUnusable")
      assert.strictEqual(
        error.message,
        `open spool ${folder}: other users may enter it (mode 750); run \`chmod 700 ${folder}\``
      )
      yield* fs.writeFileString(`${folder}/file`, "")
      assert.strictEqual(yield* reasonOf(open(`${folder}/file`)), "SpoolUnusable")
      assert.strictEqual(yield* reasonOf(open(`${folder}/file/spool`)), "SpoolUnusable")
      assert.deepStrictEqual(yield* fs.readDirectory(folder), ["file"])
    }).pipe(Effect.provide(Files))
  )

  it.live("refuses a folder that this process has open, until it is closed", () =>
    Effect.gen(function* () {
      const folder = yield* spoolFolder
      yield* withSpool({ folder }, () =>
        Effect.gen(function* () {
          const error = yield* Effect.flip(open(folder))
          assert.strictEqual(error.reason._tag, "SpoolInUse")
          assert.isTrue(error.isRetryable)
        })
      )
      yield* open(folder)
    }).pipe(Effect.provide(Files))
  )

  it.live("refuses a folder that another process has open, and takes over from one that is gone", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const folder = yield* spoolFolder
      yield* open(folder)
      yield* fs.writeFileString(`${folder}/41-5.boot.lock`, "")
      const error = yield* Effect.flip(open(folder, process(42, [41, 42])))
      assert.include(error.message, "process 41 has it open")
      // Neither does one that has refused leave a lock behind.
      assert.deepStrictEqual(
        (yield* fs.readDirectory(folder)).filter((name) => name.endsWith(".lock")),
        ["41-5.boot.lock"]
      )
      yield* open(folder, process(42, [42]))
      yield* fs.writeFileString(`${folder}/42-4.boot.lock`, "")
      yield* open(folder, process(42, [42]))
      assert.deepStrictEqual(yield* fs.readDirectory(folder), yield* filesIn(folder))
    }).pipe(Effect.provide(Files))
  )

  it.live("lets at most one of several in that open at the same time", () =>
    Effect.gen(function* () {
      const folder = yield* spoolFolder
      yield* open(folder)
      for (let round = 0; round < 3; round++) {
        let [inside, most] = [0, 0]
        const enter = (id: number) =>
          Effect.scoped(
            Effect.gen(function* () {
              yield* Spool.make({ folder, maxBytes: 1e9, processes: process(id, [1, 2, 3]) })
              most = Math.max(most, ++inside)
              yield* Effect.sleep("5 millis")
              inside -= 1
            })
          )
        yield* Effect.all(
          [1, 2, 3].map((id) => Effect.result(enter(id))),
          { concurrency: 3 }
        )
        assert.isAtMost(most, 1)
      }
      yield* open(folder)
    }).pipe(Effect.provide(Files))
  )

  it.live("knows this process and others by /proc", (context) =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      if (!(yield* fs.exists("/proc/self/stat"))) return context.skip("there is no /proc")
      const folder = yield* spoolFolder
      yield* withSpool({ folder }, () =>
        Effect.gen(function* () {
          const [lock] = (yield* fs.readDirectory(folder)).filter((name) => name.endsWith(".lock"))
          assert.match(lock!, new RegExp(`^${globalThis.process.pid}-\\d+\\.[0-9a-f]{8}\\.lock$`))
        })
      )
      const [, field] = /\) (?:\S+ ){19}(\d+)/.exec(yield* fs.readFileString("/proc/1/stat"))!
      const boot = (yield* fs.readFileString("/proc/sys/kernel/random/boot_id")).slice(0, 8)
      yield* fs.writeFileString(`${folder}/1-${field}.${boot}.lock`, "")
      assert.strictEqual(yield* reasonOf(open(folder)), "SpoolInUse")
      yield* fs.remove(`${folder}/1-${field}.${boot}.lock`)
      yield* fs.writeFileString(`${folder}/1-${field}1.${boot}.lock`, "")
      yield* open(folder)
    }).pipe(Effect.provide(Files))
  )

  it.live("refuses files of a newer version and changes nothing", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const folder = yield* spoolFolder
      yield* open(folder)
      const path = `${folder}/00000000000000000001.spool`
      const bytes = yield* fs.readFile(path)
      bytes[8] = 2
      new DataView(bytes.buffer, bytes.byteOffset).setUint32(60, Crc32c.of(bytes.subarray(0, 56)), true)
      yield* fs.writeFile(path, bytes)
      assert.strictEqual(yield* reasonOf(open(folder)), "SpoolIncompatible")
      assert.deepStrictEqual(yield* fs.readFile(path), bytes)
      assert.deepStrictEqual(yield* fs.readDirectory(folder), ["00000000000000000001.spool"])
    }).pipe(Effect.provide(Files))
  )

  it.live("removes the draft of a file that was never begun", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const folder = yield* spoolFolder
      yield* open(folder)
      yield* fs.writeFileString(`${folder}/00000000000000000009.spool.new`, "DMSP")
      yield* open(folder)
      assert.deepStrictEqual(yield* fs.readDirectory(folder), ["00000000000000000001.spool"])
    }).pipe(Effect.provide(Files))
  )
})
