/** Looks at the shared-memory rings of this host, and removes those that nobody can need. */
import { TransportError } from "@data-manager/core"
import { defaultDirectory, RingInspection } from "@data-manager/transport-shm"
import { Effect } from "effect"
import type { Action } from "../Action.ts"
import { partlyFailed } from "../ExitCode.ts"
import { bytes, grouped, plural } from "../NumberText.ts"
import * as Output from "../Output.ts"
import { type RingPlaceOptions, ringPlace } from "../RingPlace.ts"
import type { Session } from "../Session.ts"
import { facts, printable, table } from "../Table.ts"
import { isoFormatter, short } from "../TimeText.ts"

type Inspection = RingInspection.RingInspection

/** What the transport throws as its typed error; anything else is a defect. */
const attempt = <A>(work: () => A): Effect.Effect<A, TransportError> =>
  Effect.suspend(() => {
    try {
      return Effect.succeed(work())
    } catch (error) {
      return error instanceof TransportError ? Effect.fail(error) : Effect.die(error)
    }
  })

const nanos = (millis: number): bigint => BigInt(Math.round(millis)) * 1_000_000n
const modes = ["park", "linger", "spin"] as const
const modeName = (mode: number): string => modes[mode] ?? `${mode}`
const firstInstruments = 10
const sampleMillis = 500

// ---------------------------------------------------------------------------------------------------------------------
// inspect

const inspectionJson = (ring: Inspection): unknown => {
  const { header } = ring
  const iso = isoFormatter()
  const time = (millis: number): string | null => (millis === 0 ? null : iso(nanos(millis)))
  return {
    name: ring.name,
    dir: ring.dir,
    kind: ring.kind,
    abi: `1.${header.abiMinor}`,
    state: ring.state,
    producer: {
      alive: ring.alive,
      pid: header.producerPid,
      epoch: `${header.epoch}`,
      started: time(header.startTimeMs),
      heartbeat: time(header.heartbeatTimeMs)
    },
    capacity: header.capacity,
    record_bytes: header.recordSize,
    bytes: header.bytes,
    position: `${header.writeSeq}`,
    base: `${header.baseSeq}`,
    durable: `${header.durableSeq}`,
    rows_per_second: ring.rate === undefined ? null : Math.round(ring.rate),
    epochs: header.epochs.map(({ epoch, firstSeq }) => ({ epoch: `${epoch}`, first: `${firstSeq}` })),
    replays: ring.replays.map(({ cause, first, last, range, speed }) => ({
      cause,
      start: iso(range.start),
      end: iso(range.end),
      speed: speed === 0 ? "max" : speed,
      first: `${first}`,
      last: last === undefined ? null : `${last}`
    })),
    segment: header.uuid,
    previous_segment: header.previousUuid,
    boot: header.bootId,
    readers: ring.readers.map((reader) => ({
      row: reader.row,
      name: reader.name,
      pid: reader.pid,
      alive: reader.alive,
      mode: modeName(reader.mode),
      started: time(reader.startTimeMs),
      position: `${reader.readSeq}`,
      lag: `${reader.lag}`,
      delivered: `${reader.delivered}`,
      unwanted: `${reader.suppressed}`,
      lost: `${reader.lost}`,
      gaps: `${reader.gaps}`,
      demoted: reader.demoted
    })),
    dictionary: {
      capacity: header.dictCap,
      entries: header.dictCount,
      instruments: ring.instruments.map((one) => ({
        index: one.id,
        symbol: one.symbol,
        provider: one.provider,
        exchange: one.exchange ?? null,
        asset_class: one.assetClass,
        price_scale: one.priceScale,
        size_scale: one.sizeScale
      }))
    }
  }
}

const producerText = (ring: Inspection): string => {
  const { header, alive, state } = ring
  const since = header.startTimeMs === 0 ? "" : ` since ${short(nanos(header.startTimeMs))}`
  if (alive) return `alive, process ${header.producerPid}, generation ${header.epoch}${since}`
  if (state === "closed") return `none: generation ${header.epoch} closed the ring`
  if (state === "retired") return "none: the ring was replaced by another segment"
  return `none: process ${header.producerPid}, generation ${header.epoch}, died; last heartbeat ${short(nanos(header.heartbeatTimeMs))}`
}

