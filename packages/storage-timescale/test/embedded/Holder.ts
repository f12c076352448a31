// A process that holds the embedded server: `node Holder.ts DATA_DIR [LINGER]`. Prints one JSON line when it has it, answers
// every line of its input with one query, and lets go at the end of the input.
import { createInterface } from "node:readline"
import { Effect, References } from "effect"
import pg from "pg"
import { EmbeddedServer } from "../../src/embedded/index.ts"
import { clientConfig } from "../../src/ServerAddress.ts"
import { fast } from "./FastServer.ts"

const [dataDir = "", linger = "1 second"] = process.argv.slice(2)
const print = (value: unknown) => process.stdout.write(`${JSON.stringify(value)}\n`)

const program = Effect.gen(function* () {
  const address = yield* EmbeddedServer.acquire({ ...fast, dataDir, linger: linger as "1 second" })
  const { pid } = yield* EmbeddedServer.status(dataDir)
  print({ attached: pid })
  yield* Effect.promise(async () => {
    for await (const sql of createInterface({ input: process.stdin })) {
      const client = new pg.Client(clientConfig(address))
      client.on("error", () => {})
      try {
        await client.connect()
        print({ rows: (await client.query(sql)).rows })
      } catch (error) {
        print({ error: (error as Error).message })
      } finally {
        await client.end().catch(() => {})
      }
    }
  })
})

// Lines of the protocol alone go to the standard output.
Effect.runPromise(Effect.scoped(program).pipe(Effect.provideService(References.LogToStderr, true))).catch(
  (error: Error) => {
    print({ failed: error.message })
    process.exitCode = 1
  }
)
