/** Providers of other packages, in the built `dm`: how they are found, what they may be, what is said where they are not. */
import { mkdirSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { build } from "tsup"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { jsonLines, outcome, Workplace } from "./Dm.ts"

const place = new Workplace()
const env = { ACME_TOKEN: "secret-of-acme" }
const day = ["--start", "2026-01-05", "--end", "2026-01-06"]

/** Writes a file below the workplace. */
const put = (path: string, text: string): void => {
  mkdirSync(dirname(place.path(path)), { recursive: true })
  writeFileSync(place.path(path), text)
}

/** A package in the node_modules of a folder. */
const install = (name: string, manifest: object, files: { readonly [path: string]: string } = {}): void => {
  const folder = join("project", "node_modules", name)
  put(join(folder, "package.json"), JSON.stringify({ name, version: "1.0.0", type: "module", ...manifest }))
  for (const [path, text] of Object.entries(files)) put(join(folder, path), text)
}

/** A configuration file; the folder that `dm` runs in has no packages. */
const config = (name: string, text: string): ReadonlyArray<string> => {
  put(join("project", name), text)
  return ["-c", place.path("project", name)]
}

const dm = (args: ReadonlyArray<string>, more: Record<string, string> = env) => place.run(args, { env: more })

beforeAll(async () => {
  install("acme-provider", {
    exports: { ".": { types: "./index.d.ts", import: "./dist/PackagedProvider.js" } }
  })
  await build({
    entry: [join(import.meta.dirname, "fixtures", "PackagedProvider.ts")],
    outDir: place.path("project", "node_modules", "acme-provider", "dist"),
    format: ["esm"],
    platform: "node",
    target: "node22",
    noExternal: [/./],
    esbuildOptions: (options) => {
      options.conditions = ["source"]
    },
    config: false,
    silent: true
  })
  assert.strictEqual((await dm(["migrate", "--up"])).code, 0)
}, 60_000)

afterAll(() => place.close())

const acme = () => config("acme.toml", '[providers.acme]\npackage = "acme-provider"\nfail_first = true\n')

describe("a provider of another package", () => {
  it("fills the store, with no key for the provider that is built in", async () => {
    const args = [...acme(), "backfill", "-p", "acme", "-s", "BTC-EUR,ETH.SPOT", ...day]
    const planned = await dm([...args, "--dry-run", "--json"])
    assert.strictEqual(planned.code, 0, planned.stderr)
    assert.strictEqual(JSON.parse(planned.stdout).plans[0].dataset, "ACME.SPOT")
    const { code, stdout, stderr } = await dm([...args, "--json"])
    assert.strictEqual(code, 0, stderr)
    assert.strictEqual(JSON.parse(stdout).chunks[0].inserted, 2880)
    assert.include(stderr, "acme is closed")
    const rows = await dm(["query", "trades", "ACME.SPOT:BTC-EUR", ...day, "--limit", "2", "--json"])
    assert.deepStrictEqual(
      jsonLines(rows.stdout).map(({ symbol, price }) => [symbol, price]),
      [
        ["ACME.SPOT:BTC-EUR", "294596.2"],
        ["ACME.SPOT:BTC-EUR", "294596.21"]
      ]
    )
  }, 60_000)

  it("tells its errors as any other, without a secret", async () => {
    // The dataset says whose it is.
    const named = await dm([...acme(), "backfill", "-s", "ACME.SPOT:BTC-EUR", ...day])
    assert.strictEqual(named.code, 0, named.stderr)
    assert.include(named.stdout, "nothing to fetch")
    const unknown = await dm([...acme(), "backfill", "-p", "acme", "-s", "NOPE", ...day])
    assert.strictEqual(unknown.code, 1)
    assert.include(unknown.stderr, "acme history: unknown symbols: NOPE")
    const without = await dm([...acme(), "backfill", "-p", "acme", "-s", "BTC-EUR", ...day], {})
    assert.strictEqual(without.code, 1)
    assert.include(without.stderr, "ACME_TOKEN is not set; export ACME_TOKEN=...")
    for (const { stdout, stderr } of [unknown, without]) assert.notInclude(stdout + stderr, env.ACME_TOKEN)
  }, 60_000)

  it("is discovered beside one that cannot be asked, which is told", async () => {
    const { code, stdout, stderr } = await dm([...acme(), "symbols", "discover", "--json"])
    assert.strictEqual(code, 1)
    assert.include(stderr, "DATABENTO_API_KEY is not set")
    assert.include(stderr, "enabled = false")
    const [failed, found] = JSON.parse(stdout).datasets
    assert.deepStrictEqual([failed.provider, failed.dataset], ["databento", null])
    assert.deepStrictEqual([found.provider, found.dataset, found.listed], ["acme", "ACME.SPOT", 2])
    const alone = await dm([...acme(), "symbols", "discover", "-p", "acme", "--json"])
    assert.deepStrictEqual([alone.code, JSON.parse(alone.stdout).datasets[0].added], [0, 0])
  }, 60_000)

  it("is closed when dm is interrupted", async () => {
    const file = config("endless.toml", '[providers.acme]\npackage = "acme-provider"\nendless = true\n')
    const child = place.start([...file, "backfill", "-p", "acme", "-s", "BTC-EUR", ...day, "--again"], {
      env
    })
    const opened = new Promise<void>((done) => {
      child.stderr.on("data", (text: Buffer) => {
        if (text.includes("acme is open")) done()
      })
    })
    const ended = outcome(child)
    await Promise.race([opened, ended])
    child.kill("SIGINT")
    const { code, stderr } = await ended
    assert.strictEqual(code, 130, stderr)
    assert.include(stderr, "acme is closed")
  }, 60_000)

  it("is looked at by dm doctor", async () => {
    const file = config(
      "doctor.toml",
      '[providers.acme]\npackage = "acme-provider"\n[providers.lost]\npackage = "lost"\n[providers.off]\npackage = "off"\nenabled = false\n'
    )
    const { code, stdout } = await dm([...file, "doctor", "--json"])
    assert.strictEqual(code, 3)
    const { checks } = JSON.parse(stdout)
    const states = checks.flatMap(({ detail, name, state }: Record<string, string>) =>
      name?.startsWith("provider ") ? [[name, state, detail]] : []
    )
    assert.deepStrictEqual(
      states.map(([name, state]: ReadonlyArray<string>) => [name, state]),
      [
        ["provider acme", "ok"],
        ["provider lost", "failed"],
        ["provider off", "skipped"]
      ]
    )
    assert.match(states[0][2], /acme-provider 1\.0\.0 \(.*acme-provider\)/)
    assert.match(states[1][2], /run `npm install lost`/)
  }, 60_000)

  it("has the datasets that the configuration says", async () => {
    const file = config(
      "datasets.toml",
      '[providers.acme]\npackage = "acme-provider"\ndatasets = ["ACME.A", "ACME.B"]\n[providers.databento]\nenabled = false\n'
    )
    const { code, stdout, stderr } = await dm([...file, "symbols", "discover", "--json"])
    assert.strictEqual(code, 0, stderr)
    const { datasets } = JSON.parse(stdout)
    assert.deepStrictEqual(
      datasets.map(({ dataset }: { dataset: string }) => dataset),
      ["ACME.A", "ACME.B"]
    )
  }, 60_000)
})

describe("what is no provider", () => {
  const refusals: ReadonlyArray<readonly [name: string, keys: string, text: RegExp]> = [
    ["not-there", "", /"not-there" is not installed; run `npm install not-there` in .*project/],
    ["unbuilt", "", /dist\/index\.js does not exist: is the package built/],
    ["closed", "", /exports nothing that can be imported/],
    ["empty", "", /has no export "provider" with a function "make" \(it has other\)/],
    ["throws", "", /"throws" cannot be imported: not today/],
    ["old-effect", "", /uses effect 3\.22\.4, and dm \S+ needs 4\.1: run `npm install effect@4\.1`/],
    ["new-core", "", /uses @data-manager\/core 7\.1\.0, and dm \S+ needs \d+/],
    ["acme-provider", 'wrong_id = "other"', /made a provider with the id "other".*"acme"/],
    ["acme-provider", "crash = true", /"acme-provider" failed: a mistake of the package/],
    ["acme-provider", "datasets = 5", /providers\.acme\.datasets: expected a list of dataset names/],
    ["acme-provider", "enabled = false", /provider "acme" is switched off/]
  ]

  beforeAll(() => {
    install("unbuilt", { exports: { ".": { import: "./dist/index.js" } } })
    install("closed", { exports: { "./other": "./other.js" } })
    install("empty", {}, { "index.js": "export const other = 1" })
    install("throws", { exports: "./index.js" }, { "index.js": "throw new Error('not today')" })
    install("old-effect", {}, { "index.js": "export const provider = { make() {} }" })
    install("new-core", {}, { "index.js": "export const provider = { make() {} }" })
    put(
      "project/node_modules/new-core/node_modules/@data-manager/core/package.json",
      '{ "name": "@data-manager/core", "version": "7.1.0" }'
    )
    put(
      "project/node_modules/old-effect/node_modules/effect/package.json",
      '{ "name": "effect", "version": "3.22.4" }'
    )
  })

  it.each(refusals)("%s %s", async (name, keys, text) => {
    const file = config(`${name}.toml`, `[providers.acme]\npackage = "${name}"\n${keys}\n`)
    const { code, stdout, stderr } = await dm([...file, "backfill", "-p", "acme", "-s", "BTC-EUR", ...day])
    assert.deepStrictEqual([code, stdout], [2, ""], stderr)
    assert.match(stderr, text)
  })
})
