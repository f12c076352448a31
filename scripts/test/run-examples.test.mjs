import { spawnSync } from "node:child_process"
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join, resolve } from "node:path"
import { afterEach, assert, describe, it } from "vitest"
import { missingLine } from "../run-examples.mjs"

const script = resolve(import.meta.dirname, "../run-examples.mjs")
const folders = []
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true })
})

const runExample = (manifest, files) => {
  const parent = mkdtempSync(join(tmpdir(), "run-examples-"))
  folders.push(parent)
  mkdirSync(join(parent, "one"))
  writeFileSync(
    join(parent, "one", "package.json"),
    JSON.stringify({ name: "one", type: "module", ...manifest })
  )
  for (const [name, text] of Object.entries(files)) writeFileSync(join(parent, "one", name), text)
  return spawnSync(process.execPath, [script, "--folder", parent], { encoding: "utf8" })
}
const start = { scripts: { start: "node main.ts" } }

describe("run-examples", () => {
  it("passes an example that prints what it should", () => {
    const { status, stdout } = runExample(start, {
      "main.ts":
        'const n: number = 2\nconsole.log("a\\nnoise\\ntook 12 ms\\n" + n, process.env.DM_DATA_DIR !== undefined)',
      "expected.txt": "a\n/took [0-9]+ ms/\n2 true\n"
    })
    assert.strictEqual(status, 0, stdout)
    assert.match(stdout, /^one: ok \(.*\)\nexamples: 1 passed, 0 failed\n$/)
  })

  it("fails an example that ends with an error, and shows what it wrote", () => {
    const { status, stdout } = runExample(start, { "main.ts": 'console.error("no data")\nprocess.exit(3)' })
    assert.strictEqual(status, 1)
    assert.match(stdout, /one: failed, ended with 3 .*\n {4}no data/)
  })

  it("fails an example that lacks a line", () => {
    const { status, stdout } = runExample(start, { "main.ts": 'console.log("a")', "expected.txt": "a\nb\n" })
    assert.strictEqual(status, 1)
    assert.include(stdout, 'its output has no line "b"')
  })

  it("stops an example with everything it started when its time is over", () => {
    const { status, stdout } = runExample(
      { ...start, config: { timeLimitSeconds: 1 } },
      {
        "main.ts":
          'import { spawn } from "node:child_process"\nspawn("sleep", ["600"], { stdio: "inherit" })\nsetInterval(() => {}, 1e6)'
      }
    )
    assert.strictEqual(status, 1)
    assert.include(stdout, "not finished after 1 s")
  })

  it("fails when there is no example at all", () => {
    const parent = mkdtempSync(join(tmpdir(), "run-examples-"))
    folders.push(parent)
    assert.strictEqual(spawnSync(process.execPath, [script, "--folder", parent]).status, 1)
  })

  it("fails a folder without a start script", () => {
    assert.include(runExample({}, {}).stdout, 'no "start" script')
  })
})

describe("missingLine", () => {
  const cases = [
    ["finds lines in order", "a\nb", "x\na\ny\nb\n", undefined],
    ["wants the order kept", "b\na", "a\nb", "a"],
    ["wants each repetition", "a\na", "a", "a"],
    ["wants whole lines", "a", "aa", "a"],
    ["ignores trailing blanks", "a", "a  \r\n", undefined],
    ["takes a pattern for a whole line", "/[0-9]+ rows/", "12 rows\n", undefined],
    ["a pattern is not a part of a line", "/[0-9]+ rows/", "12 rows more\n", "/[0-9]+ rows/"]
  ]
  it.each(cases)("%s", (_, expected, output, missing) => {
    assert.strictEqual(missingLine(expected, output), missing)
  })
})
