import { spawn, spawnSync } from "node:child_process"
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync
} from "node:fs"
import { hostname, tmpdir } from "node:os"
import { delimiter, join, resolve } from "node:path"
import { afterEach, assert, describe, it } from "vitest"

const scripts = resolve(import.meta.dirname, "..")
const folders = []
const children = []
afterEach(() => {
  for (const child of children.splice(0)) killGroup(child)
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true })
})

const killGroup = (child) => {
  try {
    process.kill(-child.pid, "SIGKILL")
  } catch {
    // Ended by itself.
  }
}

const program = (path, text) => {
  writeFileSync(path, `#!/bin/sh\n${text}\n`)
  chmodSync(path, 0o755)
}

/** A workspace with the real scripts, and an npm and a pnpm that write down their calls instead of using a network. */
const makeWorkspace = () => {
  const parent = mkdtempSync(join(tmpdir(), "toolchain-"))
  folders.push(parent)
  const root = join(parent, "main")
  const calls = join(parent, "calls")
  mkdirSync(join(parent, "bin"))
  cpSync(scripts, join(root, "scripts"), { recursive: true, filter: (path) => !path.includes("/test") })
  writeFileSync(join(root, "package.json"), '{ "private": true, "type": "module" }')
  writeFileSync(join(root, "pnpm-lock.yaml"), "lockfileVersion: 9\n")
  writeFileSync(calls, "")
  program(
    join(parent, "bin", "pnpm"),
    `[ "$1" = --version ] && echo 12.0.0 && exit
echo "begin $*" >>"${calls}"; echo "noise of pnpm"; sleep 0.3
mkdir -p "${root}/node_modules" && echo >"${root}/node_modules/.modules.yaml"; echo "end $*" >>"${calls}"`
  )
  program(
    join(parent, "bin", "npm"),
    `for last; do :; done; echo "npm $last" >>"${calls}"; [ ! -e "${parent}/npm-fails" ] || exit 7
while [ "$1" != --prefix ]; do shift; done
bin="$2/node_modules/\${last%@*}/bin"; mkdir -p "$bin"; sleep 0.3; ln -s "${process.execPath}" "$bin/node"`
  )
  const env = { ...process.env, PATH: `${join(parent, "bin")}${delimiter}${process.env.PATH}` }
  const lock = join(root, "node_modules", ".toolchain", "lock")
  return { parent, root, env, lock, readCalls: () => readFileSync(calls, "utf8").split("\n").slice(0, -1) }
}

/** Starts the wrapper in a session of its own, so that the terminal this test may run in has no part in it. */
const start = ({ root, env }, ...argv) => {
  const command = [join(root, "scripts", "with-toolchain.mjs"), ...argv]
  return watch(spawn(process.execPath, command, { cwd: root, env, detached: true }))
}

const watch = (child) => {
  children.push(child)
  const text = { stdout: "", stderr: "" }
  for (const name of ["stdout", "stderr"])
    child[name].setEncoding("utf8").on("data", (chunk) => (text[name] += chunk))
  const ended = new Promise((done) => child.on("close", (code, signal) => done({ code, signal, ...text })))
  return { child, text, ended }
}

const until = async (condition) => {
  while (!condition()) await new Promise((done) => setTimeout(done, 20))
}

const print = (value) => ["node", "--eval", `console.log(${JSON.stringify(value)})`]

