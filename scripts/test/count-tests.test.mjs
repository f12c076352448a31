import { assert, it } from "vitest"
import { countTests } from "../count-tests.mjs"

const report = (numbers) =>
  JSON.stringify({ numPassedTests: 0, numFailedTests: 0, numPendingTests: 0, numTodoTests: 0, ...numbers })

const cases = [
  ["all passed", report({ numPassedTests: 5, success: true }), 0, [5, 0, 0]],
  [
    "some skipped or not written",
    report({ numPassedTests: 5, numPendingTests: 2, numTodoTests: 1, success: true }),
    0,
    [5, 0, 3]
  ],
  ["one failed", report({ numPassedTests: 5, numFailedTests: 1, success: false }), 1, [5, 1, 0]],
  ["a file that does not load", report({ numPassedTests: 5, success: false }), 1, [5, 1, 0]],
  ["an error outside the tests", report({ numPassedTests: 5, success: true }), 1, [5, 1, 0]],
  ["no test at all", report({ success: true }), 0, [0, 1, 0]],
  ["no report", undefined, 0, [0, 1, 0]],
  ["half a report", '{"numPassedTests": 5', 137, [0, 1, 0]]
]
it.each(cases)("counts %s", (_, text, code, [passed, failed, skipped]) => {
  assert.deepStrictEqual(countTests(text, code), { passed, failed, skipped })
})
