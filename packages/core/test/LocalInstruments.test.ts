import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { type ListingClaim, LocalInstruments } from "../src/index.ts"

const claim = (rest: Partial<ListingClaim>): ListingClaim => ({
  provider: "acme",
  dataset: "ACME",
  valid: { start: 0n, end: 1n },
  defaultPriceScale: 9,
  defaultSizeScale: 0,
  ...rest
})

describe("LocalInstruments", () => {
  it.effect("gives a text one id, another text another, and a number alone its own", () =>
    Effect.gen(function* () {
      const { register, directory } = LocalInstruments.make()
      const [a, b, number, again, elsewhere] = yield* register([
        claim({ rawSymbol: "A", nativeId: 1 }),
        claim({ rawSymbol: "B", details: { assetClass: "future", exchange: "XCME" } }),
        claim({ nativeId: 7 }),
        claim({ rawSymbol: "A", nativeId: 2, valid: { start: 5n, end: 6n } }),
        claim({ rawSymbol: "A", dataset: "OTHER" })
      ])
      assert.deepStrictEqual(
        [a!.symbol, b!.symbol, number!.symbol, elsewhere!.symbol],
        ["ACME:A", "ACME:B", "ACME:#7", "OTHER:A"]
      )
      assert.strictEqual(again, a)
      assert.strictEqual(new Set([a, b, number, elsewhere].map((each) => each!.id)).size, 4)
      assert.strictEqual(b!.assetClass, "future")
      assert.strictEqual(directory.get(b!.id), b)
      assert.isUndefined(directory.get(99))
    })
  )
})
