/**
 * The files of a new package of a provider: it compiles, `dm` loads it, its conformance suite runs, and every card that needs
 * the venue is red.
 */

/** What the files are filled with. */
export interface TemplateNames {
  /** `my-venue`: the provider's id. */
  readonly id: string
  /** `my-venue-provider`. */
  readonly packageName: string
}

/** Versions of what the package is built with: those of the `dm` that writes it. */
export interface TemplateVersions {
  readonly dm: string
  readonly of: (name: string) => string
}

/** `MyVenue` for `my-venue`. */
export const className = (id: string): string =>
  id
    .split(/[-_]/)
    .map((part) => part.charAt(0).toUpperCase() + part.slice(1))
    .join("")

const minorOf = (version: string): string => version.split(".").slice(0, 2).join(".")

const manifest = ({ id, packageName }: TemplateNames, { dm, of }: TemplateVersions): string => {
  // A range that `dm` accepts, see its ProviderPackages.
  const effect = `~${minorOf(of("effect"))}.0`
  return `${JSON.stringify(
    {
      name: packageName,
      version: "0.1.0",
      description: `Market data of ${className(id)} for Data Manager`,
      type: "module",
      sideEffects: false,
      engines: { node: ">=22.19" },
      files: ["dist", "src"],
      exports: {
        ".": { types: "./dist/index.d.ts", import: "./dist/index.js" },
        "./package.json": "./package.json"
      },
      scripts: {
        build: "tsc -p tsconfig.build.json",
        prepack: "npm run build",
        test: "vitest run",
        typecheck: "tsc --noEmit"
      },
      peerDependencies: { "@data-manager/core": `^${dm}`, effect },
      devDependencies: {
        "@data-manager/core": `^${dm}`,
        "@data-manager/testing": `^${dm}`,
        "@effect/vitest": of("@effect/vitest"),
        "@types/node": of("@types/node"),
        effect: of("effect"),
        typescript: of("typescript"),
        vitest: of("vitest")
      }
    },
    null,
    2
  )}\n`
}

const tsconfig = `{
  "compilerOptions": {
    "target": "ES2023",
    "lib": ["ES2023", "ESNext.Disposable"],
    "module": "NodeNext",
    "types": ["node"],
    "strict": true,
    "exactOptionalPropertyTypes": true,
    "noUncheckedIndexedAccess": true,
    "verbatimModuleSyntax": true,
    "erasableSyntaxOnly": true,
    "rewriteRelativeImportExtensions": true,
    "skipLibCheck": true,
    "noEmit": true
  },
  "include": ["src", "test"]
}
`

const tsconfigBuild = `{
  "extends": "./tsconfig.json",
  "compilerOptions": {
    "noEmit": false,
    "rootDir": "src",
    "outDir": "dist",
    "declaration": true,
    "sourceMap": true
  },
  "include": ["src"]
}
`

const readme = ({ id, packageName }: TemplateNames): string => `# ${packageName}

Market data of ${className(id)} for [Data Manager](https://github.com/data-manager/data-manager).

    npm install
    npm test          # the conformance suite: red cards say what is not written yet
    npm run build

- \`src/index.ts\` is what \`dm\` loads: it checks the options and makes the provider.
- \`src/${className(id)}Provider.ts\` is the contract, method by method.
- \`test/${className(id)}Service.ts\` is the venue on this machine that the suite asks for.

In \`data-manager.toml\`, once the package is installed beside it:

\`\`\`toml
[providers.${id}]
package = "${packageName}"
url = "https://..."
\`\`\`

Keys come from the environment (\`${keyName(id)}\`), never from the file. Then \`dm backfill -p ${id} -s SYMBOL --start DATE\`.
`

const keyName = (id: string): string => `${id.replaceAll("-", "_").toUpperCase()}_KEY`

const datasetName = (id: string): string => `${id.replaceAll(/[-_]/g, "").toUpperCase()}.SPOT`

