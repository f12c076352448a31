import { spawnSync } from "node:child_process"
import {
  chmodSync,
  chownSync,
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync
} from "node:fs"
import { join } from "node:path"
import type { TransportError } from "@data-manager/core"
import { afterEach, assert, beforeEach, describe, it } from "vitest"
import { clean, inspect, list } from "../src/RingInspection.ts"
import { RingReader } from "../src/RingReader.ts"
import { RingWriter } from "../src/RingWriter.ts"
import { needsAddon } from "./process/NeedsAddon.ts"
import { testDirectory } from "./process/TestProcess.ts"
import { contextOf, trades } from "./TestBatch.ts"

beforeEach(needsAddon)

const place = { dir: "", remove: () => {} }
beforeEach(() => Object.assign(place, testDirectory()))
afterEach(() => place.remove())
const isRoot = process.getuid?.() === 0
const file = (name: string) => join(place.dir, name)
const closed = (name: string): void => new RingWriter({ dir: place.dir, name, capacity: 64 }).close()
const failure = (work: () => unknown): TransportError => {
  try {
    work()
  } catch (error) {
    return error as TransportError
  }
  return assert.fail("nothing was thrown")
}
const read = (options: object = {}) =>
  failure(() => new RingReader({ dir: place.dir, name: "t", ...options }))
const write = (options: object = {}) =>
  failure(() => new RingWriter({ dir: place.dir, name: "t", capacity: 64, ...options }))

