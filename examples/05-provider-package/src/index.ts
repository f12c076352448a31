/** What `dm` takes from this package: `[providers.acme] package = "..."`. */
import { ConfigError, type ProviderPackage, type ProviderSetup } from "@data-manager/core"
import { Effect, Redacted, Result, Schema, SchemaIssue } from "effect"
import * as AcmeProvider from "./AcmeProvider.ts"
import { Dataset } from "./AcmeTrade.ts"

const matching = (pattern: RegExp, fallback: string) =>
  Schema.String.pipe(
    Schema.check(Schema.isPattern(pattern)),
    Schema.withDecodingDefaultKey(Effect.succeed(fallback))
  )

/** The keys of the provider's table. `datasets` is for `dm`, which knows that every provider may have it. */
const Options = Schema.Struct({
  url: matching(/^https?:\/\/[^\s/]+$/, "https://api.acme.example"),
  live: matching(/^[^\s:]+:\d{1,5}$/, "live.acme.example:7000"),
  key_env: matching(/^[A-Za-z_]\w*$/, "ACME_KEY"),
  datasets: Schema.optionalKey(Schema.Array(Schema.String))
})

const decodeOptions = Schema.decodeUnknownResult(Options, { errors: "all", onExcessProperty: "error" })
const issuesOf = SchemaIssue.makeFormatterStandardSchemaV1()

const readOptions = ({ id, options }: ProviderSetup): Effect.Effect<typeof Options.Type, ConfigError> => {
  const decoded = decodeOptions(options)
  if (Result.isSuccess(decoded)) return Effect.succeed(decoded.success)
  const issues = issuesOf(decoded.failure.issue).issues.map(({ message, path = [] }) => ({
    key: ["providers", id, ...path].join("."),
    problem: message
  }))
  return Effect.fail(new ConfigError({ source: `providers.${id}`, issues }))
}

export const provider: ProviderPackage = {
  datasets: [Dataset],
  make: (setup) =>
    Effect.gen(function* () {
      const { key_env, live, url } = yield* readOptions(setup)
      const key = setup.env[key_env]
      const [host = "", port = ""] = live.split(":")
      return yield* AcmeProvider.make({
        id: setup.id,
        url,
        live: { host, port: Number(port) },
        key: key === undefined ? undefined : Redacted.make(key),
        keyName: key_env,
        register: setup.register
      })
    })
}
