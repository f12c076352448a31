// Runs the `dm` command line from its TypeScript sources, as `npm run --silent dm -- ARGS...` does.
import { spawn } from "node:child_process"
import { resolve } from "node:path"
import { fileURLToPath } from "node:url"

const bin = resolve(fileURLToPath(import.meta.url), "../../packages/cli/src/bin.ts")
const argv = ["--conditions=source", "--disable-warning=ExperimentalWarning", bin, ...process.argv.slice(2)]
const cwd = process.env.INIT_CWD ?? process.cwd()
const child = spawn(process.execPath, argv, { stdio: "inherit", cwd })
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal))
child.on("exit", (code, signal) => process.exit(code ?? (signal === "SIGINT" ? 130 : signal === "SIGKILL" ? 137 : 143)))
