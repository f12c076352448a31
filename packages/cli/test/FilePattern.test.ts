import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { expand, isDbnName } from "../src/FilePattern.ts"

const folder = mkdtempSync(join(tmpdir(), "dm-pattern-"))
afterAll(() => rmSync(folder, { recursive: true }))

const put = (path: string, bytes = 1) => {
  mkdirSync(join(folder, path, ".."), { recursive: true })
  writeFileSync(join(folder, path), "x".repeat(bytes))
}
put("data/b.dbn.zst", 3)
put("data/a.dbn")
put("data/deep/er/c.dbz")
put("data/deep/d.dbn.frag.zst")
put("data/notes.txt")
put("data/e[1].dbn")
put("empty/readme.md")
symlinkSync("..", join(folder, "data", "deep", "loop"))

const expanded = (...args: ReadonlyArray<string>) =>
  Effect.map(expand(args, folder), ({ files, problems }) => ({
    files: files.map(({ path }) => path.replace(`${folder}/`, "")),
    sizes: files.map(({ bytes }) => bytes),
    problems: problems.map(({ message }) => message)
  }))

describe("expand", () => {
  it.effect("takes files as they are, whatever their name, in the given order and once", () =>
    Effect.gen(function* () {
      const found = yield* expanded("data/notes.txt", "data/b.dbn.zst", "data/../data/b.dbn.zst")
      assert.deepStrictEqual(found, {
        files: ["data/notes.txt", "data/b.dbn.zst"],
        sizes: [1, 3],
        problems: []
      })
    })
  )

  it.effect("searches folders for DBN files, sorted, without running in circles", () =>
    Effect.gen(function* () {
      const { files } = yield* expanded("data")
      assert.deepStrictEqual(files, [
        "data/a.dbn",
        "data/b.dbn.zst",
        "data/deep/d.dbn.frag.zst",
        "data/deep/er/c.dbz",
        "data/e[1].dbn"
      ])
    })
  )

  it.effect("expands patterns, and takes a name that only looks like one", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual((yield* expanded("data/*.dbn*")).files, [
        "data/a.dbn",
        "data/b.dbn.zst",
        "data/e[1].dbn"
      ])
      assert.deepStrictEqual((yield* expanded("data/**/*.dbz")).files, ["data/deep/er/c.dbz"])
      assert.deepStrictEqual((yield* expanded("data/e[1].dbn")).files, ["data/e[1].dbn"])
    })
  )

  it.effect("reports each argument that gives nothing and keeps the others", () =>
    Effect.gen(function* () {
      const { files, problems } = yield* expanded("nowhere.dbn", "data/a.dbn", "*.nothing", "empty")
      assert.deepStrictEqual(files, ["data/a.dbn"])
      assert.strictEqual(problems.length, 3)
      assert.match(problems[0]!, /^nowhere\.dbn: no such file$/)
      assert.match(problems[1]!, /^\*\.nothing: no file matches$/)
      assert.match(problems[2]!, /^empty: no DBN files in this folder/)
    })
  )
})

it("knows DBN files by name", () => {
  const names = ["x.dbn", "x.dbn.zst", "x.DBZ", "x.dbn.frag", "x.dbn.frag.zst", "x.dbn.gz", "dbn", "x.zst"]
  assert.deepStrictEqual(names.map(isDbnName), [true, true, true, true, true, false, false, false])
})
