// A real server from Debian's packages: it ends with the program that started it, however that one ends.
import { spawn } from "node:child_process"
import { once } from "node:events"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { join, resolve } from "node:path"
import { createInterface } from "node:readline"
import { setTimeout as sleep } from "node:timers/promises"
import { assert, it } from "vitest"
import { provideFolder, thisMachine, whyNot } from "../timescale-server.mjs"

const reason = whyNot(thisMachine())
const script = resolve(import.meta.dirname, "../timescale-server.mjs")
const command = resolve(import.meta.dirname, "../test-timescale.mjs")

/** Starts a server, says its process id and waits, as `test:timescale` does while its tests run. */
const program = `
  import { onServer } from ${JSON.stringify(command)}
  import * as timescale from ${JSON.stringify(script)}
  process.exit(await onServer(timescale, () => new Promise((done) => {
    process.on("SIGTERM", () => done(1)).on("SIGINT", () => done(1))
    setTimeout(() => done(0), 60_000)
  }), { ci: true }))`

/** Zombies count as ended: their parent has died and nobody may collect them. */
const isRunning = (pid) => {
  const stat = join("/proc", String(pid), "stat")
  return existsSync(stat) && !/\) Z /.test(readFileSync(stat, "utf8"))
}

const untilEnded = async (pid) => {
  for (let left = 200; left > 0 && isRunning(pid); left--) await sleep(50)
  assert.isFalse(isRunning(pid), `the server ${pid} is still there`)
}

it.for([
  ["SIGTERM", 143],
  ["SIGINT", 130],
  ["SIGKILL", null]
])("a server ends after %s to its program", async ([signal, expected], test) => {
  if (reason !== undefined) return test.skip(reason)
  const folder = await provideFolder()
  const child = spawn(process.execPath, ["--input-type=module", "-e", program], {
    stdio: ["ignore", "pipe", "inherit"]
  })
  const closed = once(child, "exit")
  for await (const line of createInterface({ input: child.stdout })) {
    const pid = Number(/process (\d+)$/.exec(line)?.[1])
    assert.isTrue(isRunning(pid), line)
    child.kill(signal)
    const [code] = await closed
    assert.strictEqual(code, expected)
    await untilEnded(pid)
    break
  }
  const left = () => readdirSync(join(folder, "run")).filter((name) => name.endsWith(`.${child.pid}`))
  // After SIGKILL the next start removes what was left.
  assert.lengthOf(left(), expected === null ? 1 : 0)
  if (expected === null) {
    const { startServer } = await import("../timescale-server.mjs")
    await (await startServer(folder)).stop()
    assert.lengthOf(left(), 0)
  }
})
