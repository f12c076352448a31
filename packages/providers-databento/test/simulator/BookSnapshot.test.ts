import { assert, describe, it } from "vitest"
import type { DbnRecord } from "../../src/dbn/DbnRecord.ts"
import { blankRecord } from "../../src/dbn/RecordEncoder.ts"
import { PrivateMarket } from "../../src/simulator/MarketClock.ts"
import { SessionClient } from "./SessionClient.ts"
import { catalogueOf, DAY, SECOND } from "./TestCatalogue.ts"

let second = 0
const order = (action: string, orderId: bigint, side: string, price: bigint, size: number): DbnRecord => {
  second += 1
  const time = DAY + BigInt(second) * SECOND
  return blankRecord("mbo", {
    publisherId: 1,
    instrumentId: 5,
    tsEvent: time,
    tsRecv: time,
    action,
    side,
    orderId,
    price,
    size,
    flags: 128
  })
}

const records = [
  order("A", 1n, "B", 100n, 5),
  order("R", 0n, "N", 0n, 0),
  order("A", 2n, "B", 100n, 5),
  order("A", 3n, "B", 101n, 6),
  order("A", 4n, "A", 103n, 7),
  order("A", 5n, "A", 102n, 8),
  order("A", 6n, "B", 100n, 9),
  order("A", 7n, "B", 100n, 1),
  // Loses its place by growing; keeps it by shrinking.
  order("M", 2n, "B", 100n, 6),
  order("M", 6n, "B", 100n, 4),
  // A part, then all of an order.
  order("C", 4n, "A", 103n, 3),
  order("C", 5n, "A", 102n, 8),
  order("T", 0n, "B", 103n, 1),
  order("F", 4n, "A", 103n, 1),
  // Behind the snapshot.
  order("A", 9n, "A", 110n, 1)
]

describe("snapshot", () => {
  it("sends a clear and the resting orders by price and priority, then what happens", () => {
    const catalogue = catalogueOf({
      metadata: { dataset: "GLBX.MDP3", schema: "mbo", start: DAY, end: DAY + 86_400n * SECOND },
      records
    })
    const now = DAY + 15n * SECOND
    const client = new SessionClient({ catalogue, market: new PrivateMarket(now) }).login("GLBX.MDP3")
    client.send("schema=mbo|symbols=ALL_SYMBOLS|snapshot=1", "start_session").run()
    const sent = client.of("mbo")
    assert.deepEqual(
      sent.map((it) => [it.action, it.orderId, it.side, it.size, it.flags]),
      [
        ["R", 0n, "N", 0, 40],
        ["A", 3n, "B", 6, 40],
        ["A", 6n, "B", 4, 40],
        ["A", 7n, "B", 1, 40],
        ["A", 2n, "B", 6, 40],
        ["A", 4n, "A", 4, 168],
        ["A", 9n, "A", 1, 128]
      ]
    )
    assert.isTrue(sent.slice(0, 6).every((it) => it.tsRecv === now))
    assert.equal(sent[0]?.price, 0x7fffffffffffffffn)
  })
})
