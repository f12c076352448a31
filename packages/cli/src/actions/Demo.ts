/** The whole system without key or network: live, and what history is good for. */
import { Effect } from "effect"
import type { Action } from "../Action.ts"
import { demoDirectory } from "../Database.ts"
import type { Session } from "../Session.ts"
import { demoHistory } from "./DemoHistory.ts"
import { demoLive } from "./DemoLive.ts"
import { demoStrategy } from "./DemoStrategy.ts"

interface Options {
  readonly only: "live" | "history" | "strategy" | undefined
  readonly trades: number | undefined
  readonly seconds: number | undefined
  readonly rate: number | undefined
  readonly symbols: ReadonlyArray<string>
  readonly keep: boolean
}

/** The demo never writes into the database that a configuration or a variable names. */
const apart = (given: Session): Session => {
  const { DM_DATABASE_URL: _, DM_CONFIG: __, DM_DATA_DIR: ___, ...env } = given.env
  return {
    ...given,
    json: false,
    dataDir: given.dataDir ?? demoDirectory(),
    configPath: undefined,
    useConfig: false,
    env
  }
}

export const demo = (given: Session, options: Options): Action => {
  if (options.only === "strategy") return demoStrategy(given, options)
  const session = apart(given)
  const live = options.only === "history" ? Effect.void : demoLive(session, options)
  const history = options.only === "live" ? Effect.void : demoHistory(session, options)
  return Effect.andThen(live, history)
}
