/** Where rings are: a directory of shared memory, and whom to expect as their owner. */
import { existsSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

/** Name and place of a ring. */
export interface RingLocation {
  /** 1 to 64 letters, digits, `.`, `_` and `-`, not beginning with a dot. */
  readonly name: string
  /** Directory of the files; default `defaultDirectory()`. */
  readonly dir?: string | undefined
  /** User id that must own directory and files; default: the user of this process. Containers and other users need it. */
  readonly owner?: number | undefined
}

const uid = (): number => process.getuid?.() ?? 0

/** `/dev/shm/data-manager-<uid>` where there is shared memory, else a directory for temporary files. */
export const defaultDirectory = (): string =>
  join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), `data-manager-${uid()}`)

/** A location with its defaults filled in. */
export const resolveLocation = (location: RingLocation): { name: string; dir: string; owner: number } => ({
  name: location.name,
  dir: location.dir ?? defaultDirectory(),
  owner: location.owner ?? uid()
})
