/**
 * Texts made from the configuration schema: the reference page `docs/configuration.md` and the commented file that
 * `dm init` writes. Neither is edited by hand.
 */
import { DataManagerConfig } from "@data-manager/core"
import { wrap } from "./Help.ts"

type KeyDoc = DataManagerConfig.KeyDoc

const tableOf = (key: string): string => key.slice(0, key.lastIndexOf("."))
const nameOf = (key: string): string => key.slice(key.lastIndexOf(".") + 1)
const keysOf = (section: string): ReadonlyArray<KeyDoc> =>
  DataManagerConfig.keys.filter(({ key }) => tableOf(key) === section)

const cell = (text: string): string => text.replaceAll("|", "\\|")

const keyRow = (doc: KeyDoc): string => {
  const fallback = doc.default === undefined ? `none: ${doc.absent}` : `\`${doc.default}\``
  const unit = doc.unit === undefined ? "" : ` (${doc.unit})`
  const env = doc.env.map((name) => `\`${name}\``).join(", ")
  return `| \`${nameOf(doc.key)}\` | ${cell(doc.description)} | ${cell(doc.allowed)}${unit} | ${cell(fallback)} | ${env} |`
}

const sectionPage = ({ key, description }: DataManagerConfig.SectionDoc): ReadonlyArray<string> => {
  const keys = keysOf(key)
  if (keys.length === 0) return ["", `## [${key}]`, "", description]
  return [
    "",
    `## [${key}]`,
    "",
    description,
    "",
    "| key | what it does | allowed | default | environment |",
    "|---|---|---|---|---|",
    ...keys.map(keyRow)
  ]
}

/** The text of `docs/configuration.md`. */
export const referencePage = (): string =>
  [
    "# Configuration",
    "",
    "<!-- Generated from packages/core/src/DataManagerConfig.ts by packages/cli/scripts/write-config-docs.ts. -->",
    "",
    "Data Manager works without configuration: every key has a default, and without `[database] url` data lives in an",
    "embedded PostgreSQL. `dm init` writes a commented file to start from.",
    "",
    "**Which file**: `--config FILE`, else the file `DM_CONFIG` names, else `./data-manager.toml`, else",
    "`./config/data-manager.toml`, else none. A named file that does not exist is an error.",
    "",
    "**What goes before what**: the command line, then environment variables, then the file, then defaults. Every key has a",
    "variable: `DM_` and its path in capitals, lists separated by commas. An empty variable counts as not set.",
    "",
    "**Paths** in the file are relative to the file; in variables and options to the working directory.",
    "",
    "**Mistakes** are told all at once, with file, line, key, value and what is allowed; unknown keys are mistakes, too.",
    "TOML has no `null`: to leave a key out, delete its line.",
    ...DataManagerConfig.sections.flatMap(sectionPage),
    "",
    "## [providers.NAME]",
    "",
    "A provider that comes in a package of its own, under the name that `-p` and `symbols.toml` use for it. Keep secrets out of",
    "the file: such packages take them from the environment.",
    "",
    "| key | what it does |",
    "|---|---|",
    "| `package` | Its npm name. Looked for in the `node_modules` of this file's folder, of the working directory, and beside `dm`, each with the folders above it. |",
    "| `enabled` | `false` switches it off. Default `true`. |",
    "| `datasets` | Datasets that are discovered, and meant where a symbol names none. Default: those that the package says. |",
    "| every other key | The package's own; it says which there are. |",
    "",
    "```toml",
    "[providers.acme]",
    'package = "@acme/data-manager-provider" # npm install it in the folder of this file',
    'url = "https://api.acme.example"',
    "```",
    "",
    "`docs/adding-a-provider.md` tells how such a package is written.",
    "",
    "## symbols.toml",
    "",
    "The file that `[symbols] config_file` names: the symbols to collect.",
    "",
    "```toml",
    "[[symbols]]",
    'symbol = "GLBX.MDP3:ES.FUT"   # as the provider writes it, with the dataset in front',
    'provider = "databento"',
    'stype_in = "parent"           # raw_symbol, parent, continuous or instrument_id; default: by the form of the symbol',
    'schemas = ["trades", "mbp-1"] # default: [symbols] default_schemas',
    "enabled = true                # default: true",
    'asset_class = "future"        # for people',
    'exchange = "XCME"             # for people',
    "```",
    ""
  ].join("\n")

const commented = (text: string): ReadonlyArray<string> => wrap(text, 98).map((line) => `# ${line}`)

const sample: { readonly [key: string]: string } = {
  "database.url": '"postgresql://user:password@localhost:5432/market_data"',
  "database.data_dir": '"./data"',
  "providers.databento.live_address": '"127.0.0.1:13000"',
  "realtime.shm.dir": '"/dev/shm/data-manager"',
  "realtime.shm.owner": '"data-manager"',
  "retention.trades_retention_days": "365",
  "spool.dir": '"./spool"',
  "control.socket": '"/run/data-manager/control.sock"'
}

const keyLines = (doc: KeyDoc, overrides: { readonly [key: string]: string }): ReadonlyArray<string> => {
  const unit = doc.unit === undefined ? "" : ` Unit: ${doc.unit}.`
  const absent = doc.absent === undefined ? "" : ` Without it ${doc.absent}.`
  const value = overrides[doc.key] ?? doc.default
  const line = `${nameOf(doc.key)} = ${value ?? sample[doc.key] ?? '""'}`
  return [...commented(`${doc.description}${unit}${absent}`), value === undefined ? `# ${line}` : line]
}

/**
 * A complete `data-manager.toml`: every key with its meaning and default, those without a default commented out.
 * `overrides` are TOML texts by key.
 */
export const commentedFile = (overrides: { readonly [key: string]: string } = {}): string =>
  [
    "# Data Manager. Every key is optional; the values below are the defaults.",
    "# Reference: docs/configuration.md. Environment variables go first: DM_DATABASE_URL for [database] url, and so on.",
    ...DataManagerConfig.sections.flatMap(({ key, description }) => [
      "",
      ...commented(description),
      ...(keysOf(key).length === 0 ? [] : [`[${key}]`]),
      ...keysOf(key).flatMap((doc) => keyLines(doc, overrides))
    ]),
    ""
  ].join("\n")

/** An example `symbols.toml` in which nothing is collected yet. */
export const symbolsTemplate = (): string =>
  [
    "# Symbols to collect. Symbols can also be added with `dm symbols add`; those go before this file.",
    "#",
    "# symbol       DATASET:SYMBOL as the provider writes it",
    "# provider     databento, or another one of data-manager.toml",
    "# stype_in     raw_symbol (ESH6), parent (ES.FUT), continuous (ES.c.0) or instrument_id; default: by its form",
    "# schemas      what to collect; default: [symbols] default_schemas",
    "# enabled      default true",
    "# asset_class, exchange   for people",
    "#",
    "# [[symbols]]",
    '# symbol = "GLBX.MDP3:ES.FUT"',
    '# provider = "databento"',
    '# stype_in = "parent"',
    '# schemas = ["trades"]',
    "#",
    "# [[symbols]]",
    '# symbol = "XNAS.ITCH:AAPL"',
    '# provider = "databento"',
    ""
  ].join("\n")
