// usage: node scripts/count-tests.mjs REPORT EXIT_CODE
// Prints `PASSED FAILED SKIPPED` from the JSON report of a vitest run. A run that failed without a failed test (a file
// that does not load, a run cut short, a report that is missing) or that ran no test counts as one failure.
import { readFileSync } from "node:fs"

/** The three numbers, from the report's text (undefined when there is none) and the exit code of the run. */
export const countTests = (text, exitCode) => {
  let report
  try {
    report = JSON.parse(text)
  } catch {
    return { passed: 0, failed: 1, skipped: 0 }
  }
  const passed = report.numPassedTests ?? 0
  const failed = report.numFailedTests ?? 0
  const skipped = (report.numPendingTests ?? 0) + (report.numTodoTests ?? 0)
  const isSound = exitCode === 0 && report.success === true && passed > 0
  return { passed, failed: failed === 0 && !isSound ? 1 : failed, skipped }
}

const readReport = (path) => {
  try {
    return readFileSync(path, "utf8")
  } catch {
    return undefined
  }
}

if (process.argv[1]?.endsWith("count-tests.mjs")) {
  const { passed, failed, skipped } = countTests(readReport(process.argv[2]), Number(process.argv[3]))
  console.log(`${passed} ${failed} ${skipped}`)
}
