// The long forms of the proof; `npm run test:long`. DM_RING_SCALE multiplies their counts.
import { execFileSync, spawnSync } from "node:child_process"
import { join } from "node:path"
import { afterAll, assert, describe, it } from "vitest"
import { compiled, crossCompilers } from "./process/NativeProgram.ts"
import { testDirectory } from "./process/TestProcess.ts"

const scale = Number(process.env.DM_RING_SCALE ?? 1)
const place = testDirectory()
afterAll(() => place.remove())

const executed = (program: string, args: ReadonlyArray<string>, before: ReadonlyArray<string> = []) => {
  const [file, ...argv] = [...before, program, ...args]
  const out = execFileSync(file!, argv, { encoding: "utf8" })
  console.info(out.trim())
  return JSON.parse(out)
}
const run = (...args: ReadonlyArray<string>) => executed(compiled("ring_test"), args)
const clean = { torn: 0, unreported: 0, snapshot_errors: 0 }

describe("the ring itself, for long", { timeout: 3_600_000 }, () => {
  it("1e9 records read while lapping: none torn, each lost one told", () => {
    const shapes = [
      ["64", "16"],
      ["1024", "0"],
      ["65536", "256"]
    ] as const
    let published = 0
    let verified = 0
    for (let k = 0; verified < 1e9 * scale; k++) {
      const [capacity, batch] = shapes[k % shapes.length]!
      const result = run("stress", `${place.dir}/${k}`, "5", capacity, batch)
      assert.deepInclude(result, clean)
      assert.strictEqual(result.lost > 0, result.gaps > 0)
      published += result.extra
      verified += result.rows
    }
    console.info(`${published} records published, ${verified} read and verified`)
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
  it("stopped producers", () => {
    assert.deepInclude(run("stops", `${place.dir}/s`, String(5_000 * scale)), clean)
  })
  it("arm64 under qemu: lapping, crashes, wake-ups, stops", (test) => {
    for (const [program, packages] of [
      [crossCompilers.arm64, "gcc-aarch64-linux-gnu libc6-dev-arm64-cross"],
      ["qemu-aarch64", "qemu-user"]
    ] as const)
      if (spawnSync(program, ["--version"]).error !== undefined)
        test.skip(`${program} is not here (Debian: apt-get install ${packages})`)
    const program = compiled("ring_test", "arm64")
    const emulated = (...args: ReadonlyArray<string>) => executed(program, args, ["qemu-aarch64"])
    assert.deepInclude(emulated("stress", `${place.dir}/q1`, "5", "256", "0"), clean)
    assert.deepInclude(emulated("follow", `${place.dir}/q2`, "200000", "4096", "0"), clean)
    assert.deepInclude(emulated("wake", `${place.dir}/q3`, "2000"), clean)
    assert.deepInclude(emulated("crash", `${place.dir}/q4`, "50"), clean)
    assert.deepInclude(emulated("readers", `${place.dir}/q5`, "50"), clean)
    assert.deepInclude(emulated("stops", `${place.dir}/q6`, "50"), clean)
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
