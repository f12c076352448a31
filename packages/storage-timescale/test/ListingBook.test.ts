import { SeededRandom } from "@data-manager/testing"
import { assert, describe, it } from "vitest"
import { type BookClaim, type BookInstrument, type BookListing, ListingBook } from "../src/ListingBook.ts"

/** Days as microseconds. */
const day = (n: number): bigint => BigInt(n) * 86_400_000_000n

/** `ESH6/5602 10-20 exp 30`: raw symbol (or `-`), native id, days valid, expiration. */
const claim = (text: string): BookClaim => {
  const match = /^(\S+?)(?:\/(\d+))? (-?\d+)-(-?\d+)(?: exp (\d+))?$/.exec(text)
  if (match === null) throw new Error(text)
  const [, raw, native, from, to, expiration] = match
  return {
    dataset: 1,
    rawSymbol: raw === "-" ? undefined : raw,
    nativeId: native === undefined ? undefined : Number(native),
    from: day(Number(from)),
    to: day(Number(to)),
    expiration: expiration === undefined ? undefined : day(Number(expiration))
  }
}

interface Outcome {
  /** Which instrument each claim got: A for the first one made, B for the next. */
  readonly ids: string
  /** Listings in order, as `A ESH6/5602 10-20`. */
  readonly listings: ReadonlyArray<string>
}

const outcomeOf = (book: ListingBook<string>, claims: ReadonlyArray<BookClaim>): Outcome => {
  const ids = claims.map((each) => book.claim(each).value).join("")
  const listings = [...book.listings]
    .filter((listing) => !listing.isRemoved)
    .map(
      (l) =>
        `${l.instrument.value} ${l.rawSymbol ?? "-"}${l.nativeId === undefined ? "" : `/${l.nativeId}`} ${l.from / day(1)}-${l.to / day(1)}`
    )
    .sort()
  return { ids, listings }
}

const newBook = (): ListingBook<string> => {
  let made = 0
  return new ListingBook<string>(() => String.fromCharCode(65 + made++))
}

/** A book as it would be loaded from what another one wrote. */
const reload = (book: ListingBook<string>): ListingBook<string> => {
  let made = book.instruments.size
  const loaded = new ListingBook<string>(() => String.fromCharCode(65 + made++))
  const instruments = new Map<BookInstrument<string>, BookInstrument<string>>()
  let id = 0n
  for (const listing of book.listings) {
    if (listing.isRemoved) continue
    const instrument = instruments.get(listing.instrument) ?? {
      ...listing.instrument,
      isNew: false,
      isRenamed: false
    }
    instruments.set(listing.instrument, instrument)
    id += 1n
    loaded.load({ ...listing, id, instrument })
  }
  return loaded
}

