/** Kills a process that appends to a spool, again and again, and looks at what is left. */
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { createInterface } from "node:readline"
import { assert } from "@effect/vitest"
import { Effect } from "effect"
import { SeededRandom } from "./SeededRandom.ts"
import { entryOf } from "./SpoolChildEntry.ts"
import { assertSameEntry } from "./SpoolEntries.ts"
import { Files, quiet, readAll, spoolFolder, withSpool } from "./SpoolFolder.ts"

interface Run {
  /** First number that the process gave out. */
  readonly first: bigint
  /** Up to which number it said that everything is on disk. */
  readonly synced: bigint
}

/** Starts the process and kills it once it has told `lines` times how far it is. */
const runAndKill = async (folder: string, seed: number, lines: number): Promise<Run> => {
  const child: ChildProcess = spawn(
    process.execPath,
    ["--conditions=source", `${import.meta.dirname}/SpoolChild.ts`, folder, String(seed)],
    { stdio: ["ignore", "pipe", "inherit"] }
  )
  const closed = once(child, "close")
  let [first, synced, told] = [0n, 0n, 0]
  for await (const line of createInterface({ input: child.stdout! })) {
    const [what, number = "0"] = line.split(" ")
    if (what === "ready") first = BigInt(number)
    if (what === "synced") {
      synced = BigInt(number)
      told += 1
    }
    if (told === lines) child.kill("SIGKILL")
  }
  const [, signal] = await closed
  assert.strictEqual(signal, "SIGKILL")
  return { first, synced }
}

/** So many processes one after another on one spool. */
export const crashRounds = (rounds: number) =>
  Effect.gen(function* () {
    const folder = yield* spoolFolder
    const random = new SeededRandom(rounds)
    let [next, checked] = [1n, 1n]
    for (let round = 0; round < rounds; round++) {
      const run = yield* Effect.promise(() => runAndKill(folder, round, 1 + random.below(12)))
      assert.strictEqual(run.first, next)
      yield* withSpool({ folder }, (spool) =>
        Effect.gen(function* () {
          next = spool.opened.next
          assert.isAbove(Number(next), Number(run.synced))
          assert.deepStrictEqual(spool.opened.damaged, [])
          for (const each of yield* readAll(spool, checked)) {
            if (each._tag === "SpoolHole") return assert.fail(each.detail)
            if (each.frame !== checked) assert.fail(`frame ${each.frame} instead of ${checked}`)
            assertSameEntry(each.entry, entryOf(checked))
            checked += 1n
          }
          assert.strictEqual(checked, next)
          if (random.chance(0.3)) yield* spool.release(checked - 1n)
        })
      )
    }
  }).pipe(Effect.scoped, Effect.provide(Files), Effect.provide(quiet))
