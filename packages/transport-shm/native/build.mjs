// usage: node native/build.mjs [--target x64|arm64] [--out FILE] [--print]
// Compiles the addon with the machine's own `cc` against the npm package node-api-headers: no node-gyp, no download, a
// few seconds. The result is cached under the hash of everything that goes into it; --print writes its path.
import { spawnSync } from "node:child_process"
import { createHash } from "node:crypto"
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from "node:fs"
import { createRequire } from "node:module"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"

const native = dirname(fileURLToPath(import.meta.url))
const argument = (name) => {
  const at = process.argv.indexOf(name)
  return at < 0 ? undefined : process.argv[at + 1]
}
const target = argument("--target") ?? process.arch
const compilers = { x64: "x86_64-linux-gnu-gcc", arm64: "aarch64-linux-gnu-gcc" }
const compiler = process.env.CC ?? (target === process.arch ? "cc" : compilers[target])

const headers = () => {
  try {
    return createRequire(import.meta.url)("node-api-headers").include_dir
  } catch {
    console.error(
      "build: the package node-api-headers is not installed; run `npm run setup` in the workspace"
    )
    process.exit(3)
  }
}

const sources = ["src/ring.c", "src/addon.c"].map((file) => join(native, file))
const floor = join(native, "src/glibc_floor.h")
const inputs = [...sources, floor, join(native, "src/ring.h"), join(native, "include/dm_ring.h")]
const options = [
  "-std=c11",
  "-O3",
  "-g1",
  "-fPIC",
  "-shared",
  "-fvisibility=hidden",
  "-Wall",
  "-Wextra",
  "-Werror"
]
if (process.platform === "darwin") options.push("-undefined", "dynamic_lookup")
else options.push("-Wl,-z,relro,-z,now")

const compilerVersion = spawnSync(compiler, ["-dumpfullversion", "-dumpmachine"], { encoding: "utf8" })
if (compilerVersion.error !== undefined) {
  console.error(
    `build: there is no C compiler "${compiler}" here; install one (Debian: apt-get install gcc libc6-dev)`
  )
  process.exit(2)
}
const hash = createHash("sha256")
for (const file of inputs) hash.update(readFileSync(file)).update("\0")
hash.update(JSON.stringify([options, target, compilerVersion.stdout]))
const out =
  argument("--out") ??
  join(native, ".build", `${hash.digest("hex").slice(0, 16)}-${process.platform}-${target}.node`)

if (!existsSync(out)) {
  mkdirSync(dirname(out), { recursive: true })
  const partial = `${out}.${process.pid}.partial`
  const argv = [...options, "-include", floor, "-isystem", headers(), ...sources, "-o", partial]
  const { status, stderr } = spawnSync(compiler, argv, { encoding: "utf8" })
  if (status !== 0) {
    rmSync(partial, { force: true })
    console.error(`build: ${compiler} failed\n${stderr}`)
    process.exit(1)
  }
  renameSync(partial, out)
}
if (process.argv.includes("--print")) process.stdout.write(`${out}\n`)
