/** Imports files into the store; a bad file is reported, the others are still imported. */
import { FileImport } from "@data-manager/core"
import { dbnFile } from "@data-manager/providers-databento"
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { Clock, Effect, Stream } from "effect"
import type { Action } from "../Action.ts"
import { requireBulkProfile } from "../BulkProfile.ts"
import { withStore } from "../Database.ts"
import { DbnContent, isFragment, kindName, readBlocks } from "../DbnFile.ts"
import { CommandError, partlyFailed } from "../ExitCode.ts"
import { expand, type FoundFile } from "../FilePattern.ts"
import { type FileOutcome, outcomeJson, outcomeNotes, outcomeTable } from "../ImportReport.ts"
import { bytes, grouped, plural } from "../NumberText.ts"
import * as Output from "../Output.ts"
import { progressWriter } from "../Progress.ts"
import type { Session } from "../Session.ts"
import { table } from "../Table.ts"
import { isoFormatter, short } from "../TimeText.ts"

interface Options {
  readonly files: ReadonlyArray<string>
  readonly dryRun: boolean
  readonly dataset: string | undefined
  readonly dbnVersion: number | undefined
  readonly tsOut: boolean
  readonly replace: boolean
  readonly bulk: boolean
  readonly again: boolean
}

/** Imports and gathers what became of each file; also used by `dm demo`. */
export const runImport = (
  session: Session,
  files: ReadonlyArray<FoundFile>,
  options: Pick<Options, "dataset" | "dbnVersion" | "tsOut" | "replace" | "bulk" | "again">
) =>
  Effect.gen(function* () {
    const progress = progressWriter(session.watched)
    const sizes = new Map(files.map(({ path, bytes: size }) => [path, size]))
    const bytesTotal = files.reduce((total, file) => total + file.bytes, 0)
    const started = yield* Clock.currentTimeMillis
    const outcomes: Array<FileOutcome> = []
    let bytesDone = 0
    let rowsDone = 0
    const end = (outcome: FileOutcome): Effect.Effect<void> => {
      outcomes.push(outcome)
      bytesDone += outcome.bytes
      rowsDone += outcome.summary.inserted + outcome.summary.duplicates + outcome.summary.resumed
      if (outcome.error === undefined) return Effect.void
      progress.clear()
      return Output.note(`dm: ${outcome.summary.path}: ${outcome.error.message}`)
    }
    const onEvent = (event: FileImport.ImportEvent): Effect.Effect<void> => {
      switch (event._tag) {
        case "FileStarted":
          return Effect.void
        case "Progress":
          return Effect.map(Clock.currentTimeMillis, (now) =>
            progress.show({
              label: event.path,
              rows: rowsDone + event.rows,
              bytesRead: bytesDone + event.bytesRead,
              bytesTotal,
              elapsedSeconds: (now - started) / 1000
            })
          )
        case "FileDone":
          return end({ summary: event.summary, bytes: sizes.get(event.summary.path) ?? 0, error: undefined })
        case "FileFailed":
          return end({
            summary: event.summary,
            bytes: sizes.get(event.summary.path) ?? 0,
            error: event.error
          })
      }
    }
    const sources = files.map(({ path, bytes: size }) =>
      dbnFile(path, size, {
        dataset: options.dataset,
        dbnVersion: options.dbnVersion as 1 | 2 | 3 | undefined,
        tsOut: options.tsOut ? true : undefined
      })
    )
    yield* FileImport.run(sources, {
      onConflict: options.replace ? "replace" : "keep",
      profile: options.bulk ? "bulk" : undefined,
      again: options.again
    }).pipe(
      Stream.runForEach(onEvent),
      Effect.ensuring(Effect.sync(progress.clear)),
      Effect.onInterrupt(() =>
        Output.note(
          `dm: interrupted; ${plural(rowsDone, "row")} of whole files are stored, the same command continues`
        )
      ),
      Effect.provide(NodeFileSystem.layer)
    )
    const order = new Map(files.map(({ path }, index) => [path, index]))
    outcomes.sort((a, b) => order.get(a.summary.path)! - order.get(b.summary.path)!)
    return { outcomes, elapsed: ((yield* Clock.currentTimeMillis) - started) / 1000 }
  })

interface Glance {
  readonly file: FoundFile
  readonly content: DbnContent
  readonly problem: string | undefined
}