const index = ({
  id
}: TemplateNames): string => `/** What \`dm\` takes from this package: \`[providers.${id}] package = "..."\`. */
import { ConfigError, type ProviderPackage } from "@data-manager/core"
import { Effect, Redacted } from "effect"
import * as ${className(id)}Provider from "./${className(id)}Provider.ts"

const keyName = "${keyName(id)}"

export const provider: ProviderPackage = {
  datasets: [${className(id)}Provider.Dataset],
  make: ({ env, id, options, register }) =>
    Effect.gen(function* () {
      // Every key of the table is checked here: what this package does not know is a mistake in the file.
      const { url, datasets: _, ...unknown } = options
      const issues = Object.keys(unknown).map((key) => ({
        key: "providers." + id + "." + key,
        problem: "unknown key; known here: url"
      }))
      if (typeof url !== "string" || !/^https?:\\/\\//.test(url))
        issues.push({ key: "providers." + id + ".url", problem: "expected an http or https address" })
      if (typeof url !== "string" || issues.length > 0)
        return yield* new ConfigError({ source: "providers." + id, issues })
      const key = env[keyName]
      return yield* ${className(id)}Provider.make({
        id,
        url,
        key: key === undefined ? undefined : Redacted.make(key),
        keyName,
        register
      })
    })
}
`

const providerModule = ({
  id
}: TemplateNames): string => `/** ${className(id)} behind the provider contract. Each method says what it has to do; the cards named there check it. */
import {
  type Provider,
  ProviderBadRequest,
  ProviderError,
  ProviderUnauthorized,
  type RegisterListings
} from "@data-manager/core"
import { Effect, type Redacted, Stream } from "effect"

/** The dataset that this provider serves: capitals and a dot, the part before a symbol in \`${datasetName(id)}:BTC-EUR\`. */
export const Dataset = "${datasetName(id)}"

/** What the provider is made of. */
export interface ${className(id)}Options {
  readonly id: string
  readonly url: string
  readonly key: Redacted.Redacted<string> | undefined
  /** The variable that holds the key, for messages. */
  readonly keyName: string
  /** Gives instruments their ids; rows refer to those. */
  readonly register: RegisterListings
}

/** Makes the provider. P-200: a key that is missing or malformed is refused here, and never shown. */
export const make = (options: ${className(id)}Options): Effect.Effect<Provider, ProviderError> =>
  options.key === undefined
    ? Effect.fail(
        new ProviderError({
          provider: options.id,
          operation: "read the key",
          reason: new ProviderUnauthorized({
            detail: "the environment variable " + options.keyName + " is not set",
            hint: "export " + options.keyName + "=..."
          })
        })
      )
    : Effect.succeed(providerOf(options))

const providerOf = ({ id }: ${className(id)}Options): Provider => {
  const missing = (operation: string, detail: string): ProviderError =>
    new ProviderError({
      provider: id,
      operation,
      reason: new ProviderBadRequest({ detail: "not written yet: " + detail })
    })
  return {
    id,
    // P-300. What the venue does not have is left out: cards about live data and replay are then skipped.
    capabilities: {
      history: ["trades"],
      live: ["trades"],
      symbolTypes: ["raw_symbol"],
      replaySeconds: 0,
      consecutiveIds: false,
      billed: false,
      maxSymbols: 0,
      maxDays: 0,
      addSymbolsLive: false
    },
    // P-010 to P-250. First a Mapping for each symbol, then batches.
    history: () =>
      Stream.fail(
        missing(
          "history",
          "refuse what cannot be served, register the symbols, ask for rows in [start, end) and give them as batches " +
            "in the order of the index clock, with keys that do not depend on where a request begins"
        )
      ),
    // P-400 to P-490. Until interrupted.
    live: () =>
      Stream.fail(
        missing(
          "live",
          "log in, subscribe, give what one read brought as one batch; make a session that ended again, go on after the " +
            "last row that was given, and tell what cannot be had as a Gap"
        )
      ),
    // P-330.
    discover: () => Stream.fail(missing("discover", "give a ListingClaim for each symbol of the dataset")),
    // P-310.
    availableRange: () => Effect.fail(missing("availableRange", "tell from when to when the venue has rows")),
    // P-320.
    estimate: () =>
      Effect.fail(missing("estimate", "tell requests, and rows and money where the venue does; fetch nothing")),
    // P-340.
    health: Effect.succeed({ state: "idle", reconnects: 0, detail: "not written yet" })
  }
}
`

