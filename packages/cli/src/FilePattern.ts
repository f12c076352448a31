/**
 * From what users write (files, patterns, folders) to the files that are meant. Patterns are expanded here as well, for
 * shells that do not and for quoted ones.
 */
import { glob, readdir, stat } from "node:fs/promises"
import { join, resolve } from "node:path"
import { Effect } from "effect"
import { CommandError } from "./ExitCode.ts"
import { fileProblem } from "./FileProblem.ts"

/** A file that was found, named as the user would name it. */
export interface FoundFile {
  readonly path: string
  readonly bytes: number
}

/** Files in order without repetition, and what was wrong with the arguments that gave none. */
export interface Expansion {
  readonly files: ReadonlyArray<FoundFile>
  readonly problems: ReadonlyArray<CommandError>
}

/** Names by which a folder's DBN files are known. */
export const isDbnName = (name: string): boolean => /\.(dbn|dbz)(\.zst)?$|\.dbn\.frag(\.zst)?$/i.test(name)

const isPattern = (text: string): boolean => /[*?[\]{}]/.test(text)

const searchFolder = (folder: string): Effect.Effect<ReadonlyArray<string>, CommandError> =>
  Effect.tryPromise({
    try: async () => {
      const entries = await readdir(folder, { recursive: true, withFileTypes: true })
      return entries
        .filter((entry) => (entry.isFile() || entry.isSymbolicLink()) && isDbnName(entry.name))
        .map((entry) => join(entry.parentPath, entry.name))
        .sort()
    },
    catch: fileProblem(folder)
  })

const matches = (pattern: string, cwd: string): Effect.Effect<ReadonlyArray<string>, CommandError> =>
  Effect.tryPromise({
    try: async () => {
      const found: Array<string> = []
      for await (const path of glob(pattern, { cwd })) found.push(path)
      return found.sort()
    },
    catch: fileProblem(pattern)
  })

const size = (path: string, cwd: string) =>
  Effect.tryPromise({ try: () => stat(resolve(cwd, path)), catch: fileProblem(path) })

/** Files of a path that may be a folder. */
const filesAt = (path: string, cwd: string): Effect.Effect<ReadonlyArray<FoundFile>, CommandError> =>
  Effect.gen(function* () {
    const info = yield* size(path, cwd)
    if (!info.isDirectory()) return [{ path, bytes: info.isFile() ? info.size : 0 }]
    const inside = yield* searchFolder(resolve(cwd, path))
    if (inside.length === 0)
      return yield* new CommandError({
        message: `${path}: no DBN files in this folder or below (*.dbn, *.dbn.zst, *.dbz, *.dbn.frag)`
      })
    return yield* Effect.forEach(inside, (file) =>
      Effect.map(size(file, cwd), (s) => ({ path: file, bytes: s.size }))
    )
  })

const expandOne = (argument: string, cwd: string): Effect.Effect<ReadonlyArray<FoundFile>, CommandError> =>
  Effect.gen(function* () {
    const literal = yield* Effect.result(filesAt(argument, cwd))
    if (literal._tag === "Success") return literal.success
    if (!isPattern(argument)) return yield* literal.failure
    const found = yield* matches(argument, cwd)
    if (found.length === 0) return yield* new CommandError({ message: `${argument}: no file matches` })
    const inside = yield* Effect.forEach(found, (path) => filesAt(path, cwd))
    return inside.flat()
  })

/** Every file that the arguments mean, in their order, each once. */
export const expand = (args: ReadonlyArray<string>, cwd: string): Effect.Effect<Expansion> =>
  Effect.gen(function* () {
    const files = new Map<string, FoundFile>()
    const problems: Array<CommandError> = []
    for (const argument of args) {
      const found = yield* Effect.result(expandOne(argument, cwd))
      if (found._tag === "Failure") problems.push(found.failure)
      else
        for (const file of found.success) {
          const key = resolve(cwd, file.path)
          if (!files.has(key)) files.set(key, file)
        }
    }
    return { files: [...files.values()], problems }
  })
