/**
 * `dm` as it is published, for the tests of this package: it starts in a quarter of the time that its sources take, and there
 * are hundreds of starts. Built once per run, within the package, so that what is not bundled is found as in an installed one.
 */
import { spawnSync } from "node:child_process"
import { copyFileSync, mkdirSync, rmSync } from "node:fs"
import { join } from "node:path"
import { build, type Options } from "tsup"
import type { TestProject } from "vitest/node"

declare module "vitest" {
  export interface ProvidedContext {
    /** Folder of the built program: `dist/bin.js` and `package.json`. */
    readonly dmFolder: string
    /** The native part of rings, built from its sources; undefined where there is no compiler. */
    readonly ringAddon: string | undefined
  }
}

const root = join(import.meta.dirname, "..")
const folder = join(root, ".tsc", `dm-${process.pid}`)

/** What an installed `dm` finds in the package of the platform. */
const ringAddon = (): string | undefined => {
  const script = join(root, "..", "transport-shm", "native", "build.mjs")
  const { status, stdout } = spawnSync(process.execPath, [script, "--print"], { encoding: "utf8" })
  return status === 0 ? stdout.trim() : undefined
}

/** Before the run. */
export const setup = async (project: TestProject): Promise<void> => {
  const { bundle }: { bundle: Options } = await import(new URL("../tsup.config.ts", import.meta.url).href)
  mkdirSync(folder, { recursive: true })
  copyFileSync(join(root, "package.json"), join(folder, "package.json"))
  const entry = { bin: join(root, "src", "bin.ts") }
  await build({ ...bundle, entry, config: false, silent: true, clean: false, outDir: join(folder, "dist") })
  project.provide("dmFolder", folder)
  project.provide("ringAddon", ringAddon())
}

/** After the run. */
export const teardown = (): void => rmSync(folder, { recursive: true, force: true })
