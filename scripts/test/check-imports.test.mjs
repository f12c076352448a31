import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { afterEach, assert, describe, it } from "vitest"
import { check } from "../check-imports.mjs"

const workspaces = []
afterEach(() => {
  for (const folder of workspaces.splice(0)) rmSync(folder, { recursive: true, force: true })
})

const manifest = (name, more = {}) =>
  JSON.stringify({
    name: `@data-manager/${name}`,
    exports: { ".": "./dist/index.js", "./part": "./dist/part.js", "./internal/*": null },
    ...more
  })

const effect = { peerDependencies: { effect: "^4.1.0" } }
const onCore = { ...effect, dependencies: { "@data-manager/core": "workspace:*" } }

/** A small workspace of every kind of package that breaks no rule. */
const sound = {
  "package.json": JSON.stringify({ devDependencies: { vitest: "5.1.1" } }),
  "packages/core/package.json": manifest("core", effect),
  "packages/core/src/index.ts":
    '// section: domain\nexport * from "./Price.ts"\n\n// section: contracts\nexport * from "./Store.ts"\n// section: engine\nexport * from "./Hub.ts"\n// section: operation\nexport * from "./Daemon.ts"\n',
  "packages/core/src/Price.ts":
    'import { BigDecimal } from "effect"\nimport * as Digits from "./Digits.ts"\n',
  "packages/core/src/Digits.ts": "export {}\n",
  "packages/core/src/Store.ts": 'import type { Price } from "./Price.ts"\nimport { Effect } from "effect"\n',
  "packages/core/src/Hub.ts": 'import { Store } from "./Store.ts"\n',
  "packages/core/src/Daemon.ts": 'import { Hub } from "./Hub.ts"\n',
  "packages/core/test/Price.test.ts":
    'import { readFileSync } from "node:fs"\nimport { it } from "vitest"\nimport { Price } from "../src/Price.ts"\nimport * as Core from "@data-manager/core"\n',
  "packages/testing/package.json": manifest("testing", {
    ...onCore,
    peerDependencies: { effect: "^4.1.0", vitest: ">=5 <6" }
  }),
  "packages/testing/src/index.ts":
    'import { it } from "vitest"\nimport { connect } from "node:net"\nimport { Price } from "@data-manager/core"\n',
  "packages/providers-a/package.json": manifest("providers-a", onCore),
  "packages/providers-a/src/index.ts":
    'import { Socket } from "effect/socket"\nimport { Price } from "@data-manager/core/part"\nimport { gunzipSync } from "node:zlib"\n',
  "packages/storage-b/package.json": manifest("storage-b", {
    ...onCore,
    dependencies: { ...onCore.dependencies, pg: "8" },
    optionalDependencies: { "@embedded/linux": "1" }
  }),
  "packages/storage-b/src/index.ts": 'import pg from "pg"\nimport.meta.resolve("@embedded/linux")\n',
  "packages/storage-b/src/embedded/Watchdog.ts": "process.stderr.write(process.platform)\n",
  "packages/transport-c/package.json": manifest("transport-c", onCore),
  "packages/transport-c/src/index.ts": 'import { Price } from "@data-manager/core"\n',
  "packages/cli/package.json": manifest("cli", {
    dependencies: {
      "@data-manager/core": "workspace:*",
      "@data-manager/storage-b": "workspace:*",
      effect: "4"
    }
  }),
  "packages/cli/src/index.ts":
    'import { Price } from "@data-manager/core"\nimport { Store } from "@data-manager/storage-b/part"\nconsole.log(process.argv)\n',
  "examples/01-embed/package.json": JSON.stringify({
    name: "embed",
    dependencies: { "@data-manager/core": "workspace:*" },
    devDependencies: { "@data-manager/testing": "workspace:*" }
  }),
  "examples/01-embed/test/embed.test.ts":
    'import { it } from "vitest"\nimport * as Suite from "@data-manager/testing"\nimport "../own.ts"\n',
  "examples/01-embed/main.ts":
    'import { Price } from "@data-manager/core"\nimport "./own.ts"\nconsole.log(Price)\n',
  "examples/01-embed/own.ts": "export {}\n"
}

const violationsOf = (changes = {}) => {
  const root = mkdtempSync(join(tmpdir(), "check-imports-"))
  workspaces.push(root)
  for (const [path, text] of Object.entries({ ...sound, ...changes })) {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), text)
  }
  return check(root).violations
}

