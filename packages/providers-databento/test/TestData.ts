/**
 * Where the vendor's test files lie: `DM_TESTDATA`, else `shared/testdata` beside the repository. They are never copied
 * into it. On CI their absence is a failure, elsewhere the tests on them are skipped.
 */
import { existsSync } from "node:fs"
import { resolve } from "node:path"

const found = [process.env.DM_TESTDATA, resolve(import.meta.dirname, "../../../../shared/testdata")].find(
  (path) => path !== undefined && existsSync(path)
)
if (found === undefined && process.env.CI !== undefined && process.env.DM_WITHOUT_TESTDATA === undefined)
  throw new Error("test data not found: set DM_TESTDATA, or put shared/testdata beside the repository")

/** The folder, undefined where there is none. */
export const testData = found
