/** Who is stale and who is not, over days and weeks of made-up trading. */
import { assert, describe, it } from "@effect/vitest"
import { Freshness } from "../src/Freshness.ts"
import { SeededRandom } from "./SeededRandom.ts"

const Second = 1000
const Minute = 60 * Second
const Hour = 60 * Minute
const Day = 24 * Hour
/** Monday, 2026-01-05 00:00 UTC. */
const monday = Date.UTC(2026, 0, 5)

const rowsOf = (...instruments: ReadonlyArray<number>) => ({
  instrument: Uint32Array.from(instruments),
  times: new Int32Array(2 * instruments.length),
  length: instruments.length
})

const names = (found: ReadonlyArray<{ readonly instrument: number }>) =>
  found.map(({ instrument }) => instrument)

/** One row of each instrument at every multiple of its interval, and a look every ten seconds. */
const run = (
  feed: Freshness,
  from: number,
  to: number,
  intervals: ReadonlyArray<number>,
  look: (now: number) => void = () => {}
): void => {
  for (let now = from; now < to; now += Second) {
    const trading = intervals.flatMap((interval, id) => (now % interval === 0 ? [id] : []))
    if (trading.length > 0) feed.add(rowsOf(...trading), now)
    if (now % (10 * Second) === 0) look(now)
  }
}

const quietMillis = Minute

