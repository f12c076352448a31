/**
 * A provider in a package of its own, used without `dm`: what a request takes, its trades, and the same trades live, through a
 * session that breaks. Acme runs on this machine (`test/AcmeService.ts`): no key, no network.
 */
import type { Provider } from "@data-manager/core"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Console, Effect, Stream } from "effect"
import * as AcmeService from "./test/AcmeService.ts"

/** Trades of a stream, each named once, up to a number of them. */
const idsOf = (events: ReturnType<Provider["history"]>, count: number) =>
  events.pipe(
    Stream.map((event) =>
      event._tag === "Batch" && event.batch._tag === "TradeBatch" ? [...event.batch.rows()] : []
    ),
    Stream.flattenIterable,
    Stream.map((trade) => `${trade.symbol} ${trade.tradeId}`),
    Stream.take(count),
    Stream.runCollect
  )

const main = Effect.gen(function* () {
  const service = yield* AcmeService.make()
  const provider = yield* service.connect("valid")
  const { dataset, range, symbols } = service
  const selection = { dataset, symbols, stypeIn: "raw_symbol", schema: "trades" } as const

  const { records = 0n } = yield* provider.estimate({ ...selection, range })
  yield* Console.log(`history has ${records} trades of ${symbols.join(", ")}`)
  const past = yield* idsOf(provider.history({ ...selection, range }), Number(records))

  yield* service.fault({ type: "reset", afterRows: 150 })
  const live = yield* idsOf(provider.live(selection), Number(records))
  const { reconnects } = yield* provider.health
  const same = past.length === live.length && past.every((id, i) => id === live[i])
  yield* Console.log(
    `live, through ${reconnects} broken session: ${same ? "the same trades, each once" : "others"}`
  )
})

NodeRuntime.runMain(Effect.scoped(main))
