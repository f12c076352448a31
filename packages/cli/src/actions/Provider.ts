/** Writes the package of a new provider. Nothing that is there is touched. */
import { mkdir, readdir, writeFile } from "node:fs/promises"
import { dirname, join, relative, resolve } from "node:path"
import { DataManagerConfig } from "@data-manager/core"
import { Effect } from "effect"
import type { Action } from "../Action.ts"
import { CommandError, UsageError } from "../ExitCode.ts"
import { fileProblem } from "../FileProblem.ts"
import * as Output from "../Output.ts"
import * as OwnPackage from "../OwnPackage.ts"
import { files } from "../ProviderTemplate.ts"
import type { Session } from "../Session.ts"

interface Options {
  readonly name: string
  readonly folder: string | undefined
}

const builtIn = DataManagerConfig.sections.flatMap(({ key }) => /^providers\.(.+)$/.exec(key)?.[1] ?? [])

const checkName = (name: string): Effect.Effect<void, UsageError> =>
  !/^[a-z][a-z0-9]*([-_][a-z0-9]+)*$/.test(name) || name.length > 40
    ? Effect.fail(
        new UsageError({
          message: `"${name}" is no name of a provider: lower-case letters and digits, with dashes between, such as acme or my-venue`
        })
      )
    : builtIn.includes(name)
      ? Effect.fail(new UsageError({ message: `"${name}" is built in; take another name` }))
      : Effect.void

/** A folder that is not there yet, or has nothing in it. */
const checkFolder = (folder: string): Effect.Effect<void, CommandError> =>
  Effect.tryPromise({ try: () => readdir(folder), catch: (cause) => cause }).pipe(
    Effect.catch((cause) =>
      (cause as { readonly code?: unknown }).code === "ENOENT"
        ? Effect.succeed([])
        : Effect.fail(fileProblem(folder)(cause))
    ),
    Effect.flatMap((found) =>
      found.length === 0
        ? Effect.void
        : Effect.fail(
            new CommandError({
              message: `${folder} is not empty and was not changed; name another one with --folder`
            })
          )
    )
  )

export const create = (session: Session, { folder: asked, name }: Options): Action =>
  Effect.gen(function* () {
    yield* checkName(name)
    const packageName = `${name}-provider`
    const folder = resolve(session.cwd, asked ?? packageName)
    yield* checkFolder(folder)
    const versions = { dm: OwnPackage.version, of: OwnPackage.versionOf }
    const written: Array<string> = []
    for (const { path, text } of files({ id: name, packageName }, versions)) {
      const file = join(folder, path)
      yield* Effect.tryPromise({
        try: async () => {
          await mkdir(dirname(file), { recursive: true })
          await writeFile(file, text, { flag: "wx" })
        },
        catch: fileProblem(file)
      })
      written.push(file)
    }
    if (session.json)
      return yield* Output.writeLine(JSON.stringify({ folder, package: packageName, written }))
    const shown = relative(session.cwd, folder) || "."
    yield* Output.writeLine(written.map((file) => `wrote ${relative(session.cwd, file)}`).join("\n"))
    yield* Output.note(
      `Next: cd ${shown}, npm install, npm test. Red cards say what is missing; docs/adding-a-provider.md of the repository is the way through them.`
    )
  })
