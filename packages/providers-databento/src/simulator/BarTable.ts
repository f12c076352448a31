/** Bars made from trades, as the vendor makes them: UTC intervals, none for an interval without a trade. */

import type { KnownSchema } from "../dbn/DbnSchema.ts"
import { rtypeOfSchema } from "../dbn/Rtype.ts"
import { UNDEF_PRICE } from "../dbn/Sentinel.ts"
import { entryOf } from "./MapEntry.ts"
import { type RecordTable, RecordTableBuilder } from "./RecordTable.ts"

/** Nanoseconds of the interval that records of a schema stand for; undefined where they stand for a moment. */
export const intervalOf = (schema: KnownSchema): bigint | undefined => intervals[schema]

const SECOND = 1_000_000_000n
const intervals: { readonly [schema: string]: bigint } = {
  "ohlcv-1s": SECOND,
  "ohlcv-1m": 60n * SECOND,
  "ohlcv-1h": 3600n * SECOND,
  "ohlcv-1d": 86_400n * SECOND,
  "bbo-1s": SECOND,
  "bbo-1m": 60n * SECOND,
  "cbbo-1s": SECOND,
  "cbbo-1m": 60n * SECOND
}

const BAR_BYTES = 56
const PRICE = 16
const SIZE = 24

/** A bar while its trades go by, kept as the record that it becomes. */
class OpenBar {
  readonly bytes = new Uint8Array(BAR_BYTES)
  readonly #view = new DataView(this.bytes.buffer)

  constructor(rtype: number, publisherAndId: Uint8Array, start: bigint, price: bigint) {
    this.bytes[0] = BAR_BYTES / 4
    this.bytes[1] = rtype
    this.bytes.set(publisherAndId, 2)
    this.#view.setBigUint64(8, start, true)
    for (const at of [16, 24, 32, 40]) this.#view.setBigInt64(at, price, true)
  }

  add(price: bigint, size: number): void {
    const view = this.#view
    if (price > view.getBigInt64(24, true)) view.setBigInt64(24, price, true)
    if (price < view.getBigInt64(32, true)) view.setBigInt64(32, price, true)
    view.setBigInt64(40, price, true)
    view.setBigUint64(48, view.getBigUint64(48, true) + BigInt(size), true)
  }
}

/**
 * One bar per publisher, instrument and interval of the trades' index time, in the order of their interval. Trades
 * without a price are left out.
 */
export const barTable = (schema: KnownSchema, trades: RecordTable): RecordTable => {
  const interval = intervalOf(schema) as bigint
  const builder = new RecordTableBuilder(schema)
  const rtype = rtypeOfSchema(schema)
  const view = new DataView(trades.bytes.buffer)
  let open = new Map<number, OpenBar>()
  let start = -1n
  const close = (): void => {
    for (const bar of open.values()) builder.addEncoded(bar.bytes)
    open = new Map()
  }
  for (let row = 0; row < trades.length; row++) {
    const at = trades.offsets[row]!
    const price = view.getBigInt64(at + PRICE, true)
    if (price === UNDEF_PRICE) continue
    const time = trades.times[row]!
    if (start < 0n || time - start >= interval) {
      close()
      start = time - (time % interval)
    }
    const key = view.getUint16(at + 2, true) * 0x1_0000_0000 + trades.ids[row]!
    const bar = entryOf(open, key, () => {
      const publisherAndId = trades.bytes.subarray(at + 2, at + 8)
      return new OpenBar(rtype, publisherAndId, start, price)
    })
    bar.add(price, view.getUint32(at + SIZE, true))
  }
  close()
  return builder.build()
}
