/** Asks providers what they list; a dataset that fails is reported, the others go on. */
import { Discovery, ProviderRegistry } from "@data-manager/core"
import { Effect, Stream } from "effect"
import type { Action } from "../Action.ts"
import type { LoadedConfig } from "../ConfigFile.ts"
import { partlyFailed } from "../ExitCode.ts"
import { grouped } from "../NumberText.ts"
import * as Output from "../Output.ts"
import { withProviders } from "../Providers.ts"
import type { Session } from "../Session.ts"
import { matchesPattern } from "../SymbolLookup.ts"
import { table } from "../Table.ts"

interface Options {
  readonly provider: string | undefined
  readonly dataset: string | undefined
}

const run = Effect.fnUntraced(function* (session: Session, loaded: LoadedConfig, options: Options) {
  const registry = yield* ProviderRegistry
  const providers = options.provider === undefined ? registry.all : [yield* registry.get(options.provider)]
  const { include } = loaded.config.symbols
  const includes = (symbol: string): boolean =>
    include.some((pattern) =>
      matchesPattern(pattern, { symbol, rawSymbol: symbol.slice(symbol.indexOf(":") + 1) })
    )
  const datasets =
    options.dataset === undefined ? loaded.config.providers.databento.datasets : [options.dataset]
  const outcomes = yield* Stream.runCollect(
    Stream.tap(Discovery.run(providers.map((provider) => ({ provider, datasets, includes }))), (outcome) =>
      outcome._tag === "Failed"
        ? Output.note(`dm: ${outcome.dataset}: ${outcome.error.message}`)
        : Effect.void
    )
  )
  if (session.json) yield* Output.writeLine(JSON.stringify({ datasets: outcomes.map(outcomeJson) }))
  else {
    const lines = table(
      [
        { header: "provider" },
        { header: "dataset" },
        { header: "listed", align: "right" },
        { header: "new", align: "right" },
        { header: "collected", align: "right" }
      ],
      outcomes.map((one) =>
        one._tag === "Failed"
          ? [one.provider, one.dataset, "failed", "", ""]
          : [one.provider, one.dataset, grouped(one.listed), grouped(one.added), grouped(one.included)]
      ),
      session.out
    )
    yield* Output.writeLine(lines.join("\n"))
  }
  if (outcomes.some((one) => one._tag === "Failed")) return yield* partlyFailed
})

const outcomeJson = (outcome: Discovery.DiscoveryOutcome): object =>
  outcome._tag === "Failed"
    ? { provider: outcome.provider, dataset: outcome.dataset, error: outcome.error.message }
    : {
        provider: outcome.provider,
        dataset: outcome.dataset,
        listed: outcome.listed,
        added: outcome.added,
        included: outcome.included,
        error: null
      }

export const discover = (session: Session, options: Options): Action =>
  withProviders(session, (loaded) => run(session, loaded, options))
