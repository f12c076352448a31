// Runs the `dm` command line from its TypeScript sources, as `npm run --silent dm -- ARGS...` does.
// It must stay readable by Node 18 and 20.
import { readFileSync } from "node:fs"
import { resolve } from "node:path"
import { prepare, root, run } from "./toolchain.mjs"

const { node, env } = await prepare()
const bin = resolve(root, "packages/cli/src/bin.ts")
// Those of the first line of the built program, too.
const [first] = readFileSync(bin, "utf8").split("\n", 1)
const ofProgram = first.split(" ").filter((word) => word.startsWith("--"))
const flags = ["--conditions=source", "--disable-warning=ExperimentalWarning", ...ofProgram]
// npm starts scripts in the workspace's root; files that the user names are relative to where the user stands.
const cwd = process.cwd() === root ? (process.env.INIT_CWD ?? root) : process.cwd()
process.exit(await run(node, [...flags, bin, ...process.argv.slice(2)], { cwd, env }))
