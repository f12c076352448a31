import { createHash } from "node:crypto"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { SyntheticMarket } from "@data-manager/providers-databento/simulator"
import { afterAll, assert, describe, it } from "@effect/vitest"
import { outcome, Workplace } from "./Dm.ts"
import { dbnFolder, skipReason } from "./TestData.ts"

const place = new Workplace()
afterAll(() => place.close())

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex")

interface Expected {
  readonly fragment: boolean
  readonly dbn_version: number
  readonly metadata: unknown
  readonly sha256_jsonl: string
  readonly sha256_jsonl_upgraded_to_v3: string
}

const samples = ["test_data.definition.v1.dbn.frag", "synthetic.multiframe.v2.dbn.zst"]

describe("dm dbn on the vendor's files", () => {
  it.concurrent.for(samples)("%s: the expected lines, upgraded lines and header", async (name, context) => {
    if (dbnFolder === undefined) return context.skip(skipReason)
    const expected: Expected = JSON.parse(readFileSync(join(dbnFolder, "expected.json"), "utf8"))[name]
    const fragment = expected.fragment ? ["--dbn-version", `${expected.dbn_version}`] : []
    const dbn = (...args: ReadonlyArray<string>) =>
      place.run(["dbn", join(dbnFolder!, name), ...fragment, ...args])
    const [lines, upgraded, metadata] = await Promise.all([
      dbn("--json"),
      dbn("--json", "--upgrade"),
      dbn("--metadata")
    ])
    assert.deepStrictEqual([lines.code, upgraded.code, metadata.code], [0, 0, 0])
    assert.strictEqual(lines.stderr + upgraded.stderr + metadata.stderr, "")
    assert.strictEqual(sha256(lines.stdout), expected.sha256_jsonl)
    assert.strictEqual(sha256(upgraded.stdout), expected.sha256_jsonl_upgraded_to_v3)
    assert.deepStrictEqual(JSON.parse(metadata.stdout), expected.metadata)
  })
})

const bytes = Buffer.concat([...new SyntheticMarket({ symbols: 3, trades: 20_000 }).tradeFile()])
writeFileSync(place.path("day.dbn"), bytes)

describe("dm dbn", () => {
  it.concurrent("summarises a file", async () => {
    const { code, stdout, stderr } = await place.run(["dbn", "day.dbn", "--limit", "2"])
    assert.deepStrictEqual([code, stderr], [0, ""])
    assert.match(stdout, /dataset +DBEQ\.BASIC/)
    assert.match(stdout, /trades +20,000 +2026-01-05 14:30/)
    assert.match(stdout, /20,000 records of 3 instruments/)
    assert.strictEqual(stdout.match(/^2026-01-05 .*price \d/gm)?.length, 2)
  })

  it.concurrent("limits, and prints CSV with readable values", async () => {
    const { code, stdout } = await place.run(["dbn", "day.dbn", "--csv", "--pretty", "--limit", "3"])
    const lines = stdout.trimEnd().split("\n")
    assert.deepStrictEqual([code, lines.length], [0, 4])
    assert.match(lines[0]!, /^ts_recv,ts_event,rtype,/)
    assert.match(lines[1]!, /^2026-01-05T\d\d:\d\d:\d\d\.\d{9}Z,.*,\d+\.\d{9},/)
  })

  it.concurrent("gives the whole records of a truncated file, a message and exit code 1, also from standard input", async () => {
    const { code, stdout, stderr } = await place.run(["dbn", "-", "--json"], {
      input: bytes.subarray(0, bytes.length - 10)
    })
    assert.strictEqual(code, 1)
    assert.strictEqual(stdout.trimEnd().split("\n").length, 19_999)
    assert.match(stderr, /^dm: -: .*ends inside a record.*at byte \d+/)
  })

  it.concurrent("reports every bad file and shows the good ones", async () => {
    writeFileSync(place.path("empty.dbn"), "")
    writeFileSync(place.path("noise.dbn"), "this is no market data at all, only text")
    const { code, stdout, stderr } = await place.run([
      "dbn",
      "nowhere.dbn",
      "empty.dbn",
      "day.dbn",
      "noise.dbn",
      ".",
      "--limit",
      "1",
      "--json"
    ])
    assert.strictEqual(code, 1)
    assert.strictEqual(stdout.trimEnd().split("\n").length, 1)
    const messages = stderr.trimEnd().split("\n")
    assert.strictEqual(messages.length, 4)
    assert.match(messages[0]!, /^dm: nowhere\.dbn: no such file$/)
    assert.match(messages[1]!, /^dm: empty\.dbn: .*no data/)
    assert.match(messages[2]!, /^dm: noise\.dbn: .*DBN/)
    assert.match(messages[3]!, /^dm: \.: is a folder/)
  })

  it.concurrent("ends quietly when its reader goes away", async () => {
    const child = place.start(["dbn", "day.dbn", "--json"])
    child.stdout.once("data", () => child.stdout.destroy())
    const { code, signal, stderr } = await outcome(child)
    assert.deepStrictEqual([code, signal, stderr], [0, null, ""])
  })
})
