/** Acme as a process of its own, for `dm`: prints where it is as a line of JSON, and runs until it is killed. */
import { Console, Effect } from "effect"
import * as AcmeService from "./AcmeService.ts"

const serve = Effect.gen(function* () {
  const { env, options } = yield* AcmeService.make({ trades: 5_000 })
  yield* Console.log(JSON.stringify({ ...options, env }))
  return yield* Effect.never
})

await Effect.runPromise(Effect.scoped(serve))
