// Programs in C that tests run: compiled once per run and machine, from the sources of the package.
import { execFileSync } from "node:child_process"
import { createHash } from "node:crypto"
import { existsSync, mkdirSync, readFileSync, renameSync } from "node:fs"
import { join } from "node:path"

const native = join(import.meta.dirname, "..", "..", "native")
const sources = {
  ring_test: ["test/ring_test.c", "src/ring.c"],
  ring_bench: ["bench/ring_bench.c", "src/ring.c"],
  tail: ["example/tail.c"]
} as const
/** Compilers of programs for another processor; static, so that an emulator needs no libraries. */
export const crossCompilers = { arm64: "aarch64-linux-gnu-gcc" } as const
const sanitizers = {
  none: ["-O2"],
  arm64: ["-O2", "-static"],
  address: ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
  thread: ["-O1", "-g", "-fsanitize=thread", "-Wno-tsan"]
} as const

/** Path of the compiled program. */
export const compiled = (name: keyof typeof sources, sanitizer: keyof typeof sanitizers = "none"): string => {
  const files = sources[name].map((file) => join(native, file))
  const hash = createHash("sha256")
  for (const file of [...files, join(native, "include/dm_ring.h"), join(native, "src/ring.h")])
    hash.update(readFileSync(file))
  const out = join(native, ".build", `${name}-${sanitizer}-${hash.digest("hex").slice(0, 16)}`)
  if (existsSync(out)) return out
  mkdirSync(join(native, ".build"), { recursive: true })
  const partial = `${out}.${process.pid}`
  const options = [
    "-std=c11",
    "-Wall",
    "-Wextra",
    "-Werror",
    ...sanitizers[sanitizer],
    ...(name === "ring_bench" ? ["-O3"] : []), // as the addon that it is measured against
    "-I",
    join(native, "include")
  ]
  const compiler = sanitizer === "arm64" ? crossCompilers.arm64 : "cc"
  execFileSync(compiler, [...options, ...files, "-o", partial], { stdio: ["ignore", "inherit", "inherit"] })
  renameSync(partial, out)
  return out
}
