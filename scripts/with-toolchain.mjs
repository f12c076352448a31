// usage: node scripts/with-toolchain.mjs <command> [args...]
// Runs a command of this workspace (node, tsc, vitest, biome, pnpm ...) under the right Node, with its dependencies
// installed; see toolchain.mjs. Exit code and signals pass through. It must stay readable by Node 18 and 20.
import { changeDependencies, prepare, run } from "./toolchain.mjs"

const [command, ...args] = process.argv.slice(2)
if (command === undefined) {
  console.error("usage: node scripts/with-toolchain.mjs <command> [args...]")
  process.exit(2)
}

const changing = ["install", "i", "add", "update", "up", "remove", "rm"]
if (command === "pnpm" && changing.includes(args[0])) process.exit(await changeDependencies(args))

const { node, env } = await prepare({ pnpm: command === "pnpm" })
process.exit(await run(command === "node" ? node : command, args, { env }))
