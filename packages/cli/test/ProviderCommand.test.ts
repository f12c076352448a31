/** `dm provider new`: what it writes compiles, and what is there stays. */
import { spawnSync } from "node:child_process"
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs"
import { createRequire } from "node:module"
import { dirname, join } from "node:path"
import { afterAll, assert, describe, inject, it } from "vitest"
import { Workplace } from "./Dm.ts"

const place = new Workplace()
afterAll(() => place.close())

const packages = join(import.meta.dirname, "..", "..")
const require = createRequire(import.meta.url)

/** The folder of a package that this one depends on. */
const folderOf = (name: string): string => dirname(require.resolve(`${name}/package.json`))

/** What `npm install` would bring, from this workspace. */
const link = (folder: string): void => {
  const links = {
    effect: folderOf("effect"),
    vitest: folderOf("vitest"),
    "@effect/vitest": folderOf("@effect/vitest"),
    "@types/node": folderOf("@types/node"),
    "@data-manager/core": join(packages, "core"),
    "@data-manager/testing": join(packages, "testing")
  }
  for (const [name, target] of Object.entries(links)) {
    const path = join(folder, "node_modules", name)
    mkdirSync(dirname(path), { recursive: true })
    symlinkSync(target, path)
  }
}

describe("dm provider new", () => {
  it("writes a package that compiles", async () => {
    const { code, stderr, stdout } = await place.run(["provider", "new", "my-venue"])
    assert.strictEqual(code, 0, stderr)
    assert.include(stdout, "wrote my-venue-provider/src/MyVenueProvider.ts")
    assert.match(stderr, /Next: cd my-venue-provider, npm install, npm test/)
    const folder = place.path("my-venue-provider")
    const manifest = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"))
    const own = JSON.parse(readFileSync(join(inject("dm").folder, "package.json"), "utf8"))
    assert.strictEqual(manifest.peerDependencies["@data-manager/core"], `^${own.version}`)
    const effect = JSON.parse(readFileSync(join(folderOf("effect"), "package.json"), "utf8"))
    assert.strictEqual(manifest.devDependencies.effect, effect.version)
    for (const found of Object.values(manifest.devDependencies))
      assert.match(String(found), /^\^?\d+\.\d+\.\d+/)
    link(folder)
    const tsc = join(folderOf("typescript"), "bin", "tsc")
    const args = [tsc, "-p", folder, "--customConditions", "source", "--pretty", "false"]
    const types = spawnSync(process.execPath, args, { encoding: "utf8" })
    assert.deepStrictEqual([types.stdout, types.status], ["", 0])
  }, 60_000)

  it("tells programs what it wrote, and where", async () => {
    const { stdout } = await place.run(["provider", "new", "acme", "--folder", "deep/acme", "--json"])
    const { folder, package: name, written } = JSON.parse(stdout)
    assert.deepStrictEqual([folder, name], [place.path("deep", "acme"), "acme-provider"])
    for (const file of written) assert.isTrue(existsSync(file), file)
  })

  it("leaves a folder with something in it alone", async () => {
    mkdirSync(place.path("full"))
    writeFileSync(place.path("full", "notes.txt"), "mine")
    const { code, stderr } = await place.run(["provider", "new", "acme", "--folder", "full"])
    assert.strictEqual(code, 1)
    assert.match(stderr, /full is not empty and was not changed; name another one with --folder/)
    assert.isFalse(existsSync(place.path("full", "package.json")))
  })

  it.each([
    ["Acme", "is no name of a provider"],
    ["../acme", "is no name of a provider"],
    ["a--b", "is no name of a provider"],
    ["databento", "is built in"]
  ])("refuses the name %s", async (name, text) => {
    const { code, stderr } = await place.run(["provider", "new", name])
    assert.strictEqual(code, 2)
    assert.include(stderr, text)
    assert.isFalse(existsSync(place.path(`${name}-provider`)))
  })
})
