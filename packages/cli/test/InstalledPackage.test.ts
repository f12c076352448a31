import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, assert, describe, it } from "@effect/vitest"
import { entryOf, findPackage } from "../src/InstalledPackage.ts"

const root = realpathSync(mkdtempSync(join(tmpdir(), "dm-packages-")))
afterAll(() => rmSync(root, { recursive: true, force: true }))

const put = (folder: string, manifest: object | string): string => {
  const path = join(root, folder)
  mkdirSync(path, { recursive: true })
  writeFileSync(
    join(path, "package.json"),
    typeof manifest === "string" ? manifest : JSON.stringify(manifest)
  )
  return path
}

describe("findPackage", () => {
  it("looks into the node_modules of a folder and of those above, the nearest first", () => {
    const upper = put("node_modules/@a/one", { name: "@a/one", version: "1.0.0" })
    const lower = put("app/node_modules/@a/one", { name: "@a/one", version: "2.0.0" })
    assert.strictEqual(findPackage("@a/one", join(root, "app", "deep"))?.folder, lower)
    assert.strictEqual(findPackage("@a/one", join(root, "other"))?.folder, upper)
    assert.isUndefined(findPackage("@a/two", join(root, "app")))
  })

  it("finds the package that a folder belongs to", () => {
    const own = put("own", { name: "own-provider" })
    assert.strictEqual(findPackage("own-provider", join(own, "test"))?.folder, own)
  })

  it("follows a link, behind which a package has its own dependencies", () => {
    const linked = put("elsewhere/linked", { name: "linked" })
    const dependency = put("elsewhere/linked/node_modules/effect", { name: "effect", version: "4.1.9" })
    put("node_modules/effect", { name: "effect", version: "3.0.0" })
    symlinkSync(linked, join(root, "node_modules", "linked"))
    const found = findPackage("linked", root)
    assert.strictEqual(found?.folder, linked)
    assert.strictEqual(findPackage("effect", found?.folder ?? "")?.folder, dependency)
  })

  it("passes over a manifest that cannot be read", () => {
    put("broken/node_modules/two", "{")
    put("broken/node_modules/three", "5")
    assert.isUndefined(findPackage("two", join(root, "broken")))
    assert.isUndefined(findPackage("three", join(root, "broken")))
  })
})

describe("entryOf", () => {
  it.each([
    [{}, "index.js"],
    [{ main: "lib/a.js" }, "lib/a.js"],
    [{ exports: "./a.js" }, "a.js"],
    [{ exports: { import: "./a.mjs", require: "./a.cjs" } }, "a.mjs"],
    [{ exports: { ".": { types: "./a.d.ts", import: "./a.js" }, "./b": "./b.js" } }, "a.js"],
    [{ exports: { ".": { browser: "./b.js", node: { require: "./c.cjs", default: "./d.js" } } } }, "d.js"],
    [{ exports: { ".": [{ browser: "./b.js" }, "./a.js"] } }, "a.js"],
    [{ exports: { ".": { import: { browser: "./b.js" }, default: "./c.js" } } }, "c.js"]
  ])("of %j", (manifest, file) => {
    assert.strictEqual(entryOf({ folder: "/pkg", manifest }), join("/pkg", file))
  })

  it.each([
    { exports: { "./other": "./a.js" } },
    { exports: { ".": null } },
    { exports: { require: "./a.cjs" } },
    { exports: { ".": [] } }
  ])("is none for %j", (manifest) => {
    assert.isUndefined(entryOf({ folder: "/pkg", manifest }))
  })
})
