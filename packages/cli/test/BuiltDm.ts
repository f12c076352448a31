/** `dm` built as it is published, within the package, so that what is not bundled is found as in an installed one. */
import { spawnSync } from "node:child_process"
import { copyFileSync, mkdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { build, type Options } from "tsup"

const root = join(import.meta.dirname, "..")

/** A program that was built. */
export interface BuiltDm {
  /** `dist/bin.js` and `package.json`. */
  readonly folder: string
  /** The native part of rings, built from its sources; undefined where there is no compiler. */
  readonly ringAddon: string | undefined
}

/** What an installed `dm` finds in the package of the platform. */
const ringAddon = (): string | undefined => {
  const script = join(root, "..", "transport-shm", "native", "build.mjs")
  const { status, stdout } = spawnSync(process.execPath, [script, "--print"], { encoding: "utf8" })
  return status === 0 ? stdout.trim() : undefined
}

/** Builds it into a folder of this process; whoever asked removes that. */
export const buildDm = async (): Promise<BuiltDm> => {
  const folder = join(root, ".tsc", `dm-${process.pid}`)
  const { bundle }: { bundle: Options } = await import(new URL("../tsup.config.ts", import.meta.url).href)
  mkdirSync(folder, { recursive: true })
  copyFileSync(join(root, "package.json"), join(folder, "package.json"))
  const entry = { bin: join(root, "src", "bin.ts") }
  await build({ ...bundle, entry, config: false, silent: true, clean: false, outDir: join(folder, "dist") })
  return { folder, ringAddon: ringAddon() }
}

/** Flags of Node in a program's first line: it is run with them where it is started by its name. */
export const flagsOf = (program: string): ReadonlyArray<string> => {
  const [first = ""] = readFileSync(program, "utf8").split("\n", 1)
  return first.split(" ").filter((word) => word.startsWith("--"))
}

/** What Node is given to run it as if it were started by its name. */
export const commandOf = ({ folder }: BuiltDm): ReadonlyArray<string> => {
  const bin = join(folder, "dist", "bin.js")
  return [...flagsOf(bin), bin]
}
