/** Which ring a command means: the command line before the configuration, and that before the defaults. */
import { readFileSync } from "node:fs"
import { resolve } from "node:path"
import type { ConfigError } from "@data-manager/core"
import { Effect } from "effect"
import { loadConfig } from "./Database.ts"
import { UsageError } from "./ExitCode.ts"
import type { Session } from "./Session.ts"

/** What the command line says about the place of rings. */
export interface RingPlaceOptions {
  readonly dir: string | undefined
  readonly owner: string | undefined
}

/** A place with the name of the configuration's ring. `undefined` leaves the default to the transport. */
export interface RingPlace {
  readonly name: string
  readonly dir: string | undefined
  readonly owner: number | undefined
}

const userIds = (): ReadonlyMap<string, number> => {
  try {
    const lines = readFileSync("/etc/passwd", "utf8").split("\n")
    return new Map(lines.map((line) => line.split(":")).map(([name, , id]) => [name ?? "", Number(id)]))
  } catch {
    return new Map()
  }
}

const ownerId = (text: string): Effect.Effect<number, UsageError> => {
  const id = /^\d+$/.test(text) ? Number(text) : userIds().get(text)
  return id === undefined
    ? Effect.fail(
        new UsageError({ message: `there is no user "${text}" here; give the number of the ring's owner` })
      )
    : Effect.succeed(id)
}

/** The place that the command line and `[realtime.shm]` describe. */
export const ringPlace = (
  session: Session,
  options: RingPlaceOptions
): Effect.Effect<RingPlace, ConfigError | UsageError> =>
  Effect.gen(function* () {
    const { config } = yield* loadConfig(session)
    const { name, dir, owner } = config.realtime.shm
    const wanted = options.owner ?? owner
    return {
      name,
      dir: options.dir === undefined ? dir : resolve(session.cwd, options.dir),
      owner: wanted === undefined ? undefined : yield* ownerId(wanted)
    }
  })
