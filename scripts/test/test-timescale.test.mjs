import { setTimeout as sleep } from "node:timers/promises"
import { assert, describe, it } from "vitest"
import { onServer } from "../test-timescale.mjs"
import { mirrorOf, NotHere, whyNot } from "../timescale-server.mjs"

/** Runs `tests` on a server that is none, and tells what was said and done. */
const runOn = async (tests, { ci = false, reason, provide = () => "/folder" } = {}) => {
  const log = []
  const timescale = {
    NotHere,
    thisMachine: () => ({}),
    whyNot: () => reason,
    provideFolder: async (options) => provide(options),
    describeFolder: () => "versions",
    startServer: async () => ({ url: "url", pid: 7, stop: async () => log.push("stopped") })
  }
  const code = await onServer(timescale, tests, { ci, say: (line) => log.push(line) }).catch(String)
  return { code, log }
}
const never = () => assert.fail("the tests ran")

describe("test:timescale", () => {
  it("answers with the exit code of the tests and stops the server", async () => {
    for (const expected of [0, 1]) {
      const { code, log } = await runOn(async (url) => (url === "url" ? expected : 99))
      assert.strictEqual(code, expected)
      assert.deepStrictEqual(log, ["test:timescale: versions, process 7", "stopped"])
    }
  })

  it("says why it cannot run, and is not taken for passed on CI", async () => {
    const log = ["test:timescale: skipped, no root"]
    assert.deepStrictEqual(await runOn(never, { reason: "no root" }), { code: 0, log })
    assert.deepStrictEqual(await runOn(never, { reason: "no root", ci: true }), { code: 77, log })
  })

  it("says that the server's files cannot be had", async () => {
    const provide = () => {
      throw new NotHere("debootstrap: no network")
    }
    const log = ["test:timescale: skipped, debootstrap: no network"]
    assert.deepStrictEqual(await runOn(never, { provide, ci: true }), { code: 77, log })
  })

  it("fails when anything else goes wrong, and stops the server", async () => {
    const { code, log } = await runOn(() => Promise.reject(new Error("broken")))
    assert.strictEqual(code, "Error: broken")
    assert.strictEqual(log.at(-1), "stopped")
  })

  it("stops the server after a signal during the tests", async () => {
    const { code, log } = await runOn(async () => {
      process.emit("SIGTERM", "SIGTERM")
      await sleep(1)
      return 0
    })
    assert.strictEqual(code, 143)
    assert.strictEqual(log.at(-1), "stopped")
  })

  it("gives up after a signal before the tests", async () => {
    const provide = ({ signal }) => {
      process.emit("SIGINT", "SIGINT")
      signal.throwIfAborted()
    }
    assert.deepStrictEqual(await runOn(never, { provide, ci: true }), { code: 130, log: [] })
  })
})

describe("whyNot", () => {
  const debian = { platform: "linux", uid: 0, osRelease: 'NAME="x"\nID=debian\n', has: () => true }
  const cases = [
    ["root on Debian", {}, undefined],
    ["another user", { uid: 1000 }, "only root can make and enter its folder"],
    ["another Linux", { osRelease: "ID=ubuntu\nID_LIKE=debian\n" }, "this machine is not Debian"],
    ["no Linux", { platform: "darwin", uid: undefined, osRelease: "" }, "this machine is not Debian"],
    ["no wget", { has: (name) => name !== "wget" }, "there is no wget here"]
  ]
  it.each(cases)("%s", (_, machine, expected) => {
    assert.strictEqual(whyNot({ ...debian, ...machine }), expected)
  })
})

it("takes the mirror of Debian's own packages", () => {
  const lines = [
    "http://tools.example/node NodeSource Tools",
    "mirror+file:/etc/mirrors Debian Debian",
    "http://security.example/ Debian Debian-Security",
    "http://mirror.example/debian Debian Debian",
    "http://other.example/debian Debian Debian"
  ]
  assert.strictEqual(mirrorOf(lines.join("\n")), "http://mirror.example/debian")
  assert.isUndefined(mirrorOf(""))
})