const cases: ReadonlyArray<{
  readonly what: string
  readonly claims: ReadonlyArray<string>
  readonly ids: string
  readonly listings: ReadonlyArray<string>
}> = [
  {
    what: "a claim repeated changes nothing",
    claims: ["ESH6/1 0-10", "ESH6/1 0-10"],
    ids: "AA",
    listings: ["A ESH6/1 0-10"]
  },
  {
    what: "overlapping and touching times of one number become one listing",
    claims: ["ESH6/1 0-10", "ESH6/1 10-20", "ESH6/1 15-30", "ESH6/1 -5-1"],
    ids: "AAAA",
    listings: ["A ESH6/1 -5-30"]
  },
  {
    what: "a time that joins two listings leaves one",
    claims: ["ESH6/1 0-10", "ESH6/1 20-30", "ESH6/1 10-20"],
    ids: "AAA",
    listings: ["A ESH6/1 0-30"]
  },
  {
    what: "366 days apart is the same instrument, in two listings",
    claims: ["ESH6/1 0-10", "ESH6/2 376-380"],
    ids: "AA",
    listings: ["A ESH6/1 0-10", "A ESH6/2 376-380"]
  },
  {
    what: "more than 366 days apart is another instrument, after or before",
    claims: ["ESM6/1 4000-4010", "ESM6/2 4377-4380", "ESM6/3 0-10"],
    ids: "ABC",
    listings: ["A ESM6/1 4000-4010", "B ESM6/2 4377-4380", "C ESM6/3 0-10"]
  },
  {
    what: "another expiration is another instrument",
    claims: ["ZW1/1 0-10 exp 12", "ZW1/2 20-30 exp 32", "ZW1/2 25-31 exp 32", "ZW1/1 2-5 exp 12"],
    ids: "ABBA",
    listings: ["A ZW1/1 0-10", "B ZW1/2 20-31"]
  },
  {
    what: "an expiration corrected while the number goes on is the same instrument",
    claims: ["ZW1/1 0-10 exp 12", "ZW1/1 10-20 exp 13"],
    ids: "AA",
    listings: ["A ZW1/1 0-20"]
  },
  {
    what: "an expiration that one side does not know contradicts nothing",
    claims: ["ZW1/1 0-10", "ZW1/2 20-30 exp 32", "ZW1/3 40-50"],
    ids: "AAA",
    listings: ["A ZW1/1 0-10", "A ZW1/2 20-30", "A ZW1/3 40-50"]
  },
  {
    what: "a contradicting claim gets only time that is free",
    claims: ["ZW1/1 0-20 exp 25", "ZW1/2 10-30 exp 60"],
    ids: "AB",
    listings: ["A ZW1/1 0-20", "B ZW1/2 20-30"]
  },
  {
    what: "a contradicting claim within taken time means whom the text was given to",
    claims: ["ZW1/1 0-20 exp 25", "ZW1/2 5-10 exp 60"],
    ids: "AA",
    listings: ["A ZW1/1 0-20"]
  },
  {
    what: "a number that changes every day makes a listing per number",
    claims: ["AAPL/32 0-1", "AAPL/35 1-2", "AAPL/35 2-3", "MSFT/32 1-2"],
    ids: "AAAB",
    listings: ["A AAPL/32 0-1", "A AAPL/35 1-3", "B MSFT/32 1-2"]
  },
  {
    what: "a listing without a number learns it for the time of the claim",
    claims: ["ESH6 0-30", "ESH6/7 10-20"],
    ids: "AA",
    listings: ["A ESH6 0-10", "A ESH6 20-30", "A ESH6/7 10-20"]
  },
  {
    what: "a claim without a number adds only time that is not listed",
    claims: ["ESH6/7 10-20", "ESH6 0-30"],
    ids: "AA",
    listings: ["A ESH6 0-10", "A ESH6 20-30", "A ESH6/7 10-20"]
  },
  {
    what: "the nearest of several instruments is meant",
    claims: ["ESM6/1 0-10", "ESM6/2 500-510", "ESM6/3 400-401", "ESM6/4 300-301"],
    ids: "ABBB",
    listings: ["A ESM6/1 0-10", "B ESM6/2 500-510", "B ESM6/3 400-401", "B ESM6/4 300-301"]
  },
  {
    what: "a number alone means what it was listed for at that time",
    claims: ["ESH6/5 0-10", "-/5 2-4", "-/5 8-12"],
    ids: "AAA",
    listings: ["A ESH6/5 0-12"]
  },
  {
    what: "a number alone at another time is nameless: numbers are given to others",
    claims: ["ESH6/5 0-10", "-/5 10-12", "-/5 30-32"],
    ids: "ABC",
    listings: ["A ESH6/5 0-10", "B -/5 10-12", "C -/5 30-32"]
  },
  {
    what: "nameless times that touch are one instrument",
    claims: ["-/5 0-1", "-/5 1-2", "-/5 0-2"],
    ids: "AAA",
    listings: ["A -/5 0-2"]
  },
  {
    what: "a later definition names the nameless one for all of its time",
    claims: ["-/5 0-10", "ESH6/5 2-3", "ESH6/5 20-30", "-/5 0-4"],
    ids: "AAAA",
    listings: ["A ESH6/5 0-10", "A ESH6/5 20-30"]
  },
  {
    what: "a definition of another time does not name it",
    claims: ["-/5 0-10", "ESH6/5 10-20"],
    ids: "AB",
    listings: ["A -/5 0-10", "B ESH6/5 10-20"]
  },
  {
    what: "a name that another instrument has at another time is given too: the rows are found under it",
    claims: ["ESH6/5 0-10", "-/5 20-30", "ESH6/5 22-24", "ESH6/5 30-40"],
    ids: "ABBB",
    listings: ["A ESH6/5 0-10", "B ESH6/5 20-40"]
  },
  {
    what: "a name taken for that very time leaves the nameless one under its number",
    claims: ["-/5 0-10", "ESH6 5-15", "ESH6/5 6-8", "-/5 1-2"],
    ids: "ABBA",
    listings: ["A -/5 0-10", "B ESH6 5-6", "B ESH6 8-15", "B ESH6/5 6-8"]
  },
  {
    what: "two nameless ones are named each by its own definition",
    claims: ["-/5 0-1", "-/6 0-1", "MSFT/6 0-1", "AAPL/5 0-1"],
    ids: "ABBA",
    listings: ["A AAPL/5 0-1", "B MSFT/6 0-1"]
  }
]