describe("what is refused", { timeout: 120_000 }, () => {
  it("nobody there", () => {
    assert.strictEqual(read().reason._tag, "TransportNotConnected")
    assert.isTrue(read().isRetryable)
    assert.match(read().message, /nobody has published under ring "t".*start the publication/)
    assert.strictEqual(
      failure(() => new RingReader({ dir: "/dev/shm/no-such-dir", name: "t" })).reason._tag,
      "TransportNotConnected"
    )
  })
  it("symbolic links, as file, control file and directory", () => {
    closed("real")
    symlinkSync(file("real.ring"), file("t.ring"))
    assert.strictEqual(read().reason._tag, "TransportIncompatible")
    assert.strictEqual(write().reason._tag, "TransportIncompatible")
    symlinkSync(place.dir, file("link"))
    assert.strictEqual(
      failure(() => new RingReader({ dir: file("link"), name: "real" })).reason._tag,
      "TransportIncompatible"
    )
    symlinkSync(file("real.ctl"), file("x.ctl"))
    const writer = new RingWriter({ dir: place.dir, name: "x", capacity: 64 }) // replaces the link, does not follow it
    new RingReader({ dir: place.dir, name: "x" }).close()
    writer.close()
  })
  it("files and directories that others may write", () => {
    closed("t")
    chmodSync(file("t.ring"), 0o666)
    assert.match(read().message, /foreign write permission/)
    assert.strictEqual(write().reason._tag, "TransportIncompatible")
    chmodSync(file("t.ring"), 0o600)
    chmodSync(place.dir, 0o777)
    assert.match(read().message, /foreign write permission/)
    assert.strictEqual(write().reason._tag, "TransportIncompatible")
  })
  it("files of another owner than expected", (test) => {
    if (!isRoot) test.skip("changing owners needs root")
    closed("t")
    chownSync(file("t.ring"), 12345, 12345)
    assert.strictEqual(read().reason._tag, "TransportIncompatible")
    assert.strictEqual(read({ owner: 12345 }).reason._tag, "TransportIncompatible") // the directory is still ours
    chownSync(place.dir, 12345, 12345)
    assert.strictEqual(write().reason._tag, "TransportIncompatible")
  })
  it("a reader of the group reads, a reader outside of it does not get in", (test) => {
    if (!isRoot) test.skip("other users need root")
    chmodSync(place.dir, 0o750)
    chownSync(place.dir, 0, 23456)
    const writer = new RingWriter({ dir: place.dir, name: "t", capacity: 64, groupReadable: true })
    writer.publish(trades(contextOf(2), 2, 0, 10))
    const argv = ["--conditions=source", "--disable-warning=ExperimentalWarning", "--input-type=module", "-e"]
    const script = `
      import { RingReader } from ${JSON.stringify(join(import.meta.dirname, "../src/RingReader.ts"))}
      try {
        const options = { dir: ${JSON.stringify(place.dir)}, name: "t", start: { _tag: "Oldest" } }
        const reader = new RingReader({ ...options, ...JSON.parse(process.argv[1]) })
        console.log(reader.poll()[0].batch.length)
        reader.close()
      } catch (error) {
        console.log(error.reason._tag, error.isRetryable, error.message)
      }`
    const as = (uid: number, gid: number, options: object) =>
      spawnSync(process.execPath, [...argv, script, JSON.stringify(options)], {
        uid,
        gid,
        encoding: "utf8",
        timeout: 50_000,
        cwd: import.meta.dirname
      })
    const member = as(12345, 23456, { owner: 0 })
    if (/EACCES.*node_modules|Cannot find/.test(member.stderr))
      test.skip("the checkout is not readable for other users")
    assert.strictEqual(member.stdout.trim(), "10", member.stderr)
    assert.match(
      as(12345, 23456, {}).stdout,
      /^TransportIncompatible false .*another owner.*set the owner option/
    )
    assert.match(
      as(12345, 12345, { owner: 0 }).stdout,
      /^TransportIncompatible false .*not open to this user.*groupReadable/
    )
    writer.close()
    // The next producer keeps the ring to itself again.
    new RingWriter({ dir: place.dir, name: "t", capacity: 64 }).close()
    const modes = readdirSync(place.dir).map((name) => statSync(file(name)).mode & 0o777)
    assert.deepStrictEqual(new Set(modes), new Set([0o600]))
  })
  it("a file that is no ring, is too short, or is of another ABI", () => {
    writeFileSync(file("t.ring"), Buffer.alloc(8192), { mode: 0o600 })
    assert.strictEqual(read().reason._tag, "TransportIncompatible")
    truncateSync(file("t.ring"), 100)
    assert.strictEqual(read().reason._tag, "TransportIncompatible")
    closed("u")
    const fd = openSync(file("u.ring"), "r+")
    writeSync(fd, Buffer.from([2, 0]), 0, 2, 8)
    assert.match(
      failure(() => new RingReader({ dir: place.dir, name: "u" })).message,
      /ABI major version.*upgrade the older side/
    )
    truncateSync(file("u.ring"), 4096)
    assert.strictEqual(
      failure(() => new RingReader({ dir: place.dir, name: "u" })).reason._tag,
      "TransportIncompatible"
    )
  })
  it("a file that nobody can read does not stop the next producer: it starts afresh", () => {
    writeFileSync(file("t.ring"), Buffer.alloc(8192, 7), { mode: 0o600 })
    closed("u")
    const fd = openSync(file("u.ring"), "r+")
    writeSync(fd, Buffer.from([2, 0]), 0, 2, 8) // another ABI, whose producer is gone
    closeSync(fd)
    for (const name of ["t", "u"]) {
      const writer = new RingWriter({ dir: place.dir, name, capacity: 64 })
      assert.isFalse(writer.takenOver)
      new RingReader({ dir: place.dir, name }).close()
      writer.close()
    }
  })
  it("a producer of another ABI that lives is not disturbed", () => {
    const writer = new RingWriter({ dir: place.dir, name: "t", capacity: 64 })
    const fd = openSync(file("t.ring"), "r+")
    writeSync(fd, Buffer.from([2, 0]), 0, 2, 8)
    closeSync(fd)
    assert.match(write().message, /another producer holds/)
    assert.match(read().message, /ABI major version/)
    writer.close()
  })
  it("names that leave the directory, options out of range", () => {
    for (const name of ["", "../t", "a/b", ".t", "x".repeat(65)])
      assert.strictEqual(
        failure(() => new RingWriter({ dir: place.dir, name, capacity: 64 })).reason._tag,
        "TransportBadRequest",
        name
      )
    for (const options of [
      { capacity: 0 },
      { capacity: 2 ** 25 },
      { instruments: 70_000 },
      { blockMicros: 1e9 },
      { capacity: Number.NaN }
    ])
      assert.strictEqual(write(options).reason._tag, "TransportBadRequest")
  })
  it.for([
    ["size=1m", "a tiny file system", undefined],
    ["size=64m", "the /dev/shm of a container", undefined],
    ["size=8m,nr_inodes=60", "a file system with few files, after the ring is made,", 1024]
  ] as const)(
    "%s: %s is too small: an error that says what to do, no SIGBUS and no left-over",
    ([size, , capacity], test) => {
      const small = file("small")
      mkdirSync(small, 0o700)
      if (spawnSync("mount", ["-t", "tmpfs", "-o", `${size},mode=0700`, "tmpfs", small]).status !== 0)
        return test.skip("mounting a small file system is not permitted here")
      try {
        const error = failure(() => new RingWriter({ dir: small, name: "t", capacity }))
        assert.strictEqual(error.reason._tag, "TransportExhausted")
        assert.match(error.message, /--shm-size/)
        assert.deepStrictEqual(readdirSync(small), [])
        if (capacity === undefined)
          new RingWriter({ dir: small, name: "t", capacity: 1024, instruments: 100 }).close()
      } finally {
        spawnSync("umount", [small])
      }
    }
  )
})

describe("cleaning", () => {
  it("removes what was closed, keeps what lives and what is not a ring of ours", () => {
    closed("old")
    const live = new RingWriter({ dir: place.dir, name: "live", capacity: 64 })
    writeFileSync(file("other.txt"), "")
    const result = clean({ dir: place.dir })
    assert.deepStrictEqual(
      result.map(({ name, outcome }) => [name, outcome]),
      [
        ["live", "kept"],
        ["old", "removed"]
      ]
    )
    assert.deepStrictEqual(list(place.dir), ["live"])
    assert.isTrue(inspect({ dir: place.dir, name: "live" }).alive)
    live.close()
    assert.deepStrictEqual(
      clean({ dir: place.dir, name: "live" }).map(({ outcome }) => outcome),
      ["removed"]
    )
  })
})
