/** The entry that a process of the crash test appends under a number: whoever knows the number can tell whether it is right. */
import { batchContext, type FeedEntry, tradeBuilder } from "../src/index.ts"

const context = batchContext({ provider: "test", dataset: "TEST", venueOf: () => "XTST" })
const builder = tradeBuilder(context, 512)

export const entryOf = (number: bigint): FeedEntry => {
  if (number % 11n === 0n) return { _tag: "Watermark", session: "s", at: number }
  const rows = Number((number * 7919n) % 300n)
  for (let row = 0; row < rows; row++) {
    builder.columns.tsEvent[row] = number * 1_000n + BigInt(row)
    builder.columns.price[row] = -number
    builder.columns.instrument[row] = row
    builder.columns.flags[row] = Number(number % 251n)
  }
  builder.length = rows
  return { _tag: "FeedRows", session: "s", batch: builder.flush() }
}
