/** The codec and the synthetic market are usable without Effect, and without anything else of the workspace. */
import { readdirSync, readFileSync } from "node:fs"
import { basename, dirname, join, relative } from "node:path"
import { assert, describe, it } from "vitest"

const src = join(import.meta.dirname, "../../src")

/** Modules that a module needs when it runs: `import type` leaves nothing behind. */
const imports = (file: string): ReadonlyArray<string> =>
  [...readFileSync(file, "utf8").matchAll(/^(?:import|export) (?!type\b)[^;'"]*?from "([^"]+)"/gms)].map(
    ([, name]) => name!
  )

const filesOf = (folder: string): ReadonlyArray<string> =>
  readdirSync(join(src, folder)).map((name) => join(src, folder, name))

describe("imports", () => {
  it("of the codec lead to itself and to node:zlib alone", () => {
    const outside = new Map<string, string>()
    for (const file of filesOf("dbn"))
      for (const name of imports(file)) if (!name.startsWith("./")) outside.set(name, basename(file))
    assert.deepStrictEqual([...outside], [["node:zlib", "ZstdHandle.ts"]])
    assert.isAbove(imports(join(src, "dbn/StreamDecoder.ts")).length, 5)
  })

  it("of the synthetic market lead to itself and the codec alone", () => {
    const folder = join(src, "simulator")
    for (const name of imports(join(folder, "SyntheticMarket.ts")))
      assert.match(
        relative(src, join(dirname(join(folder, "SyntheticMarket.ts")), name)),
        /^(dbn|simulator)\//
      )
  })
})
