/** The vendor's test files: `DM_TESTDATA`, else `shared/testdata` beside the repository. CI insists on them. */
import { existsSync } from "node:fs"
import { resolve } from "node:path"

const found = [process.env.DM_TESTDATA, resolve(import.meta.dirname, "../../../../shared/testdata")].find(
  (path) => path !== undefined && existsSync(path)
)
if (found === undefined && process.env.CI !== undefined && process.env.DM_WITHOUT_TESTDATA === undefined)
  throw new Error("test data not found: set DM_TESTDATA, or put shared/testdata beside the repository")

/** Folder of the DBN files; undefined where there is none. */
export const dbnFolder = found === undefined ? undefined : resolve(found, "dbn")

/** Why tests on the files are skipped. */
export const skipReason = "the folder ../shared/testdata is not here (see DM_TESTDATA)"
