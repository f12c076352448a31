// The layout, pinned three times: the golden segments were written by C (`ring_test golden`), whose offsets the header
// asserts; TypeScript reads them by `RingLayout`, the addon and Python by their own code.
import { execFileSync } from "node:child_process"
import { chmodSync, copyFileSync, readFileSync } from "node:fs"
import { join } from "node:path"
import type { QuoteBatch, TradeBatch } from "@data-manager/core"
import { afterAll, assert, beforeAll, beforeEach, describe, it } from "vitest"
import { inspect } from "../src/RingInspection.ts"
import * as RingLayout from "../src/RingLayout.ts"
import { RingReader } from "../src/RingReader.ts"
import { compiled } from "./process/NativeProgram.ts"
import { needsAddon } from "./process/NeedsAddon.ts"
import { testDirectory } from "./process/TestProcess.ts"

beforeEach(needsAddon)

const place = testDirectory()
const fixture = (name: string) => join(import.meta.dirname, "fixtures", name)
beforeAll(() => {
  for (const name of ["golden.ring", "golden_quotes.ring", "golden_1_0.ring"]) {
    copyFileSync(fixture(name), join(place.dir, name))
    chmodSync(join(place.dir, name), 0o600)
  }
})
afterAll(() => place.remove())

/** The segment as producers of ABI 1.0 wrote it. */
const older = "golden_1_0"
const view = (name: string): DataView => {
  const bytes = readFileSync(fixture(name))
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
}

/** Trade n of the golden segment, as `ring_test.c` writes it. */
const expected = (n: number) => ({
  tsEvent: 1700000000000000000n + BigInt(n),
  tsRecv: n === 18 ? undefined : 1700000000000001000n + BigInt(n),
  symbol: n % 3 === 0 ? "GLBX.MDP3:NQM6" : "GLBX.MDP3:ESM6",
  price: n === 19 ? undefined : { mantissa: 5000000000000n + BigInt(n) * 250000000n, exponent: -9 },
  size: { mantissa: BigInt(n + 1), exponent: 0 },
  side: (["none", "buy", "sell"] as const)[n % 3]!,
  tradeKey: BigInt(n),
  publisher: 1,
  flags: 128 + n,
  depth: n,
  tsInDelta: n === 17 ? undefined : n - 5,
  exchange: "GLBX",
  provider: "databento"
})

