/** Writes configuration files to start from. Files that exist stay unless replacing was asked for. */
import { mkdir, writeFile } from "node:fs/promises"
import { join, relative, resolve } from "node:path"
import { Effect } from "effect"
import type { Action } from "../Action.ts"
import { commentedFile, symbolsTemplate } from "../ConfigDocs.ts"
import { CommandError } from "../ExitCode.ts"
import * as Output from "../Output.ts"
import type { Session } from "../Session.ts"

interface Options {
  readonly directory: string
  readonly force: boolean
}

const failure = (path: string) => (cause: unknown) => {
  const code = cause instanceof Error && "code" in cause ? cause.code : undefined
  return new CommandError({
    message:
      code === "EEXIST"
        ? `${path} exists and was not changed; --force replaces it`
        : `cannot write ${path}: ${cause instanceof Error ? cause.message : String(cause)}`
  })
}

const put = (path: string, text: string, force: boolean): Effect.Effect<void, CommandError> =>
  Effect.tryPromise({
    try: () => writeFile(path, text, { flag: force ? "w" : "wx" }),
    catch: failure(path)
  })

export const init = (session: Session, options: Options): Action =>
  Effect.gen(function* () {
    const directory = resolve(session.cwd, options.directory)
    yield* Effect.tryPromise({
      try: () => mkdir(directory, { recursive: true }),
      catch: failure(directory)
    })
    const files = [
      {
        path: join(directory, "data-manager.toml"),
        text: commentedFile({ "symbols.config_file": '"symbols.toml"' })
      },
      { path: join(directory, "symbols.toml"), text: symbolsTemplate() }
    ]
    const written: Array<string> = []
    const refused: Array<CommandError> = []
    for (const { path, text } of files) {
      const result = yield* Effect.result(put(path, text, options.force))
      if (result._tag === "Failure") refused.push(result.failure)
      else written.push(path)
    }
    if (session.json) yield* Output.writeLine(JSON.stringify({ written }))
    else for (const path of written) yield* Output.writeLine(`wrote ${relative(session.cwd, path) || path}`)
    if (refused.length > 0)
      return yield* new CommandError({ message: refused.map(({ message }) => message).join("\n") })
    if (!session.json)
      yield* Output.note("Next: dm doctor checks the environment, dm import FILE... loads data.")
  })
