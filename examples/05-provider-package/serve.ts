/** Acme as a process, for `dm`: prints where it is as a line of JSON, and runs until it is interrupted. */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Console, Effect } from "effect"
import * as AcmeService from "./test/AcmeService.ts"

const main = Effect.gen(function* () {
  const { env, options } = yield* AcmeService.make({ trades: 5_000 })
  yield* Console.log(JSON.stringify({ ...options, env }))
  return yield* Effect.never
})

NodeRuntime.runMain(Effect.scoped(main))
