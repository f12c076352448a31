// Half a minute of processes that come, go and are killed at random moments, on a server that lingers for 40 ms: every
// visit of a living process works, and in the end nothing runs.
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { rmSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { afterAll, assert, it } from "vitest"
import { Ground, isGone, missing, processesIn, root, until } from "./Fixture.ts"
import { delay } from "./Query.ts"

const program = fileURLToPath(new URL("./Visitor.ts", import.meta.url))
const duration = 30_000

const visitor = (dataDir: string): ChildProcess =>
  spawn(process.execPath, ["--conditions=source", program, dataDir, String(duration)], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, NODE_NO_WARNINGS: "1" }
  })

const result = async (child: ChildProcess): Promise<number> => {
  let output = ""
  child.stdout?.on("data", (chunk) => {
    output += chunk
  })
  const [code] = await once(child, "close")
  assert.strictEqual(code, 0, "a visit failed")
  return Number(output.trim().split("\n").at(-1))
}

afterAll(() => rmSync(root, { recursive: true, force: true }))

it("no visit fails while processes come, go and are killed", async (context) => {
  if (missing !== undefined && process.env.CI === undefined) return context.skip(missing)
  const ground = new Ground()
  const dataDir = ground.path()
  const visits = Promise.all([visitor(dataDir), visitor(dataDir), visitor(dataDir)].map(result))
  const end = performance.now() + duration
  while (performance.now() < end) {
    const victim = visitor(dataDir)
    await delay(Math.random() * 2500)
    victim.kill("SIGKILL")
  }
  const counts = await visits
  for (const count of counts) assert.isAbove(count, 10)
  await until("the server stops", () => isGone(dataDir) && processesIn(dataDir).length === 0)
  await ground.clear()
})
