/**
 * A program that fetches history and does nothing else, for `history.bench.ts`: reads one reply of the service on a port and
 * tells the rows, the memory that was resident before, and the most that was, in MB.
 */
import { LocalInstruments } from "@data-manager/core"
import { Effect, Redacted, Stream } from "effect"
import { FetchHttpClient } from "effect/http"
import { HistoricalClient } from "../src/historical/HistoricalClient.ts"

const [, , port] = process.argv
let rows = 0
let peak = 0
const resident = (): number => process.memoryUsage.rss() / 2 ** 20

const read = Effect.gen(function* () {
  const { timeseries } = yield* HistoricalClient.make({
    key: Redacted.make("db-0123456789abcdefghijKLMNOPQRS"),
    baseUrl: `http://127.0.0.1:${port}`
  })
  const { register } = LocalInstruments.make()
  const request = {
    dataset: "DBEQ.BASIC",
    symbols: ["AA"],
    schema: "trades",
    range: { start: 0n, end: 4_000_000_000_000_000_000n }
  } as const
  yield* Stream.runForEach(timeseries.batches(request, { register }), (event) =>
    Effect.sync(() => {
      if (event._tag === "Batch") rows += event.batch.length
      peak = Math.max(peak, resident())
    })
  )
}).pipe(Effect.provide(FetchHttpClient.layer))

globalThis.gc?.()
const before = resident()
await Effect.runPromise(read)
process.send?.({ rows, before, peak: Math.max(peak, process.resourceUsage().maxRSS / 1024) })
process.disconnect?.()
