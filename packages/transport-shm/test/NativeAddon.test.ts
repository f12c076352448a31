import { spawnSync } from "node:child_process"
import { existsSync } from "node:fs"
import { join } from "node:path"
import { assert, beforeEach, describe, it } from "vitest"
import { load } from "../src/NativeAddon.ts"
import { needsAddon } from "./process/NeedsAddon.ts"

const native = join(import.meta.dirname, "..", "native")
const { glibcProblem, neededGlibc } = await import(join(native, "glibc.mjs"))
const { outdated } = await import(join(native, "package.mjs"))

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
  it("without a compiler and without a package for the platform: a typed error that names both and the alternative", () => {
    const said = failing('Object.defineProperty(process, "arch", { value: "riscv64" })', {
      CC: "no-such-compiler"
    })
    assert.match(
      said,
      /^TransportError TransportIncompatible false shm load: no shared-memory ring for \w+-riscv64: .*no C compiler.*there is no prebuilt package @data-manager\/transport-shm-\w+-riscv64/s
    )
    assert.match(said, /use a network transport/)
  })
  it("without a compiler, but with the platform's package: loads", (test) => {
    const made = spawnSync(process.execPath, [join(native, "package.mjs")], { encoding: "utf8" })
    const platform = `${process.platform}-${process.arch}`
    if (!made.stdout.includes(`${platform}: `)) test.skip(`no package is made for ${platform}`)
    assert.match(failing("", { CC: "no-such-compiler" }), /^loaded/)
  })
  it("needs no newer glibc than 2.28, for every platform that can be built here", (test) => {
    if (process.platform !== "linux") test.skip("glibc is a matter of Linux")
    const built = spawnSync(process.execPath, [join(native, "build.mjs"), "--print"], { encoding: "utf8" })
    const packaged = ["linux-x64", "linux-arm64"].map((name) =>
      join(native, "..", "npm", name, "dm_ring.node")
    )
    for (const file of [built.stdout.trim(), ...packaged.filter(existsSync)]) {
      assert.strictEqual(glibcProblem(file), undefined)
      const listed = spawnSync("objdump", ["-p", file], { encoding: "utf8" })
      if (listed.error !== undefined || listed.stdout === "") continue // another machine's format, or no binutils
      const versions = [...listed.stdout.matchAll(/GLIBC_2\.(\d+)/g)].map(([, minor]) => Number(minor))
      assert.strictEqual(neededGlibc(file), `2.${Math.max(...versions)}`)
      assert.isAtMost(Math.max(...versions), 28)
    }
  })
  it("the manifests of the platform packages are what the script writes", () => {
    assert.deepStrictEqual(outdated(), [])
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
