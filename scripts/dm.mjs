// Runs the `dm` command line from its TypeScript sources, as `npm run --silent dm -- ARGS...` does.
// It must stay readable by Node 18 and 20.
import { resolve } from "node:path"
import { prepare, root, run } from "./toolchain.mjs"

const { node, env } = await prepare()
const bin = resolve(root, "packages/cli/src/bin.ts")
// The last one stands in the first line of the built program, too.
const flags = ["--conditions=source", "--disable-warning=ExperimentalWarning", "--max-semi-space-size=8"]
// npm starts scripts in the workspace's root; files that the user names are relative to where the user stands.
const cwd = process.cwd() === root ? (process.env.INIT_CWD ?? root) : process.cwd()
process.exit(await run(node, [...flags, bin, ...process.argv.slice(2)], { cwd, env }))
