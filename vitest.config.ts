import { existsSync, readdirSync } from "node:fs"
import { availableParallelism } from "node:os"
import { join } from "node:path"
import { defineConfig } from "vitest/config"

const root = import.meta.dirname

// `npm run test:long` sets this; the files it names are left out of every other run.
const long = process.env.DM_TEST_LONG === "1"
const testFiles = long ? "*.long.test.{ts,mjs}" : "*.test.{ts,mjs}"
const exclude = ["**/node_modules/**", ...(long ? [] : ["**/*.long.test.*"])]

// A package whose tests share something costly (a database server) starts it in `test/TestServer.ts`, which exports
// `setup(project)` and returns or exports `teardown`; it runs once per run, and only when tests of that package run.
const sharedSetup = (folder: string) => {
  const file = join(root, folder, "test", "TestServer.ts")
  return existsSync(file) ? { globalSetup: [file] } : {}
}

const project = (name: string, folder: string, tests: string) => ({
  extends: true as const,
  test: { name, include: [`${folder}/${tests}/**/${testFiles}`], exclude, ...sharedSetup(folder) }
})

const packages = readdirSync(join(root, "packages"))
  .filter((name) => existsSync(join(root, "packages", name, "package.json")))
  .map((name) => project(name, `packages/${name}`, "test"))

// An example that is a package with tests of its own.
const examples = readdirSync(join(root, "examples"))
  .filter((name) => existsSync(join(root, "examples", name, "test")))
  .map((name) => project(name, `examples/${name}`, "test"))

// With a file name in DM_TEST_REPORT the results are written there as JSON, too.
const report = process.env.DM_TEST_REPORT
const json: Array<[string, Record<string, unknown>]> =
  report === undefined ? [] : [["json", { outputFile: report }]]

// Packages of the workspace resolve to their sources everywhere: in tests, and in the setup files around them.
const sources = {
  name: "sources",
  configEnvironment: () => ({ resolve: { conditions: ["source"] } })
}

export default defineConfig({
  plugins: [sources],
  test: {
    projects: [...packages, ...examples, project("scripts", "scripts", "test")],
    reporters: [["default", { summary: false }], join(root, "scripts/SkipReporter.mjs"), ...json],
    // Vitest leaves one core idle; most tests here wait for other processes.
    maxWorkers: availableParallelism() + 1,
    // Test files of a worker share the modules that they import: to load them anew for each took a third of the time.
    isolate: false,
    // Programs that tests start keep their compiled code: half of the time of a short one is compilation.
    env: { NODE_COMPILE_CACHE: join(root, "node_modules", ".cache", "node-compile") },
    testTimeout: long ? 600_000 : 60_000,
    hookTimeout: long ? 600_000 : 120_000
  }
})
