import { assert, describe, it } from "@effect/vitest"
import { progressLine, remaining } from "../src/Progress.ts"
import { cells } from "../src/Table.ts"

const state = {
  label: "data/es.dbn.zst",
  rows: 1_234_567,
  bytesRead: 25,
  bytesTotal: 100,
  elapsedSeconds: 10
}

describe("progressLine", () => {
  it("shows part, rows, pace and the time that is left", () => {
    assert.strictEqual(
      progressLine(state, 120),
      "data/es.dbn.zst  ███░░░░░░░░░ 25 %  1,234,567 rows  123,457 rows/s  ETA 30.0 s"
    )
  })

  it("shows bytes where the whole is not known, and no pace before there is one", () => {
    assert.strictEqual(
      progressLine({ ...state, bytesTotal: 0, bytesRead: 2048, elapsedSeconds: 0.1 }, 120),
      "data/es.dbn.zst  2.0 KiB  1,234,567 rows"
    )
    assert.strictEqual(remaining({ ...state, bytesRead: 0 }), undefined)
    assert.strictEqual(remaining({ ...state, bytesRead: 200 }), 0)
  })

  it("never exceeds the terminal and keeps the end of a long name", () => {
    for (const columns of [0, 1, 10, 40, 80, 81, 200]) {
      const line = progressLine({ ...state, label: `/very/long/${"x".repeat(300)}/file.dbn` }, columns)
      assert.isAtMost(cells(line), Math.max(0, columns - 1))
    }
    assert.match(
      progressLine({ ...state, label: `/very/long/${"x".repeat(300)}/file.dbn` }, 120),
      /^….*\/file\.dbn /
    )
  })

  it("lets no file name move the cursor", () => {
    assert.isFalse(progressLine({ ...state, label: "a\rb\u001b[2J" }, 120).includes("\u001b"))
  })
})
