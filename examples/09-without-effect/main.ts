/**
 * A program without Effect: it opens what a running `dm start` has stored and publishes, and reads it with promises, `for await`
 * and callbacks. For a try without a key it starts that service itself, with a simulator of the vendor.
 */
import { open } from "@data-manager/client"
import { startService } from "./service.ts"

await using service = await startService()
await using market = await open({ dataDir: service.dataDir, ring: service.ring })

// What is stored of the day, and then everything that comes: one loop.
let trades = 0
let live = false
for await (const event of market.subscribe({ symbols: ["DBEQ.BASIC:AA"], from: "2026-01-05" })) {
  if (event._tag === "Live") live = true
  if (event._tag === "Lost") throw new Error(`${event.to - event.from} rows were lost`)
  if (event._tag !== "Batch") continue
  trades += event.batch.length
  if (trades >= 3_000) break
}
console.log(`3000 trades of AA have come, the stream is ${live ? "live" : "still in the past"}`)

// The same with a callback, of whatever moves from now on.
const next = await new Promise<string>((resolve, reject) => {
  const stop = market.listen(
    { symbols: ["ALL_SYMBOLS"] },
    (event) => {
      if (event._tag !== "Batch") return
      stop()
      resolve(event.batch.symbolAt(0))
    },
    { onError: reject }
  )
})
console.log(`the next trade was one of ${next.split(":")[0]}`)

// Questions to the database.
const bars = await market.bars({
  symbols: ["DBEQ.BASIC:AA"],
  timeframe: "1h",
  start: "2026-01-05T14:00:00Z",
  end: "2026-01-05T16:00:00Z"
})
console.log(`the first hours have ${bars.length} bars`)
const last = await market.lastTrades(["DBEQ.BASIC:AA", "DBEQ.BASIC:AB"], 5)
console.log(`the newest ${last.length} trades of two symbols`)