describe("which instrument a claim means", () => {
  for (const { what, claims, ids, listings } of cases)
    it(what, () => {
      assert.deepStrictEqual(outcomeOf(newBook(), claims.map(claim)), { ids, listings })
    })

  it("is the same whether the claims come at once or one by one over a reloaded book", () => {
    for (const { what, claims, ids, listings } of cases) {
      let book = newBook()
      let got = ""
      for (const each of claims) {
        book = reload(book)
        got += outcomeOf(book, [claim(each)]).ids
      }
      assert.deepStrictEqual({ ids: got, listings: outcomeOf(book, []).listings }, { ids, listings }, what)
    }
  })

  it("changes nothing when everything is claimed again", () => {
    for (const { what, claims, listings } of cases) {
      const book = newBook()
      outcomeOf(book, claims.map(claim))
      const again = reload(book)
      const outcome = outcomeOf(again, claims.map(claim))
      assert.deepStrictEqual(outcome.listings, listings, what)
      assert.isTrue(
        [...again.listings].every((listing) => !listing.isChanged && !listing.isRemoved),
        what
      )
      assert.isTrue(
        [...again.instruments].every((each) => !each.isNew && !each.isRenamed),
        what
      )
    }
  })
})

describe("whatever is claimed", () => {
  it("listings of one text never overlap, touch without need or are empty; every claim has an instrument", () => {
    const random = new SeededRandom(5)
    for (let round = 0; round < 300; round++) {
      let book = newBook()
      for (let n = 0; n < 25; n++) {
        const from = random.below(900)
        const text = random.pick(["-", "X", "X", "Y"])
        const native = text === "-" || random.chance(0.7) ? `/${random.below(3)}` : ""
        const expiration = random.chance(0.3) ? ` exp ${random.pick([950, 2000])}` : ""
        if (random.chance(0.2)) book = reload(book)
        const instrument = book.claim(
          claim(`${text}${native} ${from}-${from + 1 + random.below(60)}${expiration}`)
        )
        const own = [...book.listings].filter((l) => l.instrument === instrument && !l.isRemoved)
        assert.isAbove(own.length, 0)
      }
      const byText = new Map<string, Array<BookListing<string>>>()
      for (const listing of book.listings) {
        if (listing.isRemoved) continue
        const text = listing.rawSymbol ?? `#${listing.nativeId}`
        byText.set(text, [...(byText.get(text) ?? []), listing])
      }
      for (const listings of byText.values()) {
        const sorted = listings.sort((a, b) => (a.from < b.from ? -1 : 1))
        sorted.forEach((listing, i) => {
          assert.isTrue(listing.from < listing.to)
          const next = sorted[i + 1]
          if (next === undefined) return
          assert.isTrue(listing.to <= next.from, "overlap")
          const isOne = listing.instrument === next.instrument && listing.nativeId === next.nativeId
          assert.isFalse(isOne && listing.to === next.from, "two listings that should be one")
        })
      }
    }
  })
})