const glance = (file: FoundFile, options: Options): Effect.Effect<Glance> =>
  Effect.gen(function* () {
    const content = new DbnContent()
    const result = yield* Effect.result(
      readBlocks(file.path, { ...options, upgrade: false }, (block, container) =>
        Effect.sync(() => {
          content.add(block, container)
          return true
        })
      )
    )
    return { file, content, problem: result._tag === "Failure" ? result.failure.message : undefined }
  })

const spanOf = (content: DbnContent): readonly [bigint, bigint] | undefined =>
  content
    .kinds()
    .flatMap(({ range }) => (range === undefined ? [] : [range]))
    .reduce<readonly [bigint, bigint] | undefined>(
      (all, [first, last]) =>
        all === undefined ? [first, last] : [first < all[0] ? first : all[0], last > all[1] ? last : all[1]],
      undefined
    )

const glanceRow = ({ file, content, problem }: Glance, options: Options): ReadonlyArray<string> => {
  const span = spanOf(content)
  return [
    file.path,
    content.metadata?.dataset ?? options.dataset ?? "",
    content.metadata?.schema ?? (isFragment(file.path, options) ? "fragment" : ""),
    content.metadata?.version === 0 ? "DBZ" : `${content.version}`,
    content
      .kinds()
      .map(({ rtype, count }) => `${kindName(rtype)} ${grouped(count)}`)
      .join(", "),
    grouped(content.instruments.count),
    span === undefined ? "" : short(span[0]),
    span === undefined ? "" : short(span[1]),
    bytes(file.bytes),
    problem === undefined ? "" : "failed"
  ]
}

const glanceJson = ({ file, content, problem }: Glance): object => {
  const iso = isoFormatter()
  const span = spanOf(content)
  return {
    path: file.path,
    bytes: file.bytes,
    dataset: content.metadata?.dataset ?? null,
    schema: content.metadata?.schema ?? null,
    version: content.metadata?.version ?? null,
    container: content.container,
    records: content.total,
    kinds: Object.fromEntries(content.kinds().map(({ rtype, count }) => [kindName(rtype), count])),
    instruments: content.instruments.count,
    first: span === undefined ? null : iso(span[0]),
    last: span === undefined ? null : iso(span[1]),
    error: problem ?? null
  }
}

const dryRun = (
  session: Session,
  options: Options,
  files: ReadonlyArray<FoundFile>,
  problems: ReadonlyArray<string>
): Action =>
  Effect.gen(function* () {
    const glances = yield* Effect.forEach(files, (file) => glance(file, options))
    const bad = glances.flatMap(({ problem }) => (problem === undefined ? [] : [problem]))
    if (session.json) yield* Output.writeLine(JSON.stringify({ files: glances.map(glanceJson), problems }))
    else {
      const lines = table(
        [
          { header: "file" },
          { header: "dataset" },
          { header: "schema" },
          { header: "version", align: "right" },
          { header: "records" },
          { header: "instruments", align: "right" },
          { header: "first ts_event" },
          { header: "last ts_event" },
          { header: "size", align: "right" },
          { header: "", paint: session.out.red }
        ],
        glances.map((one) => glanceRow(one, options)),
        session.out
      )
      if (glances.length > 0) yield* Output.writeLine(lines.join("\n"))
      yield* Effect.forEach(bad, (problem) => Output.note(`dm: ${problem}`), { discard: true })
      yield* Output.note("nothing was written; run without --dry-run to import")
    }
    if (bad.length + problems.length > 0) return yield* partlyFailed
  })

export const importFiles = (session: Session, options: Options): Action =>
  Effect.gen(function* () {
    const { files, problems } = yield* expand(options.files, session.cwd)
    const told = problems.map(({ message }) => message)
    yield* Effect.forEach(told, (message) => Output.note(`dm: ${message}`), { discard: true })
    if (files.length === 0) {
      if (session.json) yield* Output.writeLine(JSON.stringify(outcomeJson([], told, 0)))
      if (told.length > 0) return yield* partlyFailed
      return yield* new CommandError({ message: "no files to import" })
    }
    if (options.dryRun) return yield* dryRun(session, options, files, told)
    const { outcomes, elapsed } = yield* withStore(
      session,
      Effect.andThen(requireBulkProfile(options.bulk), runImport(session, files, options))
    )
    if (session.json) yield* Output.writeLine(JSON.stringify(outcomeJson(outcomes, told, elapsed)))
    else {
      const lines = [...outcomeTable(outcomes, session.out), "", ...outcomeNotes(outcomes, elapsed)]
      yield* Output.writeLine(lines.join("\n"))
    }
    if (told.length > 0 || outcomes.some(({ error }) => error !== undefined)) return yield* partlyFailed
  })
