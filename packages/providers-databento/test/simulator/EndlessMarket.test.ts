/** A market that never ends: what it trades, and how a session sends it. */
import { assert, describe, it } from "vitest"
import { Catalogue } from "../../src/simulator/Catalogue.ts"
import { EndlessMarket, type EndlessTrade } from "../../src/simulator/EndlessMarket.ts"
import { SessionClient } from "./SessionClient.ts"

const now = 1_767_623_400_123_456_789n
/** Ten trades per millisecond; the begin lies in the past. */
const since = now - 1_000_000_000n
const options = { symbols: 50, rate: 10_000, since, period: 1000 }
const market = new EndlessMarket(options)
const catalogue = new Catalogue([market.dataset()])

const login = (symbols: string, more = ""): SessionClient => {
  const client = new SessionClient({ catalogue, now })
  client.now = now
  return client
    .login("DBEQ.BASIC")
    .send(`schema=trades|stype_in=raw_symbol|symbols=${symbols}${more}`, "start_session")
}

const first = market.day.instruments[0]!.id
const tradesOf = (client: SessionClient): ReadonlyArray<EndlessTrade> =>
  client.received().records.flatMap((record) =>
    record.type === "trade"
      ? {
          instrument: record.instrumentId - first,
          publisher: record.publisherId,
          sequence: record.sequence,
          ticks: Number(record.price / 10_000_000n),
          size: record.size,
          side: record.side === "B" ? 1 : record.side === "A" ? 2 : 0,
          tsEvent: record.tsEvent,
          tsRecv: record.tsRecv
        }
      : []
  )

const range = (from: number, to: number): ReadonlyArray<EndlessTrade> =>
  Array.from({ length: to - from }, (_, i) => market.trade(from + i))

describe("endless market", () => {
  it("has a trade every step, from its begin on, whoever makes it", () => {
    assert.equal(market.step, 100_000)
    assert.equal(market.firstAt(since), 0)
    assert.equal(market.firstAt(since + 1n), 1)
    assert.equal(market.firstAt(now), 10_000)
    assert.deepEqual(new EndlessMarket(options).trade(123_456), market.trade(123_456))
    assert.notDeepEqual(new EndlessMarket({ ...options, seed: 2 }).trade(123_456), market.trade(123_456))
  })

  it("sends what happens from the start of a session on, over the end of a period", () => {
    const client = login("ALL_SYMBOLS").run()
    assert.deepEqual(tradesOf(client), [])
    for (let i = 0; i < 250; i++) client.run(1)
    assert.deepEqual(tradesOf(client), range(10_000, 12_500))
    assert.deepEqual(
      [client.stretches[0]?.row, client.stretches.reduce((sum, { rows }) => sum + rows, 0)],
      [10_000, 2_500]
    )
  })

  it("replays from where it is asked to, and then goes on", () => {
    const client = login("ALL_SYMBOLS", `|start=${since + 500_000_000n}`).run()
    client.run(100)
    assert.deepEqual(tradesOf(client), range(5_000, 11_000))
    const marks = client
      .received()
      .records.flatMap((it, i) => (it.type === "system" && it.msg.startsWith("Finished") ? i : []))
    assert.equal(marks.length, 1)
    assert.equal(
      client
        .received()
        .records.slice(0, marks[0])
        .filter(({ type }) => type === "trade").length,
      5_000
    )
  })

  it("sends a session the instruments that it asked for", () => {
    const wanted = [0, 7].map((i) => market.day.instruments[i]!.symbol)
    const client = login(wanted.join(",")).run()
    client.run(200)
    assert.deepEqual(
      tradesOf(client),
      range(10_000, 12_000).filter(({ instrument }) => instrument === 0 || instrument === 7)
    )
  })

  it("gives a slow reader everything, later", () => {
    const client = login("ALL_SYMBOLS").run()
    client.step(500, 2 << 20)
    assert.isUndefined(client.wait)
    assert.deepEqual(tradesOf(client), [])
    client.run()
    assert.deepEqual(tradesOf(client), range(10_000, 15_000))
  })

  it("adds up", () => {
    const sums = market.sums(990, 3_210)
    const all = range(990, 3_210)
    for (const [place, { rows, sizes, ticks }] of sums.entries()) {
      const own = all.filter(({ instrument }) => instrument === place)
      const sum = (of: (trade: EndlessTrade) => number): number =>
        own.reduce((total, it) => total + of(it), 0)
      assert.deepEqual([rows, sizes, ticks], [own.length, sum((it) => it.size), sum((it) => it.ticks)])
    }
    assert.notDeepEqual(sums, market.sums(991, 3_211))
  })
})
