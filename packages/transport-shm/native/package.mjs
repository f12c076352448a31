// usage: node native/package.mjs [--all] [--check]
// Makes the optional packages that carry the prebuilt addon, one per platform, in npm/PLATFORM: manifest, README and
// dm_ring.node. Without --all, platforms whose compiler is not here are left without a binary, which is said; with it,
// as for a release, that is a failure. --check builds nothing and fails when a manifest is not what this would write.
// Manifests are committed, so that the workspace and its versions know the packages; binaries never are.
import { spawnSync } from "node:child_process"
import { copyFileSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { glibcProblem, neededGlibc } from "./glibc.mjs"

const root = join(dirname(fileURLToPath(import.meta.url)), "..")
const own = JSON.parse(readFileSync(join(root, "package.json"), "utf8"))

/** Published platforms; the name of each package ends with `process.platform-process.arch`. */
export const platforms = ["linux-x64", "linux-arm64"]

const manifestOf = (platform) => {
  const [os, cpu] = platform.split("-")
  return {
    name: `${own.name}-${platform}`,
    version: own.version,
    description: `Prebuilt native part of ${own.name} for ${os} on ${cpu}`,
    license: own.license,
    repository: { ...own.repository, directory: `${own.repository.directory}/npm/${platform}` },
    engines: own.engines,
    os: [os],
    cpu: [cpu],
    libc: ["glibc"],
    files: ["dm_ring.node"],
    main: "./dm_ring.node"
  }
}

const readmeOf = (platform) =>
  `# ${own.name}-${platform}\n\nThe native part of \`${own.name}\`, prebuilt for ${platform}. It is installed by itself; do not depend on it.\n`

const filesOf = (platform) => ({
  "package.json": `${JSON.stringify(manifestOf(platform), null, 2)}\n`,
  "README.md": readmeOf(platform)
})

/** Files of the platform packages that are not what they should be. */
export const outdated = () =>
  platforms.flatMap((platform) =>
    Object.entries(filesOf(platform)).flatMap(([name, text]) => {
      const path = join(root, "npm", platform, name)
      return existsSync(path) && readFileSync(path, "utf8") === text ? [] : [path]
    })
  )

/** Builds one binary; answers with why not, or undefined. */
const build = (platform) => {
  const out = join(root, "npm", platform, "dm_ring.node")
  const [os, cpu] = platform.split("-")
  let problem = os === process.platform ? undefined : `needs to be built on ${os}`
  if (problem === undefined) {
    const argv = [join(root, "native", "build.mjs"), "--target", cpu, "--print"]
    const { status, stdout, stderr } = spawnSync(process.execPath, argv, { encoding: "utf8" })
    problem = status === 0 ? glibcProblem(stdout.trim()) : stderr.trim()
    if (problem === undefined) {
      // Under another name first: whoever loads the binary at this moment finds a whole one.
      copyFileSync(stdout.trim(), `${out}.${process.pid}`)
      renameSync(`${out}.${process.pid}`, out)
      console.log(`${platform}: npm/${platform}/dm_ring.node, needs glibc ${neededGlibc(out)}`)
    }
  }
  if (problem !== undefined) rmSync(out, { force: true })
  return problem
}

const main = (argv) => {
  if (argv.includes("--check")) {
    for (const path of outdated()) console.error(`${path} is not up to date; run node native/package.mjs`)
    return outdated().length === 0
  }
  let complete = true
  for (const platform of platforms) {
    mkdirSync(join(root, "npm", platform), { recursive: true })
    for (const [name, text] of Object.entries(filesOf(platform)))
      writeFileSync(join(root, "npm", platform, name), text)
    const problem = build(platform)
    if (problem === undefined) continue
    complete = false
    console.error(`${platform}: not built: ${problem}`)
  }
  return complete || !argv.includes("--all")
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.exit(main(process.argv.slice(2)) ? 0 : 1)
