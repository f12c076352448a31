// The public packages of the workspace as tarballs, and running programs on them: for the scripts that stand where users do.
import { spawnSync } from "node:child_process"
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { root } from "./toolchain.mjs"

/** The oldest Node that `engines` of the packages allows. */
export const oldestNode = "22.19.0"
export const stepLimitMs = 300_000

/** Runs a program to its end, whatever that is. */
export const run = (file, argv, options) =>
  spawnSync(file, argv, { encoding: "utf8", timeout: stepLimitMs, maxBuffer: 2 ** 26, ...options })

/** Runs a program; answers with its standard output, or throws with everything it wrote. */
export const output = (file, argv, options) => {
  const found = run(file, argv, options)
  if (found.status === 0) return found.stdout
  const ending = found.error?.message ?? `exit code ${found.status ?? found.signal}`
  throw new Error(
    `${file} ${argv.join(" ")}: ${ending}\n${found.stdout ?? ""}${found.stderr ?? ""}`.trimEnd()
  )
}

/** Counts steps, each a line of the output; a step that throws or answers with a text has failed. */
export const makeReport = () => {
  const results = []
  const report = (name, problem) => {
    results.push(problem === undefined)
    console.log(`${problem === undefined ? "ok    " : "FAILED"} ${name}`)
    if (problem !== undefined) console.log(problem.replace(/^/gm, "         "))
    return problem === undefined
  }
  const attempt = (name, work) => {
    try {
      return report(name, work() ?? undefined)
    } catch (error) {
      return report(name, error.message)
    }
  }
  const finish = (title) => {
    const failed = results.filter((passed) => !passed).length
    console.log(`${title}: ${results.length - failed} passed, ${failed} failed`)
    process.exit(failed === 0 ? 0 : 1)
  }
  return { report, attempt, finish }
}

const subfolders = (folder) =>
  existsSync(folder) ? readdirSync(folder).map((name) => join(folder, name)) : []

/** Packages of the workspace, and those for one platform inside of them. */
export const publicPackages = () =>
  subfolders(join(root, "packages"))
    .flatMap((folder) => [folder, ...subfolders(join(folder, "npm"))])
    .filter((folder) => existsSync(join(folder, "package.json")))
    .map((folder) => ({ folder, manifest: JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) }))
    .filter(({ manifest }) => manifest.private !== true)

/** Whether a package is for this machine; most are for all. */
export const fits = ({ os, cpu }) =>
  (os ?? [process.platform]).includes(process.platform) && (cpu ?? [process.arch]).includes(process.arch)

/** Packs one package into a folder of its own below `destination`; gives the tarball's path. */
export const pack = ({ folder, manifest }, destination, env) => {
  const into = join(destination, manifest.name.replace(/\W+/g, "-"))
  mkdirSync(into)
  output("pnpm", ["pack", "--pack-destination", into], { cwd: folder, env })
  return join(into, readdirSync(into)[0])
}

export const quiet = ["--no-audit", "--no-fund", "--loglevel=error"]

/** An empty project into which plain npm installs the tarballs. */
export const makeConsumer = (folder, packed, env) => {
  mkdirSync(folder)
  // Packages for other machines are there for npm to pass over, as it does when they come from the registry.
  const optionalDependencies = Object.fromEntries(
    packed.filter(({ manifest }) => !fits(manifest)).map(({ name, tarball }) => [name, `file:${tarball}`])
  )
  const manifest = { name: "consumer", private: true, type: "module", optionalDependencies }
  writeFileSync(join(folder, "package.json"), JSON.stringify(manifest))
  const tarballs = packed.filter(({ manifest }) => fits(manifest)).map(({ tarball }) => tarball)
  output("npm", ["install", "--engine-strict", ...quiet, ...tarballs], { cwd: folder, env })
}
