import { assert, describe, it } from "vitest"
import { BatchJobs } from "../../src/simulator/BatchJobs.ts"
import { HttpProblem } from "../../src/simulator/HttpReply.ts"
import { RequestForm } from "../../src/simulator/RequestForm.ts"
import { DATASET, syntheticCatalogue } from "./TestCatalogue.ts"

const MILLI = 1_000_000n
const begin = 1_800_000_000_000n * MILLI

const form = (fields: { readonly [name: string]: string }): RequestForm =>
  new RequestForm("body", new URLSearchParams(fields))

describe("jobs that take time", () => {
  const jobs = new BatchJobs({ version: 3, stepMillis: 150 })
  const ask = (name: string, fields: { readonly [name: string]: string }, millis: number) => {
    const now = begin + BigInt(millis) * MILLI
    const reply = jobs.answer(name, form(fields), syntheticCatalogue, "http://127.0.0.1", now)
    return JSON.parse(String(reply?.body))
  }
  const asked = { dataset: DATASET, start: "2026-01-05", end: "2026-01-06", symbols: "AB", schema: "trades" }

  it("are queued, processed and then done", () => {
    const { id, state, record_count, ts_received } = ask("submit_job", asked, 0)
    assert.deepEqual([state, record_count], ["queued", null])
    assert.equal(ts_received, "2027-01-15T08:00:00.000000000Z")
    const at = (millis: number) => ask("get_job_details", { job_id: id }, millis)
    assert.deepInclude(at(149), { state: "queued", progress: 0, ts_process_start: null })
    assert.deepInclude(at(150), { state: "processing", progress: 50, record_count: null, actual_size: null })
    assert.throws(() => ask("list_files", { job_id: id }, 299), HttpProblem, /processing: ask again later/)
    const done = at(300)
    assert.deepInclude(done, { state: "done", progress: 100 })
    assert.equal(done.billed_size, done.record_count * 48)
    assert.equal(done.ts_process_done, "2027-01-15T08:00:00.300000000Z")
    const files: ReadonlyArray<{ size: number }> = ask("list_files", { job_id: id }, 300)
    assert.equal(
      files.reduce((sum, file) => sum + file.size, 0),
      done.actual_size
    )
  })

  it("are listed by the time they were submitted, in short where asked", () => {
    const { id } = ask("submit_job", asked, 1000)
    const list = (fields: { readonly [name: string]: string }) => ask("list_jobs", fields, 2000)
    assert.equal(list({}).length, 2)
    assert.deepEqual(list({ since: String(begin + 500n * MILLI), short: "True" }), [
      { id, state: "done", ts_received: "2027-01-15T08:00:01.000000000Z" }
    ])
  })
})