describe("with-toolchain", () => {
  it("installs once, keeps stdout for the program, and installs again when the lockfile changes", async () => {
    const workspace = makeWorkspace()
    const first = await start(workspace, ...print("hello")).ended
    assert.deepStrictEqual([first.code, first.stdout], [0, "hello\n"])
    assert.include(first.stderr, "noise of pnpm")
    const second = await start(workspace, ...print("again")).ended
    assert.deepStrictEqual([second.code, second.stdout, second.stderr], [0, "again\n", ""])
    assert.lengthOf(workspace.readCalls(), 2)
    writeFileSync(join(workspace.root, "pnpm-lock.yaml"), "lockfileVersion: 9\nchanged: true\n")
    await start(workspace, ...print("changed")).ended
    assert.lengthOf(workspace.readCalls(), 4)
  })

  it("lets only one of several first calls install", async () => {
    const workspace = makeWorkspace()
    const runs = [1, 2, 3, 4].map((n) => start(workspace, ...print(n)).ended)
    const results = await Promise.all(runs)
    assert.deepStrictEqual(
      results.map(({ code, stdout }) => [code, stdout]),
      [1, 2, 3, 4].map((n) => [0, `${n}\n`])
    )
    assert.lengthOf(workspace.readCalls(), 2)
    assert.isFalse(existsSync(workspace.lock))
  })

  it("takes over the lock of a process that was killed", async () => {
    const workspace = makeWorkspace()
    const { child } = start(workspace, ...print("killed"))
    await until(() => workspace.readCalls().length > 0)
    child.kill("SIGKILL")
    const { code, stdout } = await start(workspace, ...print("alive")).ended
    assert.deepStrictEqual([code, stdout], [0, "alive\n"])
  })

  it("takes over a lock from elsewhere only when nobody has touched it for long", async () => {
    const workspace = makeWorkspace()
    mkdirSync(join(workspace.root, "node_modules", ".toolchain"), { recursive: true })
    writeFileSync(workspace.lock, JSON.stringify({ pid: 1, host: `not-${hostname()}`, id: "other" }))
    const waiting = start(workspace, ...print("done"))
    await until(() => waiting.text.stderr.includes("waiting for another install"))
    await new Promise((done) => setTimeout(done, 300))
    assert.isTrue(existsSync(workspace.lock))
    assert.strictEqual(waiting.text.stdout, "")
    const longAgo = new Date(Date.now() - 60_000)
    utimesSync(workspace.lock, longAgo, longAgo)
    assert.strictEqual((await waiting.ended).stdout, "done\n")
  })

  it("passes on the exit code, and the signal that ended the program as 128 + n", async () => {
    const workspace = makeWorkspace()
    assert.strictEqual((await start(workspace, "node", "--eval", "process.exit(42)").ended).code, 42)
    assert.strictEqual((await start(workspace, "sh", "-c", "kill -KILL $$").ended).code, 137)
    const missing = await start(workspace, "no-such-program").ended
    assert.strictEqual(missing.code, 127)
    assert.include(missing.stderr, "cannot run no-such-program")
    assert.strictEqual((await start(workspace).ended).code, 2)
  })

  it.each(["SIGTERM", "SIGINT"])("passes %s on once and waits for the program to finish", async (signal) => {
    const workspace = makeWorkspace()
    const source = `let times = 0
process.on("${signal}", () => { if (++times === 1) setTimeout(() => { console.log("times", times); process.exit(5) }, 300) })
setInterval(() => {}, 1e6); console.log("ready")`
    const { child, text, ended } = start(workspace, "node", "--eval", source)
    await until(() => text.stdout.includes("ready"))
    child.kill(signal)
    child.kill(signal)
    const { code, stdout } = await ended
    assert.deepStrictEqual([code, stdout], [5, "ready\ntimes 1\n"])
  })

  it("leaves a Ctrl-C to the terminal, which has sent it to the program already", async (context) => {
    if (spawnSync("script", ["--version"]).error !== undefined)
      context.skip("no script(1) to make a terminal with")
    const workspace = makeWorkspace()
    const source = `let times = 0
process.on("SIGINT", () => { if (++times === 1) setTimeout(() => { console.log("times", times); process.exit(5) }, 300) })
setInterval(() => {}, 1e6); console.log("ready")`
    writeFileSync(join(workspace.root, "wait.mjs"), source)
    // Not every shell becomes its last command by itself, and one that stays ends with its own code after a Ctrl-C.
    const command = `exec '${process.execPath}' scripts/with-toolchain.mjs node wait.mjs`
    const argv = ["--quiet", "--return", "--command", command, "/dev/null"]
    const { child, text, ended } = watch(
      spawn("script", argv, { cwd: workspace.root, env: { ...workspace.env, NO_COLOR: "1" }, detached: true })
    )
    await until(() => text.stdout.includes("ready"))
    child.stdin.write("\x03")
    const { code, stdout } = await ended
    assert.strictEqual(code, 5)
    assert.match(stdout, /times 1\s*$/)
  })

  it("gives programs the workspace's binaries and none of npm's own settings", async () => {
    const workspace = makeWorkspace()
    workspace.env = { ...workspace.env, npm_config_global: "true", NPM_CONFIG_PROVENANCE: "true" }
    const source =
      "const e = process.env; console.log(e.npm_config_global, e.NPM_CONFIG_PROVENANCE, e.PATH.split(':')[0])"
    const { stdout } = await start(workspace, "node", "--eval", source).ended
    assert.strictEqual(stdout, `undefined true ${join(workspace.root, "node_modules", ".bin")}\n`)
  })

  it("says in one line that the checkout cannot be written", async () => {
    const workspace = makeWorkspace()
    writeFileSync(join(workspace.root, "node_modules"), "a file in the way, which stops root as well")
    const { code, stderr } = await start(workspace, ...print("x")).ended
    assert.strictEqual(code, 1)
    assert.match(stderr, /^toolchain: cannot write to .*: run this once as the owner of the checkout\n$/)
  })

  it("remembers the lockfile that a pnpm command left", async () => {
    const workspace = makeWorkspace()
    assert.strictEqual((await start(workspace, "pnpm", "add", "x").ended).code, 0)
    await start(workspace, ...print("x")).ended
    assert.deepStrictEqual(workspace.readCalls(), ["begin add x", "end add x"])
  })
})

describe("fetchNode", () => {
  const fetchTwice = ({ root, env }) => {
    const source = `import { fetchNode } from "./scripts/toolchain.mjs"
const [a, b] = await Promise.all([fetchNode("22.19.0"), fetchNode("22.19.0")]); console.log(a === b, a)`
    return spawnSync(process.execPath, ["--input-type=module", "--eval", source], {
      cwd: root,
      env,
      encoding: "utf8"
    })
  }

  it("fetches a version once", () => {
    const workspace = makeWorkspace()
    const { status, stdout, stderr } = fetchTwice(workspace)
    assert.strictEqual(status, 0, stderr)
    const path = /^true (.*)\n$/.exec(stdout)?.[1]
    assert.isTrue(existsSync(path))
    fetchTwice(workspace)
    assert.lengthOf(workspace.readCalls(), 1)
    assert.match(workspace.readCalls()[0], /^npm node-.*@22\.19\.0$/)
  })

  it("leaves nothing behind that looks whole when npm fails", () => {
    const workspace = makeWorkspace()
    writeFileSync(join(workspace.parent, "npm-fails"), "")
    const { status, stderr } = fetchTwice(workspace)
    assert.strictEqual(status, 7)
    assert.include(stderr, "check the network")
    rmSync(join(workspace.parent, "npm-fails"))
    assert.strictEqual(fetchTwice(workspace).status, 0)
    assert.isFalse(existsSync(workspace.lock))
  })
})
