// Which glibc a binary needs: the newest version among its symbols, as the linker wrote them down.
import { readFileSync } from "node:fs"

/** Oldest glibc that a published addon must load on: RHEL 8, Debian 10, Amazon Linux 2023 and newer. */
export const glibcFloor = "2.28"

const isNewer = (a, b) => {
  const [x, y] = [a, b].map((version) => version.split(".").map(Number))
  for (let i = 0; i < Math.max(x.length, y.length); i++)
    if ((x[i] ?? 0) !== (y[i] ?? 0)) return (x[i] ?? 0) > (y[i] ?? 0)
  return false
}

/** The newest glibc version that an ELF file asks for, such as "2.25". */
export const neededGlibc = (file) => {
  const names = readFileSync(file, "latin1").match(/GLIBC_\d+(\.\d+)+/g) ?? []
  return names
    .map((name) => name.slice("GLIBC_".length))
    .reduce((most, version) => (isNewer(version, most) ? version : most), "0")
}

/** What is wrong with a binary that is to be published, or undefined. */
export const glibcProblem = (file) => {
  const needed = neededGlibc(file)
  return isNewer(needed, glibcFloor) ? `${file} needs glibc ${needed}, more than ${glibcFloor}` : undefined
}
