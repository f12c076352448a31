// usage: npm run test:long [-- vitest arguments]
// Runs the tests in `*.long.test.ts` files, which every other run leaves out: those that take minutes, such as killing
// an import at random moments.
import { prepare, run } from "./toolchain.mjs"

const { env } = await prepare()
const argv = ["run", "--passWithNoTests", ...process.argv.slice(2)]
process.exit(await run("vitest", argv, { env: { ...env, DM_TEST_LONG: "1" } }))