describe("freshness", () => {
  it("finds a symbol that stops, soon after its silence is too long, until it trades again", () => {
    const feed = new Freshness({ quietMillis })
    const start = monday + 14 * Hour
    const stops = start + 30 * Minute
    run(feed, start, stops, [1 * Second, 2 * Second, 20 * Second], (now) =>
      assert.deepStrictEqual(feed.check(now), [])
    )
    let found: number | undefined
    run(feed, stops, stops + 10 * Minute, [1 * Second, Day, 20 * Second], (now) => {
      const stale = feed.check(now)
      if (stale.length === 0) return assert.isUndefined(found)
      found ??= now
      assert.deepStrictEqual(names(stale), [1])
      assert.approximately(stale[0]!.usualMillis, 2 * Second, 1)
    })
    assert.approximately(found!, stops + Minute, 15 * Second)
    // What usually comes every 20 seconds may be silent for 200.
    found = undefined
    const second = stops + 10 * Minute
    run(feed, second, second + 10 * Minute, [1 * Second, 2 * Second, Day], (now) => {
      const stale = names(feed.check(now))
      if (now > second + 10 * Second && stale.length > 0) found ??= now
      if (found !== undefined) assert.deepStrictEqual(stale, [2])
    })
    assert.approximately(found!, second + 200 * Second, 25 * Second)
  })

  it("says nothing of a symbol as long as its rows come at its rate", () => {
    const random = new SeededRandom(3)
    for (let round = 0; round < 60; round++) {
      const feed = new Freshness({ quietMillis: Second * (1 + random.below(60)) })
      const usual = Second * (1 + random.below(90))
      let now = monday + random.below(5) * Day + 8 * Hour
      let next = now
      const end = now + 4 * Hour
      for (; now < end; now += Second) {
        feed.add(rowsOf(1), now)
        if (now >= next) {
          feed.add(rowsOf(0), now)
          // Between a half and the double of what is usual.
          next = now + Math.round(usual / 2 + (random.below(1000) / 1000) * 1.5 * usual)
        }
        if (now % (5 * Second) === 0) assert.deepStrictEqual(feed.check(now), [], `round ${round}`)
      }
    }
  })

  it("finds whatever stops within its bound, at any rate, once the hour is known", () => {
    const random = new SeededRandom(5)
    for (let round = 0; round < 30; round++) {
      const quiet = Second * (5 + random.below(60))
      const feed = new Freshness({ quietMillis: quiet })
      const usual = Second * (1 + random.below(30))
      const gap = () => Math.round(usual / 2 + (random.below(1000) / 1000) * 1.5 * usual)
      const start = monday + random.below(3) * Day + 8 * Hour
      const stops = start + Day + 10 * Minute
      let last = start
      const trade = (from: number, until: number) => {
        let next = from
        for (let now = from; now < until; now += Second) {
          feed.add(rowsOf(1), now)
          if (now < next || now >= stops) continue
          feed.add(rowsOf(0), now)
          last = now
          next = now + gap()
        }
      }
      trade(start, start + Hour + 5 * Minute)
      trade(start + Day, stops)
      for (let now = stops; now < stops + 20 * Minute; now += Second) {
        feed.add(rowsOf(1), now)
        const stale = names(feed.check(now))
        // The usual silence, weighted by length, is at most the longest one.
        const bound = last + Math.max(quiet, 10 * 2 * usual) + 2 * Second
        if (now > bound) assert.deepStrictEqual(stale, [0], `round ${round}`)
        if (now <= last + quiet) assert.deepStrictEqual(stale, [], `round ${round}`)
      }
    }
  })

  it("knows that some hours of a day are slower than others", () => {
    const feed = new Freshness({ quietMillis })
    // Two seconds between rows in one hour, a quarter of an hour in the next two.
    for (let day = 0; day < 4; day++) {
      const begin = monday + day * Day + 20 * Hour
      run(feed, begin, begin + Hour, [Second, 2 * Second], (now) =>
        assert.deepStrictEqual(feed.check(now), [])
      )
      run(feed, begin + Hour, begin + 3 * Hour, [Second, 15 * Minute], (now) =>
        assert.deepStrictEqual(feed.check(now), [])
      )
    }
  })

  it("knows bursts that are minutes apart by the minutes", () => {
    const feed = new Freshness({ quietMillis })
    const start = monday + 14 * Hour
    for (let now = start; now < start + 4 * Hour; now += Second) {
      feed.add(rowsOf(0), now)
      // Ten rows within a second, every five minutes.
      if ((now - start) % (5 * Minute) === 0) for (let i = 0; i < 10; i++) feed.add(rowsOf(1), now + 50 * i)
      if (now % (10 * Second) === 0) assert.deepStrictEqual(feed.check(now), [])
    }
  })

  it("calls nobody stale while the market is closed, and goes on where it was when it opens", () => {
    const feed = new Freshness({ quietMillis })
    for (let day = 0; day < 3; day++) {
      const open = monday + day * Day + 14 * Hour
      run(feed, open, open + 6 * Hour, [1 * Second, 5 * Second], (now) =>
        assert.deepStrictEqual(feed.check(now), [])
      )
      for (let now = open + 6 * Hour; now < open + Day; now += Minute)
        assert.deepStrictEqual(feed.check(now), [])
    }
  })

  it("does not miss a symbol in hours in which it never trades, and does in those in which it does", () => {
    const feed = new Freshness({ quietMillis })
    // One trades around the clock, the other from 14:00 to 18:00.
    const day = (of: number, until: number, look: (now: number) => void) => {
      const begin = monday + of * Day
      run(feed, begin, begin + 14 * Hour, [Second, 7 * Day], look)
      run(feed, begin + 14 * Hour, begin + until, [Second, 2 * Second], look)
      run(feed, begin + until, begin + 24 * Hour, [Second, 7 * Day], look)
    }
    const fine = (now: number) => assert.deepStrictEqual(feed.check(now), [])
    for (const of of [0, 1]) day(of, 18 * Hour, fine)
    const hours = new Set<number>()
    day(2, 15 * Hour, (now) => {
      if (feed.check(now).length > 0) hours.add(Math.floor((now % Day) / Hour))
    })
    assert.deepStrictEqual([...hours], [15, 16, 17])
  })

  it("takes the silence of a whole feed for what it is: a closed market, or a broken connection", () => {
    const feed = new Freshness({ quietMillis })
    // Nothing is known yet: silence is suspect.
    assert.isFalse(feed.isQuietTime(monday))
    const session = (day: number, until: number) => {
      const open = monday + day * Day + 14 * Hour
      run(feed, open, open + until, [Second], (now) => feed.check(now))
      for (let now = open + until; now < open + Day; now += Minute) feed.check(now)
      return open
    }
    const first = session(0, 6 * Hour)
    assert.isTrue(feed.isQuietTime(first + 7 * Hour))
    assert.isFalse(feed.isQuietTime(first + Day + Hour))
    // It stops in the middle of the second day: that is not over with the hour, but with the session.
    const second = monday + Day + 14 * Hour
    run(feed, second, second + 2 * Hour, [Second], (now) => feed.check(now))
    for (let hour = 2; hour < 10; hour++) {
      const now = second + hour * Hour + 30 * Minute
      for (let at = now - 30 * Minute; at <= now; at += Minute) feed.check(at)
      assert.strictEqual(feed.isQuietTime(now), hour >= 6, `hour ${hour}`)
    }
    // Friday evening is not known from other days, and the weekend is quiet until something trades in it.
    assert.isTrue(feed.isQuietTime(monday + 5 * Day + 15 * Hour))
  })

  it("remembers over a restart", () => {
    const before = new Freshness({ quietMillis })
    const start = monday + 14 * Hour
    run(before, start, start + 2 * Hour, [Second, 2 * Second], (now) => before.check(now))
    const after = new Freshness({ quietMillis })
    after.remember(before.memory())
    const again = start + Day
    run(after, again, again + 10 * Second, [Second, 2 * Second])
    const found: Array<number> = []
    run(after, again + 10 * Second, again + 3 * Minute, [Second, Day], (now) =>
      found.push(...names(after.check(now)))
    )
    assert.include(found, 1)
    const { feedTraded } = before.memory()
    assert.deepStrictEqual(
      after.memory().feedTraded.map((hours, day) => hours & feedTraded[day]!),
      feedTraded
    )
    const third = new Freshness({ quietMillis })
    third.remember(after.memory())
    assert.deepStrictEqual(third.memory(), after.memory())
  })

  it("knows the last time of a symbol, and forgets who is collected no longer", () => {
    const feed = new Freshness({ quietMillis })
    const time = 1_767_623_400_123_456_789n
    const times = Int32Array.from([Number(BigInt.asIntN(32, time)), Number(time >> 32n), -1, 0x7fffffff])
    feed.add({ instrument: Uint32Array.from([100_000, 3]), times, length: 2 }, monday)
    assert.strictEqual(feed.lastTime(100_000), time)
    assert.isUndefined(feed.lastTime(3))
    assert.isUndefined(feed.lastTime(4))
    feed.forget(100_000)
    assert.isUndefined(feed.lastTime(100_000))
  })
})
