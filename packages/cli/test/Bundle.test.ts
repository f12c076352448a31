import { spawnSync } from "node:child_process"
import { readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { SyntheticMarket } from "@data-manager/providers-databento/simulator"
import { assert, describe, it } from "@effect/vitest"
import { inject } from "vitest"

const folder = inject("dm").folder
const bin = join(folder, "dist", "bin.js")
const manifest = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"))

const run = (args: ReadonlyArray<string>, node: ReadonlyArray<string> = []) => {
  return spawnSync(process.execPath, [...node, bin, ...args], { encoding: "utf8", cwd: folder })
}

/** Modules of `import ... from"x"` statements of minified code; templates of source texts have a blank there. */
const statics = (text: string): ReadonlyArray<string> =>
  [...text.matchAll(/(?:^|[;\n}])import\b[^"'();]*?\bfrom"([^"]+)"/g)].map(([, name]) => name!)

/** Modules of `import("x")`. */
const dynamics = (text: string): ReadonlyArray<string> =>
  [...text.matchAll(/\bimport\("([^"]+)"\)/g)].map(([, name]) => name!)

describe("the bundle", () => {
  it("shows help and reads files, from pieces that are loaded when they are needed", () => {
    const help = run(["import", "--help"])
    assert.deepStrictEqual([help.status, help.stderr], [0, ""])
    assert.include(help.stdout, "dm import [flags] <FILE...>")
    assert.match(help.stdout, /EXAMPLES\n/)
    writeFileSync(
      join(folder, "day.dbn"),
      Buffer.concat([...new SyntheticMarket({ trades: 100 }).tradeFile()])
    )
    const lines = run(["dbn", "day.dbn", "--json"])
    assert.deepStrictEqual([lines.status, lines.stdout.trimEnd().split("\n").length], [0, 100])
    const checks = run(["doctor", "--json", "--data-dir", join(folder, "data")])
    const found = JSON.parse(checks.stdout).checks.find(
      ({ name }: { name: string }) => name === "embedded PostgreSQL"
    )
    assert.strictEqual(found.state, "ok", found.detail)
  })

  it("prints its version", () => {
    const { status, stdout } = run(["--version"])
    assert.deepStrictEqual([status, stdout], [0, `dm ${manifest.version}\n`])
  })

  it("says on an older Node which one it needs", () => {
    const older =
      "data:text/javascript,Object.defineProperty(process,'versions',{value:{...process.versions,node:'20.11.0'}})"
    const { status, stdout, stderr } = run(["--help"], ["--import", older])
    assert.deepStrictEqual([status, stdout], [2, ""])
    assert.match(stderr, /^dm needs Node 22\.19 or newer; this is Node 20\.11\.0 .*\n$/)
  })

  it("begins with a file that any Node reads: only built-in modules are imported before the version is known", () => {
    const text = readFileSync(bin, "utf8")
    assert.isTrue(
      text.startsWith("#!/usr/bin/env -S node --max-semi-space-size=8 --heap-growing-percent=50\n")
    )
    const imports = statics(text)
    assert.deepStrictEqual([...imports].sort(), ["node:fs", "node:module"])
    assert.lengthOf([...text.matchAll(/import\("\.\/Main-/g)], 1)
  })

  it("needs nothing at run time but what the package declares", () => {
    const declared = new Set([
      ...Object.keys(manifest.dependencies),
      ...Object.keys(manifest.optionalDependencies)
    ])
    const needed = new Set<string>()
    for (const file of readdirSync(join(folder, "dist"))) {
      const text = readFileSync(join(folder, "dist", file), "utf8")
      for (const name of [...statics(text), ...dynamics(text)])
        if (!name.startsWith(".") && !name.startsWith("node:"))
          needed.add(
            name
              .split("/")
              .slice(0, name.startsWith("@") ? 2 : 1)
              .join("/")
          )
    }
    assert.include([...needed], "pg")
    for (const name of needed) assert.isTrue(declared.has(name), `${name} is imported, but not declared`)
  })
})
