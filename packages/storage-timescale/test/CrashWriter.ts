/**
 * An import that may be killed: appends the same segments of trades under one fingerprint until all are in, from where the
 * ledger says that the last one ended. `node CrashWriter.ts`, with the plan as JSON in CRASH_PLAN. Prints a line when it
 * starts to write and one per committed segment.
 */
import { fileURLToPath } from "node:url"
import { batchContext, type TradeBatch, UnixNanos } from "@data-manager/core"
import { BatchArbitrary, SeededRandom } from "@data-manager/testing"
import { Effect } from "effect"
import * as Append from "../src/Append.ts"
import * as Ledger from "../src/Ledger.ts"
import * as Partitions from "../src/Partitions.ts"
import * as PgPool from "../src/PgPool.ts"
import { clientConfig, parse } from "../src/PgServer.ts"

/** What is written. */
export interface CrashPlan {
  /** `postgresql://...` with its password. */
  readonly url: string
  readonly instruments: ReadonlyArray<number>
  readonly fingerprint: string
  readonly segments: number
  readonly rowsPerSegment: number
}

const start = UnixNanos.parse("2024-09-02T08:00:00Z")!
const segmentNanos = 600n * UnixNanos.PerSecond

/** The time that a segment claims. */
export const rangeOf = (segment: number) => ({
  start: start + BigInt(segment) * segmentNanos,
  end: start + BigInt(segment + 1) * segmentNanos
})

/** The rows of a segment, the same ones in every process. */
export const batchOf = (plan: CrashPlan, segment: number): TradeBatch =>
  BatchArbitrary.trades(new SeededRandom(1000 + segment), {
    context: batchContext({ provider: "test", dataset: "CRASH" }),
    instruments: plan.instruments,
    rows: plan.rowsPerSegment,
    start: rangeOf(segment).start,
    span: segmentNanos,
    // Some segments have values beyond the scale.
    values: segment % 5 === 4 ? "extreme" : "grid"
  })

const write = Effect.fnUntraced(function* (plan: CrashPlan) {
  const pool = yield* PgPool.make({ client: clientConfig(yield* parse(plan.url)), maxConnections: 2 })
  const ledger = Ledger.make(pool)
  const { append } = Append.make(pool, Partitions.make(pool))
  const run = yield* ledger.beginRun({
    kind: "import",
    source: "crash",
    provider: "test",
    dataset: "CRASH",
    fingerprint: plan.fingerprint
  })
  console.log("writing")
  for (let segment = run.nextSegment; segment < plan.segments; segment++) {
    const coverage = plan.instruments.map((instrument) => ({
      instrument,
      schema: "trades" as const,
      range: rangeOf(segment)
    }))
    yield* append(batchOf(plan, segment), { run: run.id, segment, coverage })
    console.log(`segment ${segment}`)
  }
  yield* ledger.completeRun(run.id)
})

if (process.argv[1] === fileURLToPath(import.meta.url))
  await Effect.runPromise(Effect.scoped(write(JSON.parse(process.env.CRASH_PLAN ?? "{}"))))
