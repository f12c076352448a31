import { createHash } from "node:crypto"
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Decimal } from "@data-manager/core"
import { Effect } from "effect"
import { afterAll, assert, describe, it } from "vitest"
import type { BatchJob } from "../../src/historical/BatchJob.ts"
import type { Answer, Asked, Service } from "./ScriptedService.ts"
import { failureOf, withService } from "./TestClient.ts"

const scratch = mkdtempSync(join(tmpdir(), "batch-jobs-"))
afterAll(() => rmSync(scratch, { recursive: true }))
let folders = 0
const folder = (): string => join(scratch, `d${folders++}`)

const content = Uint8Array.from({ length: 300_000 }, (_, i) => (i * 7919) >> 3)
const hash = `sha256:${createHash("sha256").update(content).digest("hex")}`
const name = "glbx-mdp3-20220610.trades.dbn.zst"

const job = (state: string, rest: object = {}) => ({
  id: "GLBX-20220610-5DEFXVTMSM",
  user_id: "U",
  cost_usd: null,
  dataset: "GLBX.MDP3",
  symbols: "ESM2,NQM2",
  stype_in: "raw_symbol",
  stype_out: "instrument_id",
  schema: "trades",
  start: "2022-06-10T00:00:00.000000000Z",
  end: "2022-06-11 00:00:00.000000+00:00",
  limit: null,
  encoding: "dbn",
  compression: "zstd",
  split_duration: "day",
  state,
  ts_received: "2023-01-01T00:00:00Z",
  ts_process_done: null,
  ts_expiration: null,
  some_new_key: 7,
  ...rest
})

const files = (service: Service, change: object = {}) => [
  {
    filename: name,
    size: content.length,
    hash,
    urls: { https: `${service.url}/v0/batch/download/U/J/${name}`, ftp: "" },
    ...change
  }
]

const range = (asked: Asked): number =>
  Number(/^bytes=(\d+)-$/.exec(String(asked.headers.range ?? ""))?.[1] ?? 0)

/** Serves one job whose file is sent as `send` says. */
const withFile = (
  send: (asked: Asked, count: number) => Answer,
  directory: string,
  change: object = {},
  options: { readonly retries?: number } = {}
) => {
  let downloads = 0
  return withService(
    (asked, _, service) =>
      asked.path.endsWith("list_files") ? { body: files(service(), change) } : send(asked, ++downloads),
    ({ batch }) => Effect.result(batch.download("J", directory, options))
  )
}

const whole = (asked: Asked): Answer => {
  const from = range(asked)
  return from > 0 ? { status: 206, body: content.subarray(from) } : { body: content }
}

const cutAt = (asked: Asked, bytes: number): Answer => {
  const from = range(asked)
  return {
    status: from > 0 ? 206 : 200,
    headers: { "content-length": String(content.length - from) },
    write: (response) => {
      response.write(content.subarray(from, from + bytes))
      setTimeout(() => response.destroy(), 30)
    }
  }
}

describe("batch jobs", () => {
  it("are submitted, listed and waited for; values keep their meaning whatever form they come in", async () => {
    const states = ["queued", "processing", "done"]
    const seen: Array<BatchJob> = []
    const { result, asked } = await withService(
      ({ path }, count) =>
        path.endsWith("list_jobs")
          ? {
              body: [
                job("done", {
                  symbols: ["A", "B"],
                  compression: null,
                  split_duration: null,
                  cost_usd: 1.5,
                  progress: 100
                })
              ]
            }
          : /get_(cost|billable_size)$/.test(path)
            ? { body: path.endsWith("get_cost") ? "0.5" : "4800" }
            : { body: job(path.endsWith("submit_job") ? "queued" : states[Math.min(count - 4, 2)]!) },
      ({ batch }) =>
        Effect.all([
          batch.submit({
            dataset: "GLBX.MDP3",
            symbols: ["ESM2", "NQM2"],
            schema: "trades",
            range: { start: 1_654_819_200_000_000_000n, end: 1_654_905_600_000_000_000n },
            maxCostUsd: Decimal.parse("1")!
          }),
          batch.wait("GLBX-20220610-5DEFXVTMSM", {
            every: "5 millis",
            onProgress: (one) => Effect.sync(() => seen.push(one))
          }),
          batch.list({ states: ["done", "expired"], since: 5n * 10n ** 18n })
        ])
    )
    const [submitted, done, list] = result
    assert.strictEqual(submitted.value.id, "GLBX-20220610-5DEFXVTMSM")
    assert.deepStrictEqual(submitted.value.symbols, ["ESM2", "NQM2"])
    assert.strictEqual(submitted.value.end - submitted.value.start, 86_400_000_000_000n)
    assert.strictEqual(submitted.value.raw.some_new_key, 7)
    assert.strictEqual(done.state, "done")
    assert.deepStrictEqual(
      seen.map((one) => one.state),
      states
    )
    assert.deepStrictEqual(list.value[0]!.symbols, ["A", "B"])
    assert.isUndefined(list.value[0]!.compression)
    assert.strictEqual(list.value[0]!.costUsd, 1.5)
    const order = asked.find((one) => one.path.endsWith("submit_job"))!
    assert.strictEqual(order.params.split_duration, "day")
    assert.strictEqual(order.params.delivery, "download")
    const { params } = asked.at(-1)!
    assert.deepStrictEqual(params, { states: "done,expired", since: "5000000000000000000" })
  })

  it("that expired or take too long say so", async () => {
    const expired = await withService(
      () => ({ body: job("expired") }),
      ({ batch }) => failureOf(batch.wait("J"))
    )
    assert.include(expired.result.message, "submit it again")
    const slow = await withService(
      () => ({ body: job("processing") }),
      ({ batch }) => failureOf(batch.wait("J", { every: "5 millis", atMost: "20 millis" }))
    )
    assert.include(slow.result.message, "processing")
    const odd = await withService(
      () => ({ body: { id: 1 } }),
      ({ batch }) => failureOf(batch.details("J"))
    )
    assert.strictEqual(odd.result.reason._tag, "ProviderMalformed")
  })
})

