/** Shows rows whose key met different content: what is stored, what was set aside, and by which run. */
import {
  type Instrument,
  type MarketBatch,
  MarketSchema,
  MarketStore,
  type RowConflict
} from "@data-manager/core"
import { Effect, Stream } from "effect"
import type { Action } from "../Action.ts"
import { withStore } from "../Database.ts"
import { narrowed, type SelectionOptions, select } from "../InstrumentSelection.ts"
import { plural } from "../NumberText.ts"
import * as Output from "../Output.ts"
import { checkRange } from "../RowRead.ts"
import { type RowWriter, rowWriter } from "../RowText.ts"
import type { Session } from "../Session.ts"
import { table } from "../Table.ts"
import { isoFormatter } from "../TimeText.ts"

interface Options extends SelectionOptions {
  readonly schema: MarketSchema.MarketSchema | undefined
  readonly limit: number | undefined
}

const defaultLimit = 20

type Writers = (conflict: RowConflict) => RowWriter<MarketBatch>

/** Writers of the kinds that occur. */
const writers = (): Writers => {
  const made = new Map<MarketSchema.RowKind, RowWriter<MarketBatch>>()
  return ({ schema }) => {
    const kind = MarketSchema.kind(schema)
    const writer = made.get(kind) ?? (rowWriter(kind) as RowWriter<MarketBatch>)
    made.set(kind, writer)
    return writer
  }
}

const jsonOf = (
  { lost, setAside, stored, run, source, detectedAt, schema }: RowConflict,
  symbol: string,
  writer: RowWriter<MarketBatch>,
  iso: (time: bigint) => string
): string => {
  const { kind, source: name, provider } = source
  const head = {
    symbol,
    schema,
    lost,
    detected_at: iso(detectedAt),
    run: { id: run.toString(), kind, source: name, provider }
  }
  // The rows are texts of numbers that JSON.stringify would round.
  const rows = `"stored":${stored === undefined ? "null" : writer.json(stored, 0)},"set_aside":${writer.json(setAside, 0)}`
  return `${JSON.stringify(head).slice(0, -1)},${rows}}`
}

/** Fields in which the two rows differ, as `price 100.25, size 3`, one text for each row. */
const differences = (
  { setAside, stored }: RowConflict,
  writer: RowWriter<MarketBatch>
): readonly [stored: string, setAside: string] => {
  const text = (batch: MarketBatch, field: RowWriter<MarketBatch>["fields"][number]): string =>
    `${field.name} ${field.text(batch, 0) || "absent"}`
  if (stored === undefined) {
    const main = writer.fields.filter(({ name }) => ["price", "size", "side", "open", "close"].includes(name))
    return ["nothing", main.map((field) => text(setAside, field)).join(", ")]
  }
  const different = writer.fields.filter((field) => field.text(stored, 0) !== field.text(setAside, 0))
  return [
    different.map((field) => text(stored, field)).join(", "),
    different.map((field) => text(setAside, field)).join(", ")
  ]
}

const timeOf = (conflict: RowConflict): bigint => {
  const { columns } = conflict.setAside
  return "tsRecv" in columns && MarketSchema.clock(conflict.schema) === "ts_recv"
    ? columns.tsRecv[0]!
    : columns.tsEvent[0]!
}

const print = (
  conflicts: ReadonlyArray<RowConflict>,
  instruments: ReadonlyMap<number, Instrument>,
  session: Session
): Effect.Effect<void> => {
  const writerOf = writers()
  const iso = isoFormatter()
  const lines = table(
    [
      { header: "time" },
      { header: "symbol" },
      { header: "schema" },
      { header: "stored" },
      { header: "set aside", paint: session.out.red },
      { header: "which was" },
      { header: "by" }
    ],
    conflicts.map((conflict) => [
      iso(timeOf(conflict)),
      instruments.get(conflict.instrument)?.symbol ?? `#${conflict.instrument}`,
      conflict.schema,
      ...differences(conflict, writerOf(conflict)),
      conflict.lost === "new" ? "the new row" : "stored before",
      `${conflict.source.kind} of ${conflict.source.source}`
    ]),
    session.out
  )
  return Output.writeLine(lines.join("\n"))
}

export const conflicts = (session: Session, options: Options): Action =>
  Effect.gen(function* () {
    yield* checkRange(options.start, options.end)
    yield* withStore(
      session,
      Effect.gen(function* () {
        const store = yield* MarketStore
        const { instruments, range, ids } = yield* select(options)
        const found = store.conflicts({ instruments: ids, schema: options.schema, range })
        const limit = options.limit ?? (session.json ? 0 : defaultLimit)
        if (session.json) {
          const [writerOf, iso] = [writers(), isoFormatter()]
          yield* Stream.runForEach(limit === 0 ? found : Stream.take(found, limit), (conflict) => {
            const symbol = instruments.get(conflict.instrument)?.symbol ?? `#${conflict.instrument}`
            return Output.writeLine(jsonOf(conflict, symbol, writerOf(conflict), iso))
          })
          return
        }
        const some = yield* Stream.runCollect(limit === 0 ? found : Stream.take(found, limit + 1))
        const shown = limit === 0 ? some : some.slice(0, limit)
        if (shown.length > 0) yield* print(shown, instruments, session)
        else yield* Output.note(`no conflicts${narrowed(options) ? " of these symbols" : ""} are stored`)
        if (some.length > shown.length)
          yield* Output.note(`the first ${plural(shown.length, "conflict")} of more; --limit 0 shows all`)
      })
    )
  })
