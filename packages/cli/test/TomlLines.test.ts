import { assert, describe, it } from "@effect/vitest"
import { scanToml } from "../src/TomlLines.ts"

const lines = (text: string): ReadonlyArray<string> =>
  scanToml(text).map(({ key, line, value }) => `${line} ${key}${value === "" ? "" : ` = ${value}`}`)

describe("scanToml", () => {
  it("finds keys in tables, dotted and quoted keys", () => {
    const text = [
      "# a comment with key = 1",
      "top = 1",
      "",
      "[a.b]  # table",
      'x = "v" # text',
      "  y.z = true",
      '"q d" = 3',
      "[[list]]",
      "n = 1",
      "[ spaced . name ]",
      "k=2"
    ].join("\n")
    assert.deepStrictEqual(lines(text), [
      "2 top = 1",
      "4 a.b",
      '5 a.b.x = "v"',
      "6 a.b.y.z = true",
      "7 a.b.q d = 3",
      "8 list",
      "9 list.n = 1",
      "10 spaced.name",
      "11 spaced.name.k = 2"
    ])
  })

  it("skips what looks like a key inside strings, arrays and inline tables", () => {
    const text = [
      'a = """',
      "b = 1",
      '"""',
      "c = '''",
      "[d]",
      "'''",
      "e = [",
      '  "f = 1", # ] comment',
      "  2",
      "]",
      'g = { h = 1, i = "]" }',
      'j = "\\" # not a comment"',
      "k = 1"
    ].join("\n")
    assert.deepStrictEqual(
      scanToml(text).map(({ key, line }) => `${line} ${key}`),
      ["1 a", "4 c", "7 e", "11 g", "12 j", "13 k"]
    )
  })

  it("reads line ends of both kinds and a byte order mark", () => {
    assert.deepStrictEqual(lines("\uFEFFa = null\r\n[b]\r\nc = null # x\r\n"), [
      "1 a = null",
      "2 b",
      "3 b.c = null"
    ])
  })

  it("survives text that is no TOML", () => {
    for (const text of [
      "[",
      "[[",
      "=",
      '"',
      "'''",
      "a",
      "a = ",
      'a = "',
      "a = [",
      "]]]",
      "\u0000",
      "a..b = 1",
      "[\n="
    ])
      assert.isArray(scanToml(text))
    const noise = Array.from({ length: 20_000 }, (_, i) => "[]{}=\"'#\n ab."[(i * 7919) % 13]).join("")
    assert.isArray(scanToml(noise))
  })
})