describe("a download", () => {
  it("is checked and renamed, and left alone the next time", async () => {
    const directory = folder()
    const first = await withFile(whole, directory)
    assert.deepStrictEqual(first.result._tag === "Success" && first.result.success, [join(directory, name)])
    assert.deepStrictEqual(new Uint8Array(readFileSync(join(directory, name))), content)
    assert.isFalse(existsSync(join(directory, `${name}.part`)))
    const second = await withFile(whole, directory)
    assert.strictEqual(second.result._tag, "Success")
    assert.lengthOf(second.asked, 1)
  })

  it("goes on where it stopped, in this call and in the next, as often as bytes come", async () => {
    const directory = folder()
    const { result, asked } = await withFile(
      (one, count) => (count < 9 ? cutAt(one, 30_000) : whole(one)),
      directory,
      {},
      { retries: 2 }
    )
    assert.strictEqual(result._tag, "Success")
    const ranges = asked.slice(1).map(range)
    assert.strictEqual(ranges[0], 0)
    assert.deepStrictEqual(
      ranges,
      [...ranges].sort((a, b) => a - b)
    )
    assert.deepStrictEqual(new Uint8Array(readFileSync(join(directory, name))), content)
    const other = folder()
    const failed = await withFile(
      (one) => cutAt(one, one.headers.range === undefined ? 1_000 : 0),
      other,
      {},
      { retries: 1 }
    )
    assert.strictEqual(failed.result._tag, "Failure")
    assert.lengthOf(readFileSync(join(other, `${name}.part`)), 1_000)
    const later = await withFile(whole, other)
    assert.strictEqual(later.result._tag, "Success")
    assert.strictEqual(range(later.asked.at(-1)!), 1_000)
    assert.deepStrictEqual(new Uint8Array(readFileSync(join(other, name))), content)
  }, 30_000)

  it("begins anew where the server does not resume, and where the part is of another file", async () => {
    for (const held of [content.subarray(0, 5_000), new Uint8Array(400_000)]) {
      const directory = folder()
      await withFile(whole, directory)
      rmSync(join(directory, name))
      writeFileSync(join(directory, `${name}.part`), held)
      const { result } = await withFile(() => ({ body: content }), directory)
      assert.strictEqual(result._tag, "Success")
      assert.deepStrictEqual(new Uint8Array(readFileSync(join(directory, name))), content)
    }
  })

  it("with other bytes than announced fails and leaves nothing behind", async () => {
    const directory = folder()
    const wrong = content.slice()
    wrong[1234]! ^= 1
    const { result } = await withFile(() => ({ body: wrong }), directory)
    assert.include(result._tag === "Failure" ? result.failure.message : "", "SHA-256 differs")
    assert.isFalse(existsSync(join(directory, `${name}.part`)))
    assert.isFalse(existsSync(join(directory, name)))
  })

  it("never replaces another file, leaves the directory, or sends the key elsewhere", async () => {
    const directory = folder()
    const taken = await withFile(whole, directory)
    assert.strictEqual(taken.result._tag, "Success")
    writeFileSync(join(directory, name), "mine")
    const refused = await withFile(whole, directory)
    assert.include(refused.result._tag === "Failure" ? refused.result.failure.message : "", "another file")
    assert.strictEqual(readFileSync(join(directory, name), "utf8"), "mine")
    for (const filename of ["../evil", "/etc/passwd", "a/b", "..", "", "x\0y"]) {
      const { result, asked } = await withFile(whole, folder(), { filename })
      assert.include(
        result._tag === "Failure" ? result.failure.message : "",
        "not a name for a file",
        filename
      )
      assert.lengthOf(asked, 1)
    }
    const elsewhere = await withFile(whole, folder(), { urls: { https: "http://127.0.0.1:9/x" } })
    assert.include(
      elsewhere.result._tag === "Failure" ? elsewhere.result.failure.message : "",
      "is at 127.0.0.1:9"
    )
    const hashless = await withFile(whole, folder(), { hash: "md5:1" })
    assert.include(hashless.result._tag === "Failure" ? hashless.result.failure.message : "", "not a SHA-256")
  })
})
