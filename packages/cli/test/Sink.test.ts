import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { gunzipSync, zstdDecompressSync } from "node:zlib"
import { afterAll, assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { formOf } from "../src/actions/Export.ts"
import * as Sink from "../src/Sink.ts"

const folder = mkdtempSync(join(tmpdir(), "dm-sink-"))
afterAll(() => rmSync(folder, { recursive: true }))

const text = Array.from({ length: 50_000 }, (_, i) => `row ${i}\n`).join("")

const writeAll = (path: string, compression: Sink.Compression, force = false) =>
  Effect.scoped(
    Effect.gen(function* () {
      const sink = yield* Sink.open({ path, compression, force })
      for (let at = 0; at < text.length; at += 4096) {
        yield* sink.write(text.slice(at, at + 4096))
        assert.isFalse(existsSync(path), "the file must not be there before it is complete")
      }
      yield* sink.finish
    })
  )

describe("Sink", () => {
  const unpack = {
    none: (bytes: Buffer) => bytes,
    gzip: (bytes: Buffer) => gunzipSync(bytes),
    zstd: (bytes: Buffer) => zstdDecompressSync(bytes)
  }
  it.effect.each(["none", "gzip", "zstd"] as const)("writes everything: %s", (compression) =>
    Effect.gen(function* () {
      const path = join(folder, `all.${compression}`)
      yield* writeAll(path, compression)
      assert.strictEqual(unpack[compression](readFileSync(path)).toString(), text)
      assert.deepStrictEqual(
        readdirSync(folder).filter((name) => name.endsWith(".part")),
        []
      )
    })
  )

  it.effect("keeps a file that exists, unless it may be replaced", () =>
    Effect.gen(function* () {
      const path = join(folder, "kept")
      writeFileSync(path, "old")
      const error = yield* Effect.flip(writeAll(path, "none"))
      assert.match(error.message, /exists and was not changed; --force/)
      assert.strictEqual(readFileSync(path, "utf8"), "old")
      yield* Effect.scoped(
        Effect.gen(function* () {
          const sink = yield* Sink.open({ path, compression: "none", force: true })
          yield* sink.write("new")
          assert.strictEqual(readFileSync(path, "utf8"), "old")
          yield* sink.finish
        })
      )
      assert.strictEqual(readFileSync(path, "utf8"), "new")
    })
  )

  it.effect("leaves nothing behind when it is not finished", () =>
    Effect.gen(function* () {
      const path = join(folder, "broken")
      const exit = yield* Effect.exit(
        Effect.scoped(
          Effect.gen(function* () {
            const sink = yield* Sink.open({ path, compression: "gzip", force: false })
            yield* sink.write(text)
            return yield* Effect.fail("the database is gone")
          })
        )
      )
      assert.strictEqual(exit._tag, "Failure")
      assert.isFalse(readdirSync(folder).some((name) => name.startsWith("broken")))
    })
  )

  it.effect("says why a file cannot be written", () =>
    Effect.gen(function* () {
      const missing = yield* Effect.flip(writeAll(join(folder, "no", "such", "folder"), "none"))
      assert.match(missing.message, /no such file/)
      const directory = yield* Effect.flip(writeAll(folder, "zstd"))
      assert.match(directory.message, /is a folder/)
    })
  )

  it.live("forgets what is written", () =>
    Effect.gen(function* () {
      setFlagsFromString("--expose-gc")
      const collect = runInNewContext("gc") as () => void
      const used = (): number => {
        collect()
        const { heapUsed, external } = process.memoryUsage()
        return heapUsed + external
      }
      const size = 1024 * 1024
      yield* Effect.scoped(
        Effect.gen(function* () {
          const sink = yield* Sink.open({ path: "/dev/null", compression: "none", force: true })
          const before = used()
          for (let i = 0; i < 300; i++)
            yield* sink.write(Buffer.alloc(size, 97 + (i % 26)).toString("latin1"))
          // A few pieces are on their way, or not collected yet: a sink that remembers has them all.
          assert.isBelow(used() - before, 100 * size)
        })
      )
    })
  )

  it.live("fails when the disk is full, compressed or not", () =>
    Effect.gen(function* () {
      if (!existsSync("/dev/full")) return
      for (const compression of ["none", "gzip"] as const) {
        const error = yield* Effect.flip(
          Effect.scoped(
            Effect.gen(function* () {
              const sink = yield* Sink.open({ path: "/dev/full", compression, force: true })
              for (let i = 0; i < 100; i++) yield* sink.write(text)
              yield* sink.finish
            })
          )
        )
        assert.match(error.message, /no space left/)
      }
    })
  )
})

describe("formOf", () => {
  const form = (output: string, json = false, format: "auto" | "csv" = "auto") =>
    formOf({ output, format, compress: "auto" }, json)
  it("follows the name of the file", () => {
    assert.deepStrictEqual(form("es.csv"), { format: "csv", compression: "none" })
    assert.deepStrictEqual(form("es.jsonl.zst"), { format: "jsonl", compression: "zstd" })
    assert.deepStrictEqual(form("es.CSV.GZ"), { format: "csv", compression: "gzip" })
    assert.deepStrictEqual(form("-"), { format: "csv", compression: "none" })
    assert.deepStrictEqual(form("-", true), { format: "jsonl", compression: "none" })
    assert.deepStrictEqual(form("es.jsonl", false, "csv"), { format: "csv", compression: "none" })
  })
})
