import { spawnSync } from "node:child_process"
import { join } from "node:path"
import { assert, beforeEach, describe, it } from "vitest"
import { load } from "../src/NativeAddon.ts"
import { needsAddon } from "./process/NeedsAddon.ts"

const failing = (setup: string, env: Record<string, string>) => {
  const module = JSON.stringify(join(import.meta.dirname, "../src/NativeAddon.ts"))
  const script = `
    ${setup}
    const { load } = await import(${module})
    try { load(); console.log("loaded") }
    catch (error) { console.log(error._tag, error.reason._tag, error.isRetryable, error.message) }`
  const options = ["--conditions=source", "--input-type=module", "-e", script]
  return spawnSync(process.execPath, options, { encoding: "utf8", env: { ...process.env, ...env } }).stdout
}

describe("the addon", { timeout: 120_000 }, () => {
  beforeEach(needsAddon)

  it("loads, and speaks ABI 1", () => {
    assert.strictEqual(load().abiMajor, 1)
  })
  it("without a compiler: a typed error that names the platform and the alternative", () => {
    const said = failing("", { CC: "no-such-compiler" })
    assert.match(
      said,
      /^TransportError TransportIncompatible false shm load: no shared-memory ring for \w+-\w+: .*no C compiler/
    )
    assert.match(said, /use a network transport/)
  })
  it("on Windows: the same", () => {
    const said = failing('Object.defineProperty(process, "platform", { value: "win32" })', {})
    assert.match(said, /TransportIncompatible false .*win32.*use a network transport/)
  })
  it("a file that is no addon: the same", () => {
    assert.match(
      failing("", { DM_RING_ADDON: import.meta.filename }),
      /TransportIncompatible false .*does not load/
    )
  })
})
