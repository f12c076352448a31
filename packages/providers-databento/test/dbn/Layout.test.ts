import { readFileSync } from "node:fs"
import { assert, describe, it } from "vitest"
import {
  type DbnVersion,
  fieldBytes,
  headerFields,
  type Layout,
  LEVEL_BYTES,
  layoutOf,
  layouts,
  rtypeOfSchema,
  rtypes,
  schemas
} from "../../src/dbn/index.ts"

type Pin = readonly [offset: number, bytes: number, name: string]

const golden = JSON.parse(readFileSync(new URL("./golden/layouts.json", import.meta.url), "utf8")) as {
  readonly [name: string]: { readonly size: number; readonly fields: ReadonlyArray<Pin> }
}

const flat = (layout: Layout): Array<Pin> => {
  const levels = Array.from({ length: layout.levels?.count ?? 0 }, (_, level) =>
    layout.levels!.fields.map(
      (field): Pin => [
        field[0] + layout.levels!.offset + level * LEVEL_BYTES,
        fieldBytes(field),
        `${field[1]}_${String(level).padStart(2, "0")}`
      ]
    )
  )
  const fixed = [...headerFields, ...layout.fields].map(
    (field): Pin => [field[0], fieldBytes(field), field[1]]
  )
  return [...fixed, ...levels.flat()]
}

describe("layouts", () => {
  it("pin size, offset and width of every field of every version to the vendor's structs", () => {
    assert.deepStrictEqual(Object.keys(layouts).sort(), Object.keys(golden).sort())
    for (const [name, pin] of Object.entries(golden)) {
      const layout = layouts[name as keyof typeof layouts]
      assert.strictEqual(layout.size, pin.size, name)
      assert.deepStrictEqual(flat(layout), pin.fields, name)
    }
  })

  it("are aligned so that words can be read in place", () => {
    for (const layout of Object.values(layouts)) {
      assert.strictEqual(layout.size % 8, 0, layout.name)
      for (const field of layout.fields) {
        const unit = field[2] === "cstr" ? 1 : fieldBytes(field)
        assert.strictEqual(field[0] % unit, 0, `${layout.name}.${field[1]}`)
      }
    }
  })

  it("never overlap and stay inside their struct", () => {
    for (const layout of Object.values(layouts)) {
      let end = 0
      for (const [offset, bytes, name] of flat(layout).sort((a, b) => a[0] - b[0])) {
        assert.isAtLeast(offset, end, `${layout.name}.${name}`)
        end = offset + bytes
      }
      assert.isAtMost(end, layout.size, layout.name)
    }
  })

  it("are found by record type and version, sizes as in the vendor's table", () => {
    const sizes = (rtype: number) => ([1, 2, 3] as const).map((v: DbnVersion) => layoutOf(rtype, v)?.size)
    assert.deepStrictEqual(sizes(0x13), [360, 400, 520])
    assert.deepStrictEqual(sizes(0x15), [80, 320, 320])
    assert.deepStrictEqual(sizes(0x16), [80, 176, 176])
    assert.deepStrictEqual(sizes(0x17), [80, 320, 320])
    assert.deepStrictEqual(sizes(0x18), [64, 64, 80])
    assert.deepStrictEqual(sizes(0xc2), [80, 80, 80])
    assert.strictEqual(layoutOf(0xc2, 3)?.name, "cmbp1")
    assert.deepStrictEqual(sizes(0x42), [undefined, undefined, undefined])
    assert.strictEqual(rtypes.length, 23)
    const bySchema = schemas.map((schema) => [schema, rtypeOfSchema(schema)])
    assert.deepStrictEqual(Object.fromEntries(bySchema), {
      mbo: 0xa0,
      "mbp-1": 0x01,
      "mbp-10": 0x0a,
      tbbo: 0x01,
      trades: 0x00,
      "ohlcv-1s": 0x20,
      "ohlcv-1m": 0x21,
      "ohlcv-1h": 0x22,
      "ohlcv-1d": 0x23,
      definition: 0x13,
      statistics: 0x18,
      status: 0x12,
      imbalance: 0x14,
      "ohlcv-eod": 0x24,
      "cmbp-1": 0xb1,
      "cbbo-1s": 0xc0,
      "cbbo-1m": 0xc1,
      tcbbo: 0xc2,
      "bbo-1s": 0xc3,
      "bbo-1m": 0xc4
    })
  })
})
