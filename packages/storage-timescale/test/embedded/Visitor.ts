// A process that comes and goes: `node Visitor.ts DATA_DIR MILLISECONDS`. It acquires the server, uses it for a moment and
// lets go, again and again, with a linger so short that the server is stopped in between. Ends with 1 when one visit failed.
import { Effect } from "effect"
import { EmbeddedServer } from "../../src/embedded/index.ts"
import { fast } from "./FastServer.ts"
import { delay, query } from "./Query.ts"

const [dataDir = "", duration = "0"] = process.argv.slice(2)

const visit = Effect.scoped(
  Effect.gen(function* () {
    const address = yield* EmbeddedServer.acquire({ ...fast, dataDir, linger: 40 })
    for (let i = 0; i < 3; i++)
      yield* Effect.promise(() => query(address, `SELECT pg_sleep(${Math.random() * 0.05})`))
  })
)

const end = performance.now() + Number(duration)
let visits = 0
while (performance.now() < end) {
  await Effect.runPromise(visit)
  visits += 1
  await delay(Math.random() * 200)
}
console.log(visits)
