// Tests of this package need the addon, and it needs a compiler. Without one they are skipped, with the reason, except
// where CI is set: there a missing compiler is a failure.
import { spawnSync } from "node:child_process"

const compiler = process.env.CC ?? "cc"
const missing = spawnSync(compiler, ["--version"]).error !== undefined

/** For `beforeEach`. */
export const needsAddon = (test: { readonly skip: (reason: string) => void }): void => {
  if (missing && process.env.CI === undefined)
    test.skip(`there is no C compiler "${compiler}" to build the ring with`)
}
