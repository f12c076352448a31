// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the sources scanned here are data in quotes
import { assert, describe, it } from "vitest"
import { scanImports, scanTerminalUses, tokenize } from "../scan-imports.mjs"

const summary = (source) =>
  scanImports(source).map(({ specifier, kind, line }) => `${line} ${kind} ${specifier}`)

describe("scanImports", () => {
  const cases = [
    ["a default import", 'import a from "x"', ["1 static x"]],
    ["a namespace import", 'import * as a from "x"', ["1 static x"]],
    ["named imports over lines", 'import {\n  a,\n  b as c\n} from "x"\n', ["1 static x"]],
    ["default and named", "import a, { b } from 'x'", ["1 static x"]],
    ["default and namespace", "import a, * as b from 'x';import 'y'", ["1 static x", "1 static y"]],
    ["a side effect", 'import "x"', ["1 static x"]],
    ["import attributes", 'import a from "./a.json" with { type: "json" }', ["1 static ./a.json"]],
    ["import type", 'import type { A } from "x"', ["1 type x"]],
    ["import type of a default", 'import type A from "x"', ["1 type x"]],
    ["import type of a namespace", 'import type * as A from "x"', ["1 type x"]],
    ["inline type keeps the import", 'import { type A } from "x"', ["1 static x"]],
    ["a binding called type", 'import type from "x"', ["1 static x"]],
    ["a binding called type, and others", 'import type, { A } from "x"', ["1 static x"]],
    ["a type called from", 'import type from from "x"', ["1 type x"]],
    ["import require", 'import a = require("x")', ["1 static x", "1 resolve x"]],
    ["export all", 'export * from "x"', ["1 static x"]],
    ["export all as a name", 'export * as A from "x"', ["1 static x"]],
    ["export named", 'export { a, b as default } from "x"', ["1 static x"]],
    ["export type", 'export type { A } from "x"\nexport type * from "y"', ["1 type x", "2 type y"]],
    ["export without from", 'const from = "y"\nexport { from }\nimport "z"', ["3 static z"]],
    ["an exported type alias", 'export type A = { from: "x" }', []],
    ["a dynamic import", 'const a = await import("x")', ["1 dynamic x"]],
    ["a dynamic import of a template", "import(`x`)", ["1 dynamic x"]],
    ["a computed import", "import(name)", ["1 dynamic undefined"]],
    ["an import type", 'let a: typeof import("x")', ["1 type x"]],
    [
      "require and resolve",
      'require("a"); require.resolve("b"); import.meta.resolve("c")',
      ["1 resolve a", "1 resolve b", "1 resolve c"]
    ],
    ["import.meta", "const url = import.meta.url", []],
    ["properties with those names", 'a.import("x"); a.require("y"); ({ import: "z" })', []],
    ["a comment", '// import "x"\n/* import "y" */ import "z"', ["2 static z"]],
    [
      "text in strings and templates",
      'const a = \'import "x"\'\nconst b = `\nimport "y" ${`import "z"`}`',
      []
    ],
    [
      "code inside a template",
      'const a = `${await import("x")} import "y"`; import "z"',
      ["1 dynamic x", "1 static z"]
    ],
    ["braces inside a template", 'const a = `${{ b: { c: 1 } }}`\nimport "x"', ["2 static x"]],
    ["a quote inside a regular expression", 'const a = /["`]/.test(b)\nimport "x"', ["2 static x"]],
    ["a regular expression after a head", 'if (a) /"/.test(b)\nimport "x"', ["2 static x"]],
    ["a slash in a class", 'const a = [/[/"]/]\nimport "x"', ["2 static x"]],
    [
      "divisions",
      'const a = b / c, d = "/"\nconst e = (f) / g[0] / h! / i++ / 2\nimport "x"',
      ["3 static x"]
    ],
    ["a division after a template", 'const a = `1` / 2 + "/"\nimport "x"', ["2 static x"]],
    ["a hashbang", '#!/usr/bin/env node\nimport "x"', ["2 static x"]],
    ["names of object members", 'const valueOf = toString\nconstructor()\nimport "x"', ["3 static x"]]
  ]
  it.each(cases)("%s", (_, source, expected) => {
    assert.deepStrictEqual(summary(source), expected)
  })

  it("ends on text that no compiler accepts", () => {
    const pieces = [
      "`",
      "${",
      "}",
      '"',
      "'",
      "/",
      "/*",
      "\\",
      "import",
      "export",
      "{",
      "(",
      "*",
      " from ",
      '"x"',
      "\n"
    ]
    let state = 1
    const next = () => {
      state = (state * 48271) % 2147483647
      return state
    }
    for (let round = 0; round < 2_000; round++) {
      const source = Array.from({ length: next() % 24 }, () => pieces[next() % pieces.length]).join("")
      const end = tokenize(source).reduce((last, { offset }) => {
        assert.isAtLeast(offset, last, JSON.stringify(source))
        return offset
      }, 0)
      assert.isAtMost(end, source.length)
      scanImports(source)
    }
  })
})

describe("scanTerminalUses", () => {
  const names = (source) => scanTerminalUses(source).map(({ name, line }) => `${line} ${name}`)

  it("finds the console and the streams of the process", () => {
    const source = "console.log(1)\nprocess.stdout.write('')\nglobalThis.console.error(2)\nprocess?.exit(1)"
    assert.deepStrictEqual(names(source), [
      "1 console.log",
      "2 process.stdout",
      "3 console.error",
      "4 process.exit"
    ])
  })

  it("leaves alone what only looks like it", () => {
    assert.deepStrictEqual(
      names("// console.log(1)\nprocess.platform\nthis.console.log(1)\n'process.stdout'"),
      []
    )
  })
})
