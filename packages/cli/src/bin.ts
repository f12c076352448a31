#!/usr/bin/env -S node --max-semi-space-size=8 --heap-growing-percent=50
// A young generation of 24 MiB: rows are columns, not objects, and a larger one only holds garbage for longer. An import of
// 20,000 symbols stays 80 MiB smaller at the same speed. The old one is collected when it has grown by half, not when
// it has become several times as large: a service of 20,000 symbols stays at about 330 MB instead of growing beyond 400.
//
// The first file that runs, on any Node: it must stay readable by Node 18, import nothing of this package at the top,
// and answer `--version` by itself.
import { readFileSync } from "node:fs"
import module from "node:module"

const [major = 0, minor = 0] = process.versions.node.split(".").map(Number)
if (major < 22 || (major === 22 && minor < 19)) {
  process.stderr.write(
    `dm needs Node 22.19 or newer; this is Node ${process.versions.node} (${process.execPath})\n`
  )
  process.exitCode = 2
} else {
  const argv = process.argv.slice(2)
  const manifest = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as {
    version: string
  }
  if (argv.length === 1 && (argv[0] === "--version" || argv[0] === "-v")) {
    process.stdout.write(`dm ${manifest.version}\n`)
  } else {
    // Compiled code is kept between runs: without it half of the time of `dm --help` is compilation.
    module.enableCompileCache?.()
    import("./Main.ts").then(({ main }) => main(argv, manifest.version))
  }
}
