/** Asks providers what they list; a dataset that fails is reported, the others go on. */
import { type ConfigError, Discovery, type ProviderError, type StoreError } from "@data-manager/core"
import { Effect, Stream } from "effect"
import type { Action } from "../Action.ts"
import type { LoadedConfig } from "../ConfigFile.ts"
import { partlyFailed, UsageError } from "../ExitCode.ts"
import { grouped } from "../NumberText.ts"
import * as Output from "../Output.ts"
import { type ConfiguredProvider, type FailedProvider, withProvider, withProviders } from "../Providers.ts"
import type { Session } from "../Session.ts"
import { includesSymbol } from "../SymbolLookup.ts"
import { table } from "../Table.ts"

interface Options {
  readonly provider: string | undefined
  readonly dataset: string | undefined
}

/** What became of a dataset, or of a provider that could not even be asked. */
type Outcome =
  | Extract<Discovery.DiscoveryOutcome, { readonly _tag: "Discovered" }>
  | {
      readonly _tag: "Failed"
      readonly provider: string
      readonly dataset: string
      readonly error: ConfigError | ProviderError | StoreError | UsageError
    }

/** What cannot be asked, and why. */
const unasked = (
  { provider, datasets }: ConfiguredProvider,
  asked: string | undefined
): ReadonlyArray<Outcome> =>
  asked !== undefined || datasets.length > 0
    ? []
    : [
        {
          _tag: "Failed",
          provider: provider.id,
          dataset: "",
          error: new UsageError({
            message: `${provider.id} names no datasets: give --dataset, or datasets = ["..."] in [providers.${provider.id}]`
          })
        }
      ]

const run = Effect.fnUntraced(function* (
  session: Session,
  loaded: LoadedConfig,
  configured: ReadonlyArray<ConfiguredProvider>,
  failed: ReadonlyArray<FailedProvider>,
  options: Options
) {
  const { include } = loaded.config.symbols
  const includes = includesSymbol(include)
  const requests = configured.map(({ provider, datasets }) => ({
    provider,
    datasets: options.dataset === undefined ? datasets : [options.dataset],
    includes
  }))
  const before: ReadonlyArray<Outcome> = [
    ...failed.map(({ id, error }) => ({ _tag: "Failed" as const, provider: id, dataset: "", error })),
    ...configured.flatMap((one) => unasked(one, options.dataset))
  ]
  const outcomes = yield* Stream.fromIterable(before).pipe(
    Stream.concat(Discovery.run(requests)),
    Stream.tap((outcome) =>
      outcome._tag === "Failed"
        ? Output.note(`dm: ${outcome.dataset || outcome.provider}: ${outcome.error.message}`)
        : Effect.void
    ),
    Stream.runCollect
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

const outcomeJson = (outcome: Outcome): object =>
  outcome._tag === "Failed"
    ? { provider: outcome.provider, dataset: outcome.dataset || null, error: outcome.error.message }
    : {
        provider: outcome.provider,
        dataset: outcome.dataset,
        listed: outcome.listed,
        added: outcome.added,
        included: outcome.included,
        error: null
      }

export const discover = (session: Session, options: Options): Action =>
  options.provider === undefined
    ? withProviders(session, (loaded, configured, failed) =>
        run(session, loaded, configured, failed, options)
      )
    : withProvider(session, { id: options.provider, dataset: undefined }, (loaded, configured) =>
        run(session, loaded, [configured], [], options)
      )
