/** Streams stored rows out as CSV or JSON lines. */
import { Clock, Effect, Stream } from "effect"
import type { Action } from "../Action.ts"
import { withStore } from "../Database.ts"
import { UsageError } from "../ExitCode.ts"
import { bytes, plural, rate, seconds } from "../NumberText.ts"
import * as Output from "../Output.ts"
import { progressWriter } from "../Progress.ts"
import * as RowRead from "../RowRead.ts"
import { type RowWriter, rowWriter } from "../RowText.ts"
import type { Session } from "../Session.ts"
import * as Sink from "../Sink.ts"
import { askedRange, lookUpAll } from "../SymbolLookup.ts"

type Options = RowRead.RowSelection & {
  readonly names: ReadonlyArray<string>
  readonly symbols: ReadonlyArray<string>
  readonly start: bigint | undefined
  readonly end: bigint | undefined
  readonly format: "auto" | "csv" | "jsonl"
  readonly output: string
  readonly compress: "auto" | Sink.Compression
  readonly force: boolean
}

type AnyBatch = RowRead.AnyBatch

/** By the end of the name: `es.csv.zst` is compressed CSV. */
export const formOf = (
  options: Pick<Options, "format" | "output" | "compress">,
  json: boolean
): { readonly format: "csv" | "jsonl"; readonly compression: Sink.Compression } => {
  const packed = /\.(gz|zst)$/i.exec(options.output)?.[1]?.toLowerCase()
  const name = options.output.replace(/\.(gz|zst)$/i, "")
  const named = /\.(jsonl|ndjson|json)$/i.test(name) ? "jsonl" : /\.csv$/i.test(name) ? "csv" : undefined
  return {
    format: options.format === "auto" ? (named ?? (json ? "jsonl" : "csv")) : options.format,
    compression:
      options.compress !== "auto"
        ? options.compress
        : packed === "gz"
          ? "gzip"
          : packed === "zst"
            ? "zstd"
            : "none"
  }
}

/** Rows that are read at a time. The text of a row is larger than the row: small batches keep memory small. */
const batchRows = 16_384

/** Rows per piece of text that is handed on: large enough to be cheap, small enough to be forgotten soon. */
const rowsPerWrite = 512

const writeBatch = (
  sink: Sink.Sink,
  line: (batch: AnyBatch, i: number) => string,
  batch: AnyBatch,
  onText: (text: string) => void
) =>
  Effect.gen(function* () {
    for (let from = 0; from < batch.length; from += rowsPerWrite) {
      const to = Math.min(batch.length, from + rowsPerWrite)
      let text = ""
      for (let i = from; i < to; i++) text += `${line(batch, i)}\n`
      onText(text)
      yield* sink.write(text)
    }
  })

const symbolsOf = (options: Options): ReadonlyArray<string> => [...options.names, ...options.symbols]

interface Written {
  readonly rows: number
  readonly characters: number
}

const writeRows = (options: Options, session: Session, sink: Sink.Sink, format: "csv" | "jsonl") =>
  Effect.gen(function* () {
    const range = askedRange(options.start, options.end)
    const instruments = yield* lookUpAll(symbolsOf(options), range)
    const ids = instruments.map(({ id }) => id)
    const have = yield* RowRead.held(options, ids)
    if (have !== undefined && have.others.length > 0)
      yield* Output.note(`writing ${have.schema}; also held: ${have.others.join(", ")} (--schema)`)
    const writer = rowWriter(options.kind) as RowWriter<AnyBatch>
    const progress = progressWriter(session.watched && options.output !== "-")
    const started = yield* Clock.currentTimeMillis
    let rows = 0
    let characters = 0
    if (format === "csv") yield* sink.write(`${writer.csvHeader}\n`)
    const period = have === undefined ? undefined : RowRead.rangeOf(options, have, options.start, options.end)
    if (have !== undefined && period !== undefined && period.start < period.end)
      yield* RowRead.read(options, have.schema, ids, period, batchRows).pipe(
        Stream.runForEach((batch) =>
          Effect.gen(function* () {
            yield* writeBatch(sink, format === "csv" ? writer.csv : writer.json, batch, (text) => {
              characters += text.length
            })
            rows += batch.length
            const elapsedSeconds = ((yield* Clock.currentTimeMillis) - started) / 1000
            progress.show({
              label: options.output,
              rows,
              bytesRead: characters,
              bytesTotal: 0,
              elapsedSeconds
            })
          })
        ),
        Effect.ensuring(Effect.sync(progress.clear))
      )
    return { rows, characters } satisfies Written
  })

const report = (
  session: Session,
  options: Options,
  written: Written,
  elapsed: number
): Effect.Effect<void> => {
  const { rows, characters } = written
  if (session.json && options.output !== "-")
    return Output.writeLine(JSON.stringify({ file: options.output, rows, text_bytes: characters }))
  const where = options.output === "-" ? "" : ` to ${options.output}`
  const speed = rows > 0 && elapsed >= 0.1 ? `, ${rate(rows, elapsed)}` : ""
  const line = `wrote ${plural(rows, "row")} (${bytes(characters)} of text)${where} in ${seconds(elapsed)}${speed}`
  return options.output !== "-" || session.watched || rows === 0 ? Output.note(line) : Effect.void
}

export const exportRows = (session: Session, options: Options): Action =>
  Effect.gen(function* () {
    yield* RowRead.checkRange(options.start, options.end)
    yield* RowRead.checkSelection(options)
    if (symbolsOf(options).length === 0)
      return yield* new UsageError({ message: "name at least one symbol, as an argument or with --symbols" })
    const { format, compression } = formOf(options, session.json)
    const started = yield* Clock.currentTimeMillis
    const written = yield* Effect.scoped(
      Effect.gen(function* () {
        const sink = yield* Sink.open({ path: options.output, compression, force: options.force })
        const result = yield* withStore(session, writeRows(options, session, sink, format))
        yield* sink.finish
        return result
      })
    )
    yield* report(session, options, written, ((yield* Clock.currentTimeMillis) - started) / 1000)
  })