const stretchText = ({ cause, first, last, range }: Inspection["replays"][number]): string => {
  const where = last === undefined ? `from ${grouped(first)} on` : `${grouped(first)} to ${grouped(last)}`
  return `${where}: ${cause} of ${short(range.start)} to ${short(range.end)}`
}

const headerFacts = (ring: Inspection): ReadonlyArray<readonly [string, string]> => {
  const { header } = ring
  const held = Math.min(header.capacity, header.writeSeq - header.baseSeq)
  return [
    ["folder", ring.dir],
    ["holds", `${ring.kind}, ABI 1.${header.abiMinor}, records of ${header.recordSize} bytes`],
    ["size", `${grouped(header.capacity)} rows, ${bytes(header.bytes)}`],
    ["state", ring.state],
    ["producer", producerText(ring)],
    ["position", `${grouped(header.writeSeq)}, the newest ${plural(held, "row")} held`],
    ...(header.durableSeq === 0 ? [] : [["in the store", `before ${grouped(header.durableSeq)}`] as const]),
    ["rate", ring.rate === undefined ? "unknown" : `${grouped(Math.round(ring.rate))} rows/s`],
    [
      "generations",
      header.epochs.map(({ epoch, firstSeq }) => `${epoch} from ${grouped(firstSeq)}`).join(", ")
    ],
    ...ring.replays.map((stretch) => ["replay", stretchText(stretch)] as const)
  ]
}

const readerLines = (ring: Inspection, session: Session): ReadonlyArray<string> => {
  const { out } = session
  const living = ring.readers.filter(({ alive }) => alive)
  if (living.length === 0) return ["no readers"]
  const warn = (cell: string): string => (cell === "0" ? cell : out.yellow(cell))
  const columns = [
    { header: "reader" },
    { header: "process", align: "right" },
    { header: "mode" },
    { header: "position", align: "right" },
    { header: "lag", align: "right" },
    { header: "delivered", align: "right" },
    { header: "unwanted", align: "right" },
    { header: "lost", align: "right", paint: warn },
    { header: "gaps", align: "right", paint: warn }
  ] as const
  const rows = living.map((reader) => [
    reader.name,
    `${reader.pid}`,
    modeName(reader.mode),
    ...[reader.readSeq, reader.lag, reader.delivered, reader.suppressed, reader.lost, reader.gaps].map(
      grouped
    )
  ])
  return table(columns, rows, out)
}

const dictionaryLines = (ring: Inspection, all: boolean, session: Session): ReadonlyArray<string> => {
  const shown = all ? ring.instruments : ring.instruments.slice(0, firstInstruments)
  const more = ring.instruments.length - shown.length
  const { dictCount, dictCap } = ring.header
  return [
    `dictionary: ${grouped(dictCount)} of ${grouped(dictCap)} entries, ${plural(ring.instruments.length, "instrument")}`,
    ...(shown.length === 0
      ? []
      : table(
          [
            { header: "index", align: "right" },
            { header: "symbol" },
            { header: "provider" },
            { header: "exchange" },
            { header: "class" }
          ],
          shown.map((one) => [`${one.id}`, one.symbol, one.provider, one.exchange ?? "", one.assetClass]),
          session.out
        )),
    ...(more > 0 ? [`and ${grouped(more)} more; --all lists them`] : [])
  ]
}

export const inspect = (
  session: Session,
  options: RingPlaceOptions & { readonly name: string | undefined; readonly all: boolean }
): Action =>
  Effect.gen(function* () {
    const place = yield* ringPlace(session, options)
    const location = { ...place, name: options.name ?? place.name }
    const before = yield* attempt(() => RingInspection.inspect(location))
    yield* Effect.sleep(sampleMillis)
    const ring = yield* attempt(() => RingInspection.inspect(location, before))
    if (session.json) return yield* Output.writeLine(JSON.stringify(inspectionJson(ring)))
    const lines = [
      session.out.bold(printable(ring.name)),
      ...facts(headerFacts(ring), session.out),
      "",
      ...readerLines(ring, session),
      "",
      ...dictionaryLines(ring, options.all, session)
    ]
    yield* Output.writeLine(lines.join("\n"))
  })