const service = ({ id }: TemplateNames): string => `/**
 * ${className(id)} on this machine, for the tests: it speaks the venue's protocol, serves a tape whose rows are known, and breaks
 * where a card tells it to. It shares no code with the provider: what both got wrong nobody would see.
 */
import { batchContext, directory, LocalInstruments } from "@data-manager/core"
import {
  batchOf,
  type Credentials,
  makeTape,
  type ProviderFault,
  type ProviderService,
  TAPE_START
} from "@data-manager/testing"
import { Effect, type Scope } from "effect"
import { provider } from "../src/index.ts"

const dataset = "${datasetName(id)}"
const symbols = ["BTC-EUR", "ETH-EUR", "SOL-EUR"]

/** Keys of your venue's form. None of them may appear in anything that the provider tells. */
const keys = { valid: "the-valid-key", wrong: "somebody-elses-key", malformed: "?" } as const

/** The rows that the venue has. Replace it by rows as your venue writes them, where they have more or less than these. */
const tape = makeTape({ symbols, trades: 400, start: TAPE_START })

/** The same as batches, made without the provider. Give keys here as the provider has to: see \`TradeKey\` in core. */
const rows = () => {
  const { register } = LocalInstruments.make()
  const valid = { start: TAPE_START, end: TAPE_START + 86_400_000_000_000n }
  const claims = symbols.map((rawSymbol) => ({
    provider: "${id}",
    dataset,
    rawSymbol,
    valid,
    defaultPriceScale: 2,
    defaultSizeScale: 0
  }))
  const instruments = Effect.runSync(register(claims))
  const ids = new Map(instruments.map((one) => [one.rawSymbol, one.id]))
  const context = batchContext({ provider: "${id}", dataset, instruments: directory(instruments) })
  return [batchOf(context, tape, (symbol) => ids.get(symbol) ?? 0)]
}

/** Starts the service; it ends with the scope. */
export const make = (): Effect.Effect<ProviderService, never, Scope.Scope> =>
  Effect.sync(() => {
    const faults: Array<ProviderFault> = []
    // Start a server here (Effect.acquireRelease), and put its address into the options.
    const url = "http://127.0.0.1:1"
    return {
      connect: (credentials: Credentials) =>
        provider.make({
          id: "${id}",
          options: { url },
          env: credentials === "missing" ? {} : { ${keyName(id)}: keys[credentials] },
          register: LocalInstruments.make().register
        }),
      dataset,
      symbols,
      unknownSymbol: "DOGE-EUR",
      rows: (schema) => (schema === "trades" ? rows() : []),
      range: { start: tape[0]!.tsRecv, end: tape[tape.length - 1]!.tsRecv + 1n },
      // By which time rows are asked for and ordered.
      clock: () => "ts_recv",
      // The next request for rows, or the next live session, takes the first of them and breaks.
      fault: (fault) => Effect.sync(() => void faults.push(fault)),
      // Count what is open, and requests for rows.
      open: Effect.succeed(0),
      historyRequests: Effect.succeed(0),
      secrets: Object.values(keys)
    }
  })
`

const test = ({
  id
}: TemplateNames): string => `import { FastClock, ProviderSuite, TAPE_START } from "@data-manager/testing"
import * as ${className(id)}Service from "./${className(id)}Service.ts"

ProviderSuite.run("${id}", {
  service: ${className(id)}Service.make(),
  // Backoff and heartbeats in a twentieth of their time.
  clock: () => FastClock.make(TAPE_START, 20)
})
`

/** The files by path, in the order in which one reads them. */
export const files = (
  names: TemplateNames,
  versions: TemplateVersions
): ReadonlyArray<{ readonly path: string; readonly text: string }> => [
  { path: "package.json", text: manifest(names, versions) },
  { path: "README.md", text: readme(names) },
  { path: "tsconfig.json", text: tsconfig },
  { path: "tsconfig.build.json", text: tsconfigBuild },
  { path: ".gitignore", text: "node_modules/\ndist/\n" },
  { path: "src/index.ts", text: index(names) },
  { path: `src/${className(names.id)}Provider.ts`, text: providerModule(names) },
  { path: `test/${className(names.id)}Service.ts`, text: service(names) },
  { path: `test/${className(names.id)}Provider.test.ts`, text: test(names) }
]
