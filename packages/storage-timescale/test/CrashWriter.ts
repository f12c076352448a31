/**
 * An import that may be killed: appends the same segments of trades under one fingerprint until all are in, from where the
 * ledger says that the last one ended. `node CrashWriter.ts`, with the plan as JSON in CRASH_PLAN. Prints a line when it
 * starts to write and one per committed segment.
 */
import { fileURLToPath } from "node:url"
import { type AppendClaim, batchContext, type TradeBatch, UnixNanos } from "@data-manager/core"
import { BatchArbitrary, SeededRandom } from "@data-manager/testing"
import { Effect } from "effect"
import * as Append from "../src/Append.ts"
import * as Ledger from "../src/Ledger.ts"
import * as Partitions from "../src/Partitions.ts"
import * as PgPool from "../src/PgPool.ts"
import { clientConfig, parse } from "../src/PgServer.ts"
import * as BarRefresh from "../src/timescale/BarRefresh.ts"
import * as BulkTable from "../src/timescale/BulkTable.ts"

/** What is written. */
export interface CrashPlan {
  /** `postgresql://...` with its password. */
  readonly url: string
  readonly instruments: ReadonlyArray<number>
  readonly fingerprint: string
  readonly segments: number
  readonly rowsPerSegment: number
  /** Seconds of time that a segment claims; default 600. */
  readonly segmentSeconds?: number
  /**
   * How segments are written. "ordinary" by default; in "bulk"; by "turns": in bulk, and every third one not, so that its
   * day is moved out of the bulk table.
   */
  readonly profile?: "ordinary" | "bulk" | "turns"
  /** Instruments that have values beyond their scale; all by default. Not in bulk. */
  readonly exact?: ReadonlyArray<number>
  /** Whether bars are made, and rows compressed, again and again between segments. TimescaleDB only. */
  readonly maintains?: boolean
}

const start = UnixNanos.parse("2024-09-02T08:00:00Z")!
/** The time that a segment claims. */
export const rangeOf = ({ segmentSeconds = 600 }: CrashPlan, segment: number) => {
  const span = BigInt(segmentSeconds) * UnixNanos.PerSecond
  return { start: start + BigInt(segment) * span, end: start + BigInt(segment + 1) * span }
}

/** Instruments and values of a segment. What goes in bulk is of one instrument, and fits its scale. */
const contentOf = ({ exact, instruments, profile = "ordinary" }: CrashPlan, segment: number) => {
  if (profile !== "ordinary") return { instruments: [instruments[segment % instruments.length]!] }
  return segment % 5 === 4
    ? { instruments: exact ?? instruments, values: "extreme" as const }
    : { instruments, values: "grid" as const }
}

/** The rows of a segment, the same ones in every process. */
export const batchOf = (plan: CrashPlan, segment: number): TradeBatch => {
  const { end, start } = rangeOf(plan, segment)
  return BatchArbitrary.trades(new SeededRandom(1000 + segment), {
    context: batchContext({ provider: "test", dataset: "CRASH" }),
    rows: plan.rowsPerSegment,
    start,
    span: end - start,
    ...contentOf(plan, segment)
  })
}

const profileOf = ({ profile }: CrashPlan, segment: number): Pick<AppendClaim, "profile"> =>
  profile === "bulk" || (profile === "turns" && segment % 3 !== 2) ? { profile: "bulk" } : {}

const compress = "SELECT compress_chunk(c, if_not_compressed => true) FROM show_chunks('trade') c"

/** What else goes on in a database while it is written to. */
const maintain = Effect.fnUntraced(function* (pool: PgPool.PgPool, run: bigint, segment: number) {
  if (segment % 4 === 3) yield* BarRefresh.refreshPending(pool)
  if (segment % 8 === 5) yield* BulkTable.compressRun(pool, run)
  if (segment % 8 === 1) yield* pool.query(compress)
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
      range: rangeOf(plan, segment)
    }))
    yield* append(batchOf(plan, segment), { run: run.id, segment, coverage, ...profileOf(plan, segment) })
    console.log(`segment ${segment}`)
    if (plan.maintains === true) yield* maintain(pool, run.id, segment)
  }
  yield* ledger.completeRun(run.id)
})

if (process.argv[1] === fileURLToPath(import.meta.url))
  await Effect.runPromise(Effect.scoped(write(JSON.parse(process.env.CRASH_PLAN ?? "{}"))))
