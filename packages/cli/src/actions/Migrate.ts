/** Shows, applies and takes back schema migrations. */
import { type MigrationState, StoreMigrations } from "@data-manager/core"
import { EmbeddedServer } from "@data-manager/storage-timescale/embedded"
import { Effect } from "effect"
import type { Action } from "../Action.ts"
import {
  capabilitiesOf,
  dataDirectory,
  grantRolesOf,
  isEmbedded,
  loadConfig,
  withMigrationsOf
} from "../Database.ts"
import { partlyFailed, UsageError } from "../ExitCode.ts"
import { plural } from "../NumberText.ts"
import * as Output from "../Output.ts"
import { serverText } from "../ServerText.ts"
import type { Session } from "../Session.ts"
import { table } from "../Table.ts"
import { isoFormatter, short } from "../TimeText.ts"

interface Options {
  readonly up: boolean
  readonly down: boolean
  readonly status: boolean
  readonly to: number | undefined
  /** Beginning of the names of the roles that get the tables. */
  readonly roles: string | undefined
}

/** Migrations for programs. */
export const migrationsJson = (states: ReadonlyArray<MigrationState>): ReadonlyArray<object> => {
  const iso = isoFormatter()
  return states.map(({ version, name, appliedAt, drifted }) => ({
    version,
    name,
    applied_at: appliedAt === undefined ? null : iso(appliedAt),
    drifted
  }))
}

const stateOf = ({ appliedAt, drifted }: MigrationState): string =>
  appliedAt === undefined ? "missing" : drifted ? "changed since it was applied" : "applied"

const migrationTable = (states: ReadonlyArray<MigrationState>, session: Session): ReadonlyArray<string> =>
  table(
    [
      { header: "version", align: "right" },
      { header: "name" },
      {
        header: "state",
        paint: (cell, row) => (states[row]?.drifted === false ? cell : session.out.yellow(cell))
      },
      { header: "applied" }
    ],
    states.map((state) => [
      state.version.toString(),
      state.name,
      stateOf(state),
      state.appliedAt === undefined ? "" : short(state.appliedAt).slice(0, 19)
    ]),
    session.out
  )

/** Versions that are applied. */
const applied = (states: ReadonlyArray<MigrationState>): ReadonlySet<number> =>
  new Set(states.filter(({ appliedAt }) => appliedAt !== undefined).map(({ version }) => version))

const change = (options: Options) =>
  Effect.gen(function* () {
    const migrations = yield* StoreMigrations
    const before = yield* migrations.status
    if (options.up) return { before, after: yield* migrations.up(options.to) }
    if (options.down) return { before, after: yield* migrations.down(options.to) }
    return { before, after: before }
  })

const summary = (options: Options, before: ReadonlySet<number>, after: ReadonlySet<number>): string => {
  const added = [...after].filter((version) => !before.has(version)).length
  const removed = [...before].filter((version) => !after.has(version)).length
  if (added > 0) return `applied ${plural(added, "migration")}`
  if (removed > 0) return `took back ${plural(removed, "migration")} with the data of their tables`
  return options.up || options.down ? "nothing to do" : ""
}

export const migrate = (session: Session, options: Options): Action =>
  Effect.gen(function* () {
    if ([options.up, options.down, options.status].filter(Boolean).length > 1)
      return yield* new UsageError({ message: "migrate: choose one of --up, --down and --status" })
    if (options.to !== undefined && !options.up && !options.down)
      return yield* new UsageError({ message: "migrate: --to goes with --up or --down" })
    if (options.roles !== undefined && !options.up)
      return yield* new UsageError({ message: "migrate: --roles goes with --up" })
    const loaded = yield* loadConfig(session)
    // Looking makes no database.
    if (isEmbedded(loaded) && !options.up) {
      const dataDir = dataDirectory(loaded)
      if ((yield* EmbeddedServer.status(dataDir)).state === "absent") {
        if (session.json) yield* Output.writeLine(JSON.stringify({ migrations: [] }))
        return yield* Output.note(`there is no database in ${dataDir} yet; dm migrate --up makes it`)
      }
    }
    const { before, after } = yield* withMigrationsOf(session, loaded, change(options))
    const roles =
      options.roles === undefined ? undefined : yield* grantRolesOf(session, loaded, options.roles)
    const found = options.up ? yield* capabilitiesOf(session, loaded) : undefined
    const missing = after.filter(({ appliedAt }) => appliedAt === undefined)
    const drifted = after.filter((state) => state.drifted)
    if (session.json) yield* Output.writeLine(JSON.stringify({ migrations: migrationsJson(after) }))
    else {
      yield* Output.writeLine(migrationTable(after, session).join("\n"))
      const told = summary(options, applied(before), applied(after))
      if (told !== "") yield* Output.note(told)
      if (found !== undefined) yield* Output.note([serverText(found), ...found.notes].join("; "))
      if (roles !== undefined)
        yield* Output.note(
          `the tables belong to ${roles.owner}; writers are members of ${roles.writer}, readers of ${roles.reader}: ` +
            `CREATE ROLE ana LOGIN PASSWORD '...' IN ROLE ${roles.reader}`
        )
      if (missing.length > 0) yield* Output.note("apply what is missing with: dm migrate --up")
    }
    if (drifted.length > 0) {
      const names = drifted.map(({ version }) => version).join(", ")
      yield* Output.note(
        `dm: the text of migration ${names} differs from this program's: the database was made by another build. ` +
          "Use that build, or export the data and import it into a new database."
      )
      return yield* partlyFailed
    }
  })
