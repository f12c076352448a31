/** `dm import` into the embedded server on a disk that runs full: a small file system in memory, which root alone may mount. */
import { execFileSync } from "node:child_process"
import { mkdirSync, writeFileSync } from "node:fs"
import { SyntheticMarket } from "@data-manager/providers-databento/simulator"
import { afterAll, assert, it } from "vitest"
import { Workplace } from "./Dm.ts"

const place = new Workplace()
let isMounted = false

const whyNot = (): string | undefined => {
  if (process.platform !== "linux" || process.getuid?.() !== 0)
    return "only root on Linux can mount a small file system"
  try {
    mkdirSync(place.dataDir)
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=230m,mode=755", "none", place.dataDir])
    isMounted = true
    return undefined
  } catch (cause) {
    return `a small file system cannot be mounted: ${String(cause)}`
  }
}
const reason = whyNot()

afterAll(async () => {
  await place.stop()
  if (isMounted) execFileSync("umount", ["-l", place.dataDir])
  await place.close()
})

it("an import onto a full disk says so, claims nothing by halves, and goes on when there is room", async (context) => {
  if (reason !== undefined) return context.skip(reason)
  const rows = 1_500_000
  const market = new SyntheticMarket({ symbols: 20, trades: rows, seed: 7, date: 20260106 })
  writeFileSync(place.path("big.dbn"), Buffer.concat([...market.tradeFile()]))
  const full = await place.run(["import", "big.dbn", "--json"])
  assert.strictEqual(full.code, 1, full.stderr)
  const said = full.stderr.split("\n").filter((line) => line.startsWith("dm: "))
  assert.strictEqual(said.length, 1, full.stderr)
  assert.match(
    `${said[0]}`,
    // The server says it, or, where one of its own processes met the full disk and it ended, what is found there.
    /append trades: (the disk of the server is full \(.*No space left on device.*\)|no server answers at .*, and the disk there is full \(\d+ MB free\)); free space there .*then repeat: nothing is half stored/
  )

  execFileSync("mount", ["-o", "remount,size=3g", place.dataDir])
  const again = await place.run(["import", "big.dbn", "--json"])
  assert.strictEqual(again.code, 0, again.stderr)
  const [file] = JSON.parse(again.stdout).files
  assert.strictEqual(file.inserted + file.resumed, rows)
  assert.isAbove(file.resumed, 0)
  assert.deepStrictEqual([file.duplicates, file.conflicts], [0, 0])
  const coverage = await place.run(["coverage", "--json"])
  assert.strictEqual(coverage.code, 0, coverage.stderr)
})
