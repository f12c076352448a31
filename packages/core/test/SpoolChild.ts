/**
 * A process that appends to a spool until it is killed: `node SpoolChild.ts FOLDER SEED`. It prints `ready` and the number
 * that it begins with, then `synced` and up to where everything is on disk, one a line.
 */
import { Effect } from "effect"
import { Spool } from "../src/index.ts"
import { entryOf } from "./SpoolChildEntry.ts"
import { Files } from "./SpoolFiles.ts"

const [folder = "", seed = ""] = process.argv.slice(2)

const program = Effect.gen(function* () {
  const spool = yield* Spool.make({
    folder,
    maxBytes: 1e9,
    segmentBytes: 200_000,
    fsyncInterval: Number(seed) % 4
  })
  console.log(`ready ${spool.opened.next}`)
  let told = spool.opened.next - 1n
  for (let number = spool.opened.next; ; number++) {
    const appended = yield* spool.append(entryOf(number))
    if (appended._tag === "Dropped" || appended.frame !== number) throw new Error("not appended")
    if (number % 7n === 0n) yield* Effect.yieldNow
    if (number % 50n === 0n) yield* Effect.sleep("1 millis")
    const synced = yield* spool.synced
    if (synced > told) console.log(`synced ${synced}`)
    told = synced
  }
})

await Effect.runPromise(Effect.scoped(program).pipe(Effect.provide(Files)))
