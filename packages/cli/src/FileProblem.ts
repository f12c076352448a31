/** What the operating system says about a file, in words. */
import { CommandError } from "./ExitCode.ts"

const words: { readonly [code: string]: string } = {
  ENOENT: "no such file",
  EACCES: "permission denied",
  EPERM: "not permitted",
  EISDIR: "is a folder, not a file",
  ENOTDIR: "a part of the path is not a folder",
  ENOSPC: "no space left on the disk",
  EDQUOT: "disk quota exceeded",
  EROFS: "the file system is read-only",
  EMFILE: "too many open files",
  EEXIST: "exists already",
  ENAMETOOLONG: "the name is too long",
  ELOOP: "too many symbolic links"
}

/** The words for what a file operation threw. */
export const problemText = (cause: unknown): string => {
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : ""
  return words[code] ?? (cause instanceof Error ? cause.message : String(cause))
}

/** Makes a file operation's exception a `CommandError` that names the file. */
export const fileProblem =
  (path: string) =>
  (cause: unknown): CommandError =>
    new CommandError({ message: `${path}: ${problemText(cause)}` })