// ---------------------------------------------------------------------------------------------------------------------
// list

interface Listed {
  readonly name: string
  readonly ring: Inspection | undefined
  readonly problem: string | undefined
}

const look = (place: { dir: string; owner: number | undefined }, name: string): Effect.Effect<Listed> =>
  attempt(() => RingInspection.inspect({ ...place, name })).pipe(
    Effect.map((ring): Listed => ({ name, ring, problem: undefined })),
    Effect.catch((error) => Effect.succeed<Listed>({ name, ring: undefined, problem: error.message }))
  )

const living = (ring: Inspection): number => ring.readers.filter(({ alive }) => alive).length

const listedJson = ({ name, ring, problem }: Listed): unknown =>
  ring === undefined
    ? { name, problem }
    : {
        name,
        kind: ring.kind,
        state: ring.state,
        producer_alive: ring.alive,
        position: `${ring.header.writeSeq}`,
        capacity: ring.header.capacity,
        bytes: ring.header.bytes,
        readers: living(ring),
        instruments: ring.instruments.length
      }

const listedRow = ({ name, ring }: Listed): ReadonlyArray<string> =>
  ring === undefined
    ? [name, "", "unreadable"]
    : [
        name,
        ring.kind,
        ring.alive ? "live" : ring.state === "live" ? "producer died" : ring.state,
        grouped(ring.header.writeSeq),
        bytes(ring.header.bytes),
        `${living(ring)}`,
        grouped(ring.instruments.length)
      ]

export const list = (session: Session, options: RingPlaceOptions): Action =>
  Effect.gen(function* () {
    const { dir = defaultDirectory(), owner } = yield* ringPlace(session, options)
    const found = yield* Effect.forEach(RingInspection.list(dir), (name) => look({ dir, owner }, name))
    if (session.json) return yield* Output.writeLine(JSON.stringify({ dir, rings: found.map(listedJson) }))
    if (found.length === 0) return yield* Output.note(`there is no ring in ${dir}`)
    const lines = table(
      [
        { header: "ring" },
        { header: "holds" },
        { header: "state" },
        { header: "position", align: "right" },
        { header: "size", align: "right" },
        { header: "readers", align: "right" },
        { header: "instruments", align: "right" }
      ],
      found.map(listedRow),
      session.out
    )
    yield* Output.writeLine(lines.join("\n"))
    for (const { name, problem } of found)
      if (problem !== undefined) yield* Output.note(`${printable(name)}: ${problem}`)
  })

// ---------------------------------------------------------------------------------------------------------------------
// clean

interface CleanOptions {
  readonly names: ReadonlyArray<string>
  readonly dryRun: boolean
  readonly olderThan: number | undefined
  readonly dir: string | undefined
}

export const clean = (session: Session, options: CleanOptions): Action =>
  Effect.gen(function* () {
    const { dir = defaultDirectory() } = yield* ringPlace(session, { dir: options.dir, owner: undefined })
    const cleanOf = (name: string | undefined) =>
      attempt(() =>
        RingInspection.clean({
          dir,
          name,
          dryRun: options.dryRun,
          olderThanMillis: options.olderThan === undefined ? undefined : options.olderThan * 1_000
        })
      )
    const names = options.names.length === 0 ? [undefined] : options.names
    const cleaned = (yield* Effect.forEach(names, cleanOf)).flat()
    if (session.json)
      yield* Output.writeLine(JSON.stringify({ dir, dry_run: options.dryRun, rings: cleaned }))
    else if (cleaned.length === 0) yield* Output.note(`there is no ring in ${dir}`)
    else {
      const verb = (outcome: string): string =>
        outcome === "removed" && options.dryRun ? "would be removed" : outcome
      const lines = table(
        [{ header: "ring" }, { header: "outcome" }, { header: "why" }],
        cleaned.map(({ name, outcome, detail }) => [name, verb(outcome), detail]),
        session.out
      )
      yield* Output.writeLine(lines.join("\n"))
    }
    if (cleaned.some(({ outcome }) => outcome === "failed")) yield* partlyFailed
  })