describe("golden segments", { timeout: 120_000 }, () => {
  it("C still writes them, byte for byte", () => {
    const dir = join(place.dir, "again")
    execFileSync(compiled("ring_test"), ["golden", dir])
    for (const name of ["golden.ring", "golden_quotes.ring"])
      assert.isTrue(readFileSync(join(dir, name)).equals(readFileSync(fixture(name))), name)
  })

  it("TypeScript knows the header", () => {
    const v = view("golden.ring")
    const at = RingLayout.HeaderOffset
    assert.strictEqual(v.getBigUint64(at.magic, true), RingLayout.Magic)
    assert.strictEqual(v.getUint16(at.abiMajor, true), RingLayout.AbiMajor)
    assert.strictEqual(v.getUint32(at.headerBytes, true), 4096)
    assert.strictEqual(v.getBigUint64(at.epoch, true), 1n)
    assert.strictEqual(v.getBigUint64(at.capacity, true), 16n)
    assert.strictEqual(v.getUint32(at.recordSize, true), 64)
    assert.strictEqual(v.getUint32(at.recordSchema, true), 1)
    assert.strictEqual(v.getUint32(at.dictCapacity, true), 8)
    assert.strictEqual(v.getUint32(at.dictEntry, true), 192)
    assert.strictEqual(v.getBigUint64(at.totalBytes, true), BigInt(v.byteLength))
    assert.strictEqual(v.getUint32(at.timeInterval, true), 4)
    assert.strictEqual(v.getBigUint64(at.writeSeq, true), 20n)
    assert.strictEqual(v.getBigUint64(at.durableSeq, true), 12n)
    assert.strictEqual(v.getBigUint64(at.heartbeatNs, true), 1000000001n)
    assert.strictEqual(v.getUint32(at.producerPid, true), 4242)
    assert.strictEqual(v.getUint32(at.state, true), 2)
    assert.strictEqual(v.getUint8(at.bootId + 15), 0xff)
    assert.strictEqual(v.getUint32(at.dictCount, true), 3)
    assert.strictEqual(v.getBigUint64(at.epochs + 16, true), 1n)
  })

  it("TypeScript knows the trade slot", () => {
    const v = view("golden.ring")
    const data = Number(v.getBigUint64(RingLayout.HeaderOffset.dataOffset, true))
    const at = RingLayout.TradeOffset
    for (let n = 4; n < 20; n++) {
      const slot = data + (n % 16) * 64
      const row = expected(n)
      assert.strictEqual(v.getBigUint64(slot + at.stamp, true), BigInt(n + 1))
      assert.strictEqual(v.getBigInt64(slot + at.price, true), row.price?.mantissa ?? 2n ** 63n - 1n)
      assert.strictEqual(v.getBigInt64(slot + at.size, true), row.size.mantissa)
      assert.strictEqual(v.getBigInt64(slot + at.tsEvent, true), row.tsEvent)
      assert.strictEqual(v.getBigInt64(slot + at.tradeKey, true), row.tradeKey)
      assert.strictEqual(v.getUint16(slot + at.instrument, true), n % 3 === 0 ? 1 : 0)
      assert.strictEqual(v.getUint16(slot + at.publisher, true), 1)
      assert.strictEqual(v.getInt32(slot + at.tsInDelta, true), row.tsInDelta ?? -(2 ** 31))
      assert.strictEqual(v.getInt8(slot + at.priceExponent), -9)
      assert.strictEqual(v.getUint8(slot + at.kindSide), 1 | ((n % 3) << 4))
      assert.strictEqual(v.getUint8(slot + at.flags), row.flags)
      const depthBack = v.getUint32(slot + at.depthBack, true)
      assert.strictEqual(depthBack & 255, n)
      assert.strictEqual(depthBack >>> 8, n % 3 === 0 ? 3 : n % 3 === 1 ? 2 : 1)
    }
  })

  it.each(["golden", older])("the addon reads the trades of %s", (name) => {
    const reader = new RingReader({
      dir: place.dir,
      name,
      start: { _tag: "Sequence", sequence: 4n },
      anonymous: true
    })
    const [event] = reader.poll()
    const batch = event?._tag === "Batch" ? (event.batch as TradeBatch) : assert.fail("no batch")
    const rows = [...batch.rows()]
    assert.strictEqual(rows.length, 16)
    for (const [i, row] of rows.entries()) assert.deepInclude(row, expected(i + 4))
    assert.strictEqual(reader.stats.durable, 12)
    assert.isUndefined(batch.context.replay)
    reader.close()
  })

  it("the addon reads the quotes", () => {
    const reader = new RingReader({
      dir: place.dir,
      name: "golden",
      kind: "quotes",
      start: { _tag: "Oldest" },
      anonymous: true
    })
    const [event] = reader.poll()
    const batch = event?._tag === "Batch" ? (event.batch as QuoteBatch) : assert.fail("no batch")
    const names = [
      "tsEvent",
      "tsRecv",
      "quoteKey",
      "bidPrice",
      "askPrice",
      "price",
      "bidSize",
      "askSize",
      "size"
    ] as const
    for (const [k, name] of names.entries()) {
      const want = [0n, 1n, 2n, 3n].map((i) => BigInt(k * 1000) + i)
      assert.deepStrictEqual([...batch.columns[name]], want, name)
    }
    assert.deepStrictEqual([...batch.columns.bidCount], [10, 11, 12, 13])
    assert.deepStrictEqual([...batch.columns.askCount], [20, 21, 22, 4294967295])
    assert.deepStrictEqual([...batch.columns.bidPublisher], [30, 31, 32, 33])
    assert.deepStrictEqual([...batch.columns.askPublisher], [65535, 65535, 65535, 65535])
    assert.deepStrictEqual([...batch.columns.action], [65, 65, 65, 65])
    assert.deepStrictEqual([...batch.columns.flags], [200, 201, 202, 203])
    assert.deepStrictEqual(
      [0, 1].map((i) => batch.symbolAt(i)),
      ["GLBX.MDP3:ESM6", "GLBX.MDP3:NQM6"]
    )
    assert.deepStrictEqual(batch.context.replay, {
      cause: "window",
      range: { start: 1_700_000_000_000_000_000n, end: 1_700_000_060_000_000_000n },
      speed: 2.5
    })
    reader.close()
  })

  it("TypeScript knows the stretch of replay", () => {
    const v = view("golden_quotes.ring")
    const { replayCount, replays } = RingLayout.HeaderOffset
    assert.strictEqual(v.getBigUint64(replayCount, true), 1n)
    const at = replays + 64
    assert.strictEqual(v.getBigUint64(at + RingLayout.ReplayOffset.number, true), 1n)
    assert.strictEqual(v.getBigUint64(at + RingLayout.ReplayOffset.firstSeq, true), 0n)
    assert.strictEqual(v.getBigUint64(at + RingLayout.ReplayOffset.endSeq, true), 4n)
    assert.strictEqual(v.getBigInt64(at + RingLayout.ReplayOffset.start, true), 1_700_000_000_000_000_000n)
    assert.strictEqual(v.getBigInt64(at + RingLayout.ReplayOffset.end, true), 1_700_000_060_000_000_000n)
    assert.strictEqual(v.getUint32(at + RingLayout.ReplayOffset.speedMilli, true), 2_500)
    assert.strictEqual(v.getUint32(at + RingLayout.ReplayOffset.cause, true), 1)
    assert.strictEqual(view("golden.ring").getUint16(RingLayout.HeaderOffset.abiMinor, true), 1)
    assert.strictEqual(view("golden_1_0.ring").getUint16(RingLayout.HeaderOffset.abiMinor, true), 0)
  })

  it("inspection shows what they are", () => {
    const seen = inspect({ dir: place.dir, name: "golden" })
    assert.deepInclude(seen, { kind: "trades", state: "closed", alive: false })
    assert.deepStrictEqual(
      seen.instruments.map((i) => [i.symbol, i.exchange, i.assetClass]),
      [
        ["GLBX.MDP3:ESM6", "XCME", "future"],
        ["GLBX.MDP3:NQM6", "XCME", "future"]
      ]
    )
  })

  it("Python reads the trades and the quotes", () => {
    const script = join(import.meta.dirname, "..", "readers", "python", "dm_ring.py")
    const read = (name: string, count: number) =>
      execFileSync("python3", [script, place.dir, name, String(count)], { encoding: "utf8" })
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line.replace(/: (-?\d{16,})/g, ': "$1"')))
    const trades = read("golden", 14)
    trades.forEach((row, i) => {
      const n = i + 6
      const want = expected(n)
      assert.deepInclude(row, {
        type: "Trade",
        seq: n,
        symbol: want.symbol,
        ts_event: String(want.tsEvent),
        size: n + 1,
        side: want.side,
        flags: want.flags,
        depth: n,
        publisher: 1,
        ts_in_delta: want.tsInDelta ?? null
      })
    })
    assert.strictEqual(trades.at(-1).price, null)
    assert.notProperty(trades.at(-1), "replay")
    assert.deepInclude(read("golden_quotes", 4)[3], {
      type: "Quote",
      bid_price: 3003,
      ask_count: null,
      action: "A",
      bid_publisher: 33,
      replay: true
    })
  })

  it("the C example reads the trades", () => {
    const out = execFileSync(compiled("tail"), [place.dir, "golden", "13"], { encoding: "utf8" })
    const lines = out.trim().split("\n")
    assert.strictEqual(lines.length, 13)
    assert.strictEqual(lines[0], "6 GLBX.MDP3:NQM6 5001500000000e-9 x 7e0")
  })
})
