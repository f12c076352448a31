import { type FileImport, ProviderError, ProviderTruncated } from "@data-manager/core"
import { assert, describe, it } from "@effect/vitest"
import { type FileOutcome, outcomeJson, outcomeNotes, outcomeTable } from "../src/ImportReport.ts"
import { plain } from "../src/Paint.ts"

const summary = (over: Partial<FileImport.ImportSummary>): FileImport.ImportSummary => ({
  path: "a.dbn",
  header: {
    provider: "databento",
    dataset: "GLBX.MDP3",
    content: "trades",
    schema: "trades",
    isDefinitions: false
  },
  records: 10,
  inserted: 0,
  duplicates: 0,
  conflicts: 0,
  resumed: 0,
  definitions: 0,
  notStored: new Map(),
  coverageClaims: 0,
  alreadyImported: false,
  notes: [],
  seconds: 2,
  ...over
})

const outcome = (over: Partial<FileImport.ImportSummary>, error?: ProviderError): FileOutcome => ({
  summary: summary(over),
  bytes: 2048,
  error
})

const truncated = new ProviderError({
  provider: "databento",
  operation: "read a.dbn",
  reason: new ProviderTruncated({ detail: "ends inside a record" })
})

describe("outcomeNotes", () => {
  it("says that a second run adds nothing", () => {
    const again = outcome({ alreadyImported: true })
    assert.deepStrictEqual(outcomeNotes([again], 0.1), ["nothing new: this file was imported before"])
    assert.deepStrictEqual(outcomeNotes([again, again], 0.1), [
      "nothing new: all 2 files were imported before"
    ])
  })

  it("counts new and known rows, conflicts, what is not stored, failures and notes", () => {
    const notes = outcomeNotes(
      [
        outcome({
          inserted: 1_000_000,
          duplicates: 5,
          notStored: new Map([["mbo", 2]]),
          notes: ["limit reached"]
        }),
        outcome({
          inserted: 1,
          conflicts: 3,
          notStored: new Map([
            ["mbo", 3],
            ["status", 1]
          ])
        }),
        outcome({ alreadyImported: true }),
        outcome({ inserted: 7 }, truncated)
      ],
      2
    )
    assert.deepStrictEqual(notes, [
      "1,000,008 new rows from 2 files in 2.0 s, 500,004 rows/s; 5 rows known before",
      "1 file imported before",
      "3 rows met a stored row of the same key and other content; both are kept: dm query conflicts shows them",
      "counted, but not stored yet: mbo 5, status 1",
      "1 file failed",
      "a.dbn: limit reached"
    ])
  })

  it("says so when rows were all there under another file", () => {
    assert.deepStrictEqual(outcomeNotes([outcome({ duplicates: 2 })], 1), [
      "0 new rows from 1 file in 1.0 s; 2 rows known before",
      "nothing new"
    ])
  })
})

describe("outcomeTable", () => {
  it("names the result of every file", () => {
    const lines = outcomeTable(
      [
        outcome({ inserted: 1234 }),
        outcome({ alreadyImported: true }),
        outcome({ resumed: 5, inserted: 5 }),
        outcome({ definitions: 3 }),
        outcome({}, truncated)
      ],
      plain
    )
    assert.deepStrictEqual(
      lines.slice(1).map((line) => line.split(/ {2,}/)[3]),
      ["imported", "known already", "completed", "3 definitions", "failed"]
    )
    assert.match(lines[1]!, /1,234/)
    assert.isFalse(lines[0]!.includes("conflicts"))
  })
})

describe("outcomeJson", () => {
  it("counts arguments without a file as failures", () => {
    assert.deepInclude(
      outcomeJson([outcome({ inserted: 2 }), outcome({}, truncated)], ["x: no such file"], 1),
      {
        inserted: 2,
        failed: 2,
        problems: ["x: no such file"]
      }
    )
  })
})
