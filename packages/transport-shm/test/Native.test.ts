// Short forms of the proof in `native/test/ring_test.c`; the long ones are in Native.long.test.ts.
import { execFileSync, spawnSync } from "node:child_process"
import { join } from "node:path"
import { afterAll, assert, beforeEach, describe, it } from "vitest"
import { compiled } from "./process/NativeProgram.ts"
import { needsAddon } from "./process/NeedsAddon.ts"
import { testDirectory } from "./process/TestProcess.ts"

beforeEach(needsAddon)

const place = testDirectory()
afterAll(() => place.remove())

const run = (sanitizer: "none" | "address" | "thread", ...args: ReadonlyArray<string>) =>
  JSON.parse(execFileSync(compiled("ring_test", sanitizer), args as Array<string>, { encoding: "utf8" }))
const clean = { torn: 0, unreported: 0, snapshot_errors: 0 }

describe("the ring itself", { timeout: 300_000 }, () => {
  it("a lapped reader gets no torn record and knows each loss", () => {
    const result = run("none", "stress", `${place.dir}/a`, "1", "256", "0")
    assert.deepInclude(result, clean)
    assert.isAbove(result.rows, 0)
  })
  it("a reader that keeps up loses nothing", () => {
    assert.deepInclude(run("none", "follow", `${place.dir}/b`, "100000", "4096", "0"), {
      ...clean,
      lost: 0,
      gaps: 0
    })
  })
  it("no wake-up is lost", () => {
    assert.deepInclude(run("none", "wake", `${place.dir}/c`, "3000"), clean)
  })
  it("killed producers: takeover, snapshots, sequences", () => {
    assert.deepInclude(run("none", "crash", `${place.dir}/d`, "25"), { ...clean, extra: 25 })
  })
  it("killed readers give their rows back", () => {
    assert.deepInclude(run("none", "readers", `${place.dir}/e`, "25"), { ...clean, extra: 25 })
  })
  it("a producer stopped in the middle of a record is not dead, and nothing is torn", () => {
    assert.deepInclude(run("none", "stops", `${place.dir}/g`, "50"), { ...clean, extra: 50 })
  })
  it("every step of the protocol is needed: each mutant dies, the unchanged sources do not", () => {
    const script = join(import.meta.dirname, "..", "native", "test", "mutants.mjs")
    const { status, stdout, stderr } = spawnSync(process.execPath, [script, "0.5"], { encoding: "utf8" })
    assert.strictEqual(status, 0, stdout + stderr)
    assert.isAtLeast(stdout.split("\n").filter((line) => line.includes('"died":true')).length, 12)
  })
  it("damaged segments and control files: errors, no step outside (address and undefined-behaviour sanitizers)", () => {
    const result = run("address", "fuzz", "1", "300")
    assert.isAbove(result.accepted, 50)
  })
  it("no data race (thread sanitizer)", () => {
    assert.deepInclude(run("thread", "stress", `${place.dir}/f`, "1", "256", "16"), clean)
  })
})