describe("check-imports", () => {
  it("finds nothing in a workspace that keeps every rule, and has read it", () => {
    assert.deepStrictEqual(violationsOf(), [])
    const { files, imports } = check(workspaces.at(-1))
    assert.strictEqual(files, 16)
    assert.strictEqual(imports, 30)
  })

  const broken = [
    ["core imports Node", "packages/core/src/Price.ts", 'import "node:fs"', "imports no Node module"],
    [
      "core imports a package",
      "packages/core/src/Price.ts",
      'import "left-pad"',
      'may not import "left-pad"'
    ],
    [
      "core imports a platform",
      "packages/core/src/Price.ts",
      'import "@effect/platform-node"',
      "may not import"
    ],
    [
      "core imports a sibling",
      "packages/core/src/Price.ts",
      'import "@data-manager/testing"',
      "may not import"
    ],
    [
      "domain imports contracts",
      "packages/core/src/Price.ts",
      'import "./Store.ts"',
      "domain may not import Store.ts"
    ],
    [
      "domain imports a contract's type",
      "packages/core/src/Price.ts",
      'import type { S } from "./Store.ts"',
      "domain may not import"
    ],
    [
      "contracts import engine",
      "packages/core/src/Store.ts",
      'import type { H } from "./Hub.ts"',
      "contracts may not"
    ],
    [
      "engine imports operation",
      "packages/core/src/Hub.ts",
      'import type { D } from "./Daemon.ts"',
      "engine may not"
    ],
    [
      "a detail of the domain imports engine",
      "packages/core/src/Digits.ts",
      'import type { H } from "./Hub.ts"',
      "domain may not import Hub.ts"
    ],
    ["a module in no section", "packages/core/src/Lost.ts", "export {}", "in no section"],
    [
      "an unknown section",
      "packages/core/src/index.ts",
      '// section: attic\nexport * from "./Price.ts"',
      '"attic"'
    ],
    [
      "an export before any section",
      "packages/core/src/index.ts",
      'export * from "./Price.ts"',
      "is in no section"
    ],
    [
      "an example imports what its tests alone need",
      "examples/01-embed/main.ts",
      'import "@data-manager/testing"',
      "not declared"
    ],
    [
      "testing imports a store",
      "packages/testing/src/index.ts",
      'import "@data-manager/storage-b"',
      "may not import"
    ],
    ["testing imports a package", "packages/testing/src/index.ts", 'import "fast-check"', "may not import"],
    [
      "a provider imports a store",
      "packages/providers-a/src/index.ts",
      'import "@data-manager/storage-b"',
      "may not"
    ],
    [
      "a store imports a provider",
      "packages/storage-b/src/index.ts",
      'import "@data-manager/providers-a"',
      "may not"
    ],
    [
      "a transport imports a store",
      "packages/transport-c/src/index.ts",
      'import "@data-manager/storage-b"',
      "may not"
    ],
    [
      "a provider imports testing",
      "packages/providers-a/src/index.ts",
      'import "@data-manager/testing"',
      "may not"
    ],
    [
      "a provider imports the cli",
      "packages/providers-a/src/index.ts",
      'import "@data-manager/cli"',
      "nobody imports"
    ],
    [
      "a test imports the cli",
      "packages/core/test/a.test.ts",
      'import "@data-manager/cli"',
      "nobody imports the cli"
    ],
    [
      "an example imports the cli",
      "examples/01-embed/main.ts",
      'import "@data-manager/cli"',
      "nobody imports the cli"
    ],
    [
      "a package imports an example",
      "packages/cli/src/index.ts",
      'import "embed"',
      "nobody imports an example"
    ],
    [
      "a package imports itself by name",
      "packages/core/src/Price.ts",
      'import "@data-manager/core"',
      "by relative path"
    ],
    ["a deep path", "packages/cli/src/index.ts", 'import "@data-manager/core/dist/x.js"', "does not export"],
    [
      "an internal path",
      "packages/cli/src/index.ts",
      'import "@data-manager/core/internal/x"',
      "does not export"
    ],
    [
      "an example with a deep path",
      "examples/01-embed/main.ts",
      'import "@data-manager/core/src/Price.ts"',
      "does not export"
    ],
    [
      "an example reaches into packages",
      "examples/01-embed/main.ts",
      'import "../../packages/core/src/Price.ts"',
      "leaves the package"
    ],
    [
      "a package reaches into another",
      "packages/cli/src/index.ts",
      'import "../../core/src/Price.ts"',
      "leaves the package"
    ],
    ["src imports a test", "packages/core/src/Price.ts", 'import "../test/Price.test.ts"', "leaves src"],
    ["a file that is not there", "packages/core/src/Price.ts", 'import "./Nothing.ts"', "is not a file"],
    ["a name without extension", "packages/core/src/Hub.ts", 'import "./Store"', "is not a file"],
    [
      "a provider talks to a database",
      "packages/providers-a/src/index.ts",
      'import "pg"',
      "only storage packages"
    ],
    [
      "the cli talks to a database",
      "packages/cli/src/index.ts",
      'import "effect/sql"',
      "only storage packages"
    ],
    [
      "a dependency that is not declared",
      "packages/providers-a/src/index.ts",
      'import "ws"',
      '"ws" is not declared'
    ],
    [
      "src uses a dependency of the tests",
      "packages/providers-a/src/index.ts",
      'import "vitest"',
      "is not declared"
    ],
    ["a test uses an undeclared one", "packages/core/test/a.test.ts", 'import "left-pad"', "is not declared"],
    [
      "an undeclared type",
      "packages/providers-a/src/index.ts",
      'import type { A } from "ws"',
      "is not declared"
    ],
    ["an undeclared package, lazily", "packages/cli/src/index.ts", 'await import("ws")', "is not declared"],
    [
      "an example without declaring",
      "examples/01-embed/main.ts",
      'import "@data-manager/storage-b"',
      "is not declared"
    ],
    ["a Node module by its old name", "packages/cli/src/index.ts", 'import "fs"', 'write "node:fs"'],
    ["a library prints", "packages/providers-a/src/index.ts", "console.log(1)", "console.log: only the cli"],
    [
      "a library writes to stdout",
      "packages/storage-b/src/index.ts",
      "process.stdout.write('')",
      "process.stdout"
    ],
    ["a library ends the process", "packages/core/src/Price.ts", "process.exit(1)", "process.exit"]
  ]
  it.each(broken)("%s", (_, path, text, expected) => {
    const violations = violationsOf({ [path]: text })
    const found = violations.filter(
      (violation) => violation.startsWith(`${path}:1: `) && violation.includes(expected)
    )
    assert.strictEqual(found.length, 1, violations.join("\n"))
  })

  it("names a package folder of no known kind", () => {
    const violations = violationsOf({ "packages/misc/package.json": manifest("misc") })
    assert.lengthOf(violations, 1)
    assert.match(violations[0], /^packages\/misc\/package.json:1: .*"misc"/)
  })

  it("reports a circle once, with its whole way", () => {
    const violations = violationsOf({
      "packages/providers-a/src/index.ts": 'import "./A.ts"',
      "packages/providers-a/src/A.ts": '\nimport "./B.ts"',
      "packages/providers-a/src/B.ts": 'import "./C.js"',
      "packages/providers-a/src/C.ts": 'await import("./A.ts")'
    })
    const folder = "packages/providers-a/src"
    const way = ["A", "B", "C", "A"].map((name) => `${folder}/${name}.ts`).join(" -> ")
    assert.deepStrictEqual(violations, [`${folder}/A.ts:2: circular import: ${way}`])
  })

  it("reports a module that imports itself", () => {
    const violations = violationsOf({ "packages/providers-a/src/index.ts": 'import "./index.ts"' })
    assert.lengthOf(violations, 1)
  })

  it("lets two modules know each other's types", () => {
    const violations = violationsOf({
      "packages/providers-a/src/index.ts": 'import "./A.ts"',
      "packages/providers-a/src/A.ts": 'import type { B } from "./B.ts"',
      "packages/providers-a/src/B.ts": 'import { A } from "./A.ts"'
    })
    assert.deepStrictEqual(violations, [])
  })

  it("lets a test import testing and a second provider that it declares", () => {
    const violations = violationsOf({
      "packages/providers-a/package.json": manifest("providers-a", {
        ...onCore,
        devDependencies: { "@data-manager/testing": "workspace:*", "@data-manager/storage-b": "workspace:*" }
      }),
      "packages/providers-a/test/a.test.ts":
        'import "@data-manager/testing"\nimport "@data-manager/storage-b"'
    })
    assert.deepStrictEqual(violations, [])
  })
})
