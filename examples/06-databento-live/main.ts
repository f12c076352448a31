/**
 * Databento's live data without a database: volume and average price as trades come. With a key in DATABENTO_API_KEY it
 * collects E-mini futures from the vendor until Ctrl-C; without one it starts a simulator of it, which costs nothing, and
 * ends after ten thousand trades. Sessions that break are made again, and go on where they were.
 */
import { LocalInstruments, type TradeBatch } from "@data-manager/core"
import { type LiveOptions, openLive } from "@data-manager/providers-databento"
import {
  CatalogueBuilder,
  DatabentoSimulator,
  SyntheticMarket
} from "@data-manager/providers-databento/simulator"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Config, Console, Effect, Redacted, Stream } from "effect"

class Strategy {
  trades = 0
  volume = 0
  turnover = 0

  update(batch: TradeBatch): void {
    for (let i = 0; i < batch.length; i++) {
      this.volume += batch.sizeAt(i)
      this.turnover += batch.priceAt(i) * batch.sizeAt(i)
    }
    this.trades += batch.length
  }
}

const collect = (source: Omit<LiveOptions, "register">, strategy: Strategy, trades: number) =>
  Effect.gen(function* () {
    const feed = yield* openLive({ ...source, register: LocalInstruments.make().register })
    yield* feed.events.pipe(
      Stream.runForEachWhile((event) => {
        if (event._tag === "Gap") return Effect.as(Effect.logWarning("data is missing", event), true)
        if (event._tag === "Batch" && event.batch._tag === "TradeBatch") strategy.update(event.batch)
        return Effect.succeed(strategy.trades < trades)
      })
    )
    const { reconnects } = yield* feed.health
    yield* Console.log(`${strategy.trades} trades, ${reconnects} reconnects`)
    yield* Console.log(`average price ${(strategy.turnover / strategy.volume).toFixed(4)}`)
  }).pipe(Effect.scoped)

const vendor = Effect.map(
  Config.Redacted("DATABENTO_API_KEY"),
  (apiKey) =>
    ({
      apiKey,
      dataset: "GLBX.MDP3",
      subscriptions: [{ schema: "trades", stypeIn: "parent", symbols: ["ES.FUT", "NQ.FUT"] }]
    }) as const
)

const simulated = Effect.gen(function* () {
  const catalogue = new CatalogueBuilder().addSynthetic(new SyntheticMarket({ trades: 10_000 })).build()
  const { live, key } = yield* DatabentoSimulator.make({ catalogue })
  return {
    apiKey: Redacted.make(key),
    dataset: "DBEQ.BASIC",
    subscriptions: [{ schema: "trades", stypeIn: "raw_symbol", symbols: ["ALL_SYMBOLS"] }],
    address: { host: "127.0.0.1", port: live.port }
  } as const
})

const program = Effect.gen(function* () {
  const hasKey = process.env.DATABENTO_API_KEY !== undefined
  const source = yield* hasKey ? vendor : simulated
  yield* collect(source, new Strategy(), hasKey ? Number.POSITIVE_INFINITY : 10_000)
})

NodeRuntime.runMain(Effect.scoped(program))
