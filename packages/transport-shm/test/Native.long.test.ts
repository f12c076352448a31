// The long forms of the proof; `npm run test:long`. DM_RING_SCALE multiplies them: 1 takes some ten minutes.
import { execFileSync } from "node:child_process"
import { join } from "node:path"
import { afterAll, assert, describe, it } from "vitest"
import { compiled } from "./process/NativeProgram.ts"
import { testDirectory } from "./process/TestProcess.ts"

const scale = Number(process.env.DM_RING_SCALE ?? 1)
const place = testDirectory()
afterAll(() => place.remove())

const run = (...args: ReadonlyArray<string>) => {
  const out = execFileSync(compiled("ring_test"), args as Array<string>, { encoding: "utf8" })
  console.info(out.trim())
  return JSON.parse(out)
}
const clean = { torn: 0, unreported: 0, snapshot_errors: 0 }

describe("the ring itself, for long", { timeout: 3_600_000 }, () => {
  it("torn records while lapping", () => {
    for (const [capacity, batch] of [
      ["64", "16"],
      ["1024", "0"],
      ["65536", "256"]
    ] as const)
      assert.deepInclude(
        run("stress", `${place.dir}/${capacity}`, String(40 * scale), capacity, batch),
        clean
      )
  })
  it("wake-ups", () => {
    assert.deepInclude(run("wake", `${place.dir}/w`, String(1_000_000 * scale)), clean)
  })
  it("killed producers", () => {
    assert.deepInclude(run("crash", `${place.dir}/p`, String(5_000 * scale)), clean)
  })
  it("killed readers", () => {
    assert.deepInclude(run("readers", `${place.dir}/r`, String(5_000 * scale)), clean)
  })
  it("hostile files", () => {
    execFileSync(compiled("ring_test", "address"), ["fuzz", "9", String(200_000 * scale)], {
      stdio: "inherit"
    })
  })
  it("every step of the protocol is needed: each mutant dies", () => {
    const script = join(import.meta.dirname, "..", "native", "test", "mutants.mjs")
    execFileSync(process.execPath, [script, String(scale)], { stdio: "inherit" })
  })
})
