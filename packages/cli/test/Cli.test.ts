import { readFileSync } from "node:fs"
import { symbolTypeOf } from "@data-manager/core"
import type { ServerFacts } from "@data-manager/storage-timescale"
import { assert, describe, it } from "@effect/vitest"
import type { Command } from "effect/cli"
import { checkNode, judgeDisk, judgeServer } from "../src/actions/Doctor.ts"
import { dm } from "../src/Cli.ts"
import { exitCodes } from "../src/Help.ts"
import { matchesPattern } from "../src/SymbolLookup.ts"

interface Listed {
  readonly path: string
  readonly command: Command.Command.Any
}

const all = (command: Command.Command.Any, path: string): ReadonlyArray<Listed> =>
  command.subcommands.flatMap(({ commands }) =>
    commands.flatMap((sub) => [
      { path: `${path} ${sub.name}`, command: sub },
      ...all(sub, `${path} ${sub.name}`)
    ])
  )

const commands = all(dm, "dm")
const leaves = commands.filter(({ command }) => command.subcommands.length === 0)
const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8")

describe("help", () => {
  it("has a description and examples for every command", () => {
    for (const { path, command } of commands) {
      assert.isAbove(command.description?.length ?? 0, 10, path)
      assert.isAbove(command.shortDescription?.length ?? 0, 5, path)
      assert.isAbove(command.examples.length, 0, path)
      for (const example of command.examples) assert.isTrue(example.command.includes(path), example.command)
    }
  })
})

describe("README", () => {
  const section = (title: string): ReadonlyArray<string> =>
    (readme.split(`## ${title}\n`)[1]?.split("\n## ")[0] ?? "")
      .split("\n")
      .filter((line) => line.startsWith("| "))

  it("lists exactly the commands that there are, in their own words", () => {
    const rows = section("Commands").slice(1)
    assert.deepStrictEqual(
      rows,
      leaves.map(({ path, command }) => `| \`${path}\` | ${command.shortDescription} |`)
    )
  })

  it("lists exactly the exit codes of the help page", () => {
    assert.deepStrictEqual(
      section("Exit codes").slice(1),
      exitCodes.map(({ name, text }) => `| ${name} | ${text} |`)
    )
  })
})

describe("doctor", () => {
  const facts: ServerFacts.ServerFacts = {
    address: "localhost/market",
    database: "market",
    version: "17.2",
    versionNumber: 170002,
    encoding: "UTF8",
    timeZone: "UTC",
    extension: undefined,
    license: undefined,
    maxLocksPerTransaction: 4096,
    sharedBuffers: 2 ** 30,
    skewMillis: 12,
    pendingMigrations: 0,
    driftedMigrations: 0
  }
  const judged = (over: Partial<ServerFacts.ServerFacts>, embedded = false) =>
    judgeServer({ ...facts, ...over }, embedded).filter(({ state }) => state !== "ok")

  it("finds nothing wrong with a good server", () => {
    assert.deepStrictEqual(judged({}), [])
    assert.deepStrictEqual(judged({ extension: "2.29.2", license: "timescale" }), [])
  })

  it("has a fix for everything that is wrong", () => {
    const bad = judged({
      version: "14.1",
      versionNumber: 140001,
      encoding: "SQL_ASCII",
      timeZone: "Europe/Berlin",
      maxLocksPerTransaction: 64,
      sharedBuffers: 128 * 2 ** 20,
      skewMillis: -90_000,
      pendingMigrations: 1,
      driftedMigrations: 1
    })
    assert.deepStrictEqual(
      bad.map(({ name, state }) => [name, state]),
      [
        ["server version", "failed"],
        ["encoding", "failed"],
        ["max_locks_per_transaction", "warning"],
        ["shared_buffers", "warning"],
        ["time zone", "warning"],
        ["clock", "warning"],
        ["migrations", "failed"],
        ["migrations", "failed"]
      ]
    )
    for (const { fix } of bad) assert.isAbove(fix?.length ?? 0, 10)
  })

  it("leaves the settings of the embedded server alone", () => {
    assert.deepStrictEqual(judged({ maxLocksPerTransaction: 64, sharedBuffers: 2 ** 20 }, true), [])
  })

  it("judges Node and the disk", () => {
    assert.deepStrictEqual(
      ["20.10.0", "22.18.9", "22.19.0", "24.0.0"].map((version) => checkNode(version, "").state),
      ["failed", "failed", "ok", "ok"]
    )
    const gigabyte = 1024 ** 3
    assert.deepStrictEqual(
      [0.5, 2, 50].map((n) => judgeDisk(n * gigabyte, "/data").state),
      ["failed", "warning", "ok"]
    )
  })
})

describe("symbols", () => {
  it("tells the type of a symbol by its form", () => {
    assert.deepStrictEqual(
      ["ESH6", "ES.FUT", "SPX.OPT", "ES.c.0", "CL.n.12", "5482", "BRK.B", "ES H6"].map(symbolTypeOf),
      [
        "raw_symbol",
        "parent",
        "parent",
        "continuous",
        "continuous",
        "instrument_id",
        "raw_symbol",
        "raw_symbol"
      ]
    )
  })

  it("matches patterns against the whole symbol or its short form", () => {
    const es = { rawSymbol: "ES.c.0", symbol: "GLBX.MDP3:ES.c.0" }
    const yes = ["GLBX.MDP3:*", "ES*", "es.c.0", "ES.?.0", "*"]
    const no = ["ES", "ESxcx0", "GLBX", "*:NQ*", "("]
    assert.deepStrictEqual(
      yes.map((pattern) => matchesPattern(pattern, es)),
      yes.map(() => true)
    )
    assert.deepStrictEqual(
      no.map((pattern) => matchesPattern(pattern, es)),
      no.map(() => false)
    )
  })
})
