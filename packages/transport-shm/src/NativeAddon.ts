/**
 * The native side of the ring and where it comes from: in a checkout a build from source that takes seconds and is kept,
 * elsewhere the prebuilt package of this platform. Types here mirror `native/src/addon.c`.
 */
import { spawnSync } from "node:child_process"
import { existsSync } from "node:fs"
import { createRequire } from "node:module"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { TransportError, TransportIncompatible } from "@data-manager/core"

/** What `poll` answers; below zero are errors. */
export const PollStatus = { Empty: 0, Rows: 1, Gap: 2, Dictionary: 3, Scanned: 4, Epoch: 5 } as const

/** Words of a cursor's control block; `limit`, `offset` and `room` are arguments of the next poll. */
export const CursorWord = {
  count: 0,
  next: 1,
  written: 2,
  gapFrom: 3,
  gapTo: 4,
  dictCount: 5,
  epoch: 6,
  lost: 7,
  gaps: 8,
  delivered: 9,
  suppressed: 10,
  state: 11,
  groups: 12,
  demoted: 13,
  durable: 14,
  controls: 15,
  corrupt: 16,
  complete: 17,
  status: 18,
  placed: 19,
  limit: 20,
  offset: 21,
  room: 22,
  replay: 23,
  firstGroup: 24,
  replayed: 120
} as const

/** Words of a producer's control block; `rows`, `context`, `room` and the columns are arguments of the next publish. */
export const ProducerWord = {
  writeSeq: 0,
  epoch: 1,
  wakes: 2,
  demotions: 3,
  dictCount: 4,
  missing: 5,
  rows: 6,
  context: 7,
  room: 8,
  firstColumn: 12,
  firstMiss: 40
} as const

/** A dictionary entry, as text and numbers. */
export interface NativeEntry {
  readonly index: number
  readonly type: number
  readonly nativeId: number
  readonly keyKind: number
  readonly priceScale: number
  readonly sizeScale: number
  readonly assetClass: number
  readonly context: number
  readonly publisher: number
  /** Sequence after the newest row of the instrument; 0: none. */
  readonly lastSeq: number
  readonly symbol: string
  readonly dataset: string
  readonly provider: string
  readonly exchange: string
}

/** The write side of one segment. */
export interface NativeProducer {
  readonly control: Float64Array
  /** The same memory as 32-bit words: byte offsets of columns stand from `2 * firstColumn` on. */
  readonly controlWords: Uint32Array
  readonly takenOver: boolean
  readonly repaired: number
  /** First sequence of the segment. */
  readonly baseSeq: number
  readonly capacity: number
  readonly bytes: number
  /** Arguments and the answer, `missing`, stand in the control block: there numbers cost a tenth. */
  readonly publishTrades: (buffer: ArrayBuffer, texts?: Uint8Array, lengths?: Uint8Array) => void
  readonly publishQuotes: (buffer: ArrayBuffer) => void
  readonly addEntry: (
    type: number,
    nativeId: number,
    keyKind: number,
    priceScale: number,
    sizeScale: number,
    assetClass: number,
    context: number,
    publisher: number,
    symbol: string,
    provider: string,
    exchange: string,
    datasetBytes: number
  ) => number
  readonly bindInstrument: (context: number, nativeId: number, index: number) => number
  readonly bindPublisher: (context: number, publisher: number) => number
  readonly publishGap: (record: Uint8Array) => void
  readonly markDurable: (position: number) => void
  /** Rows from here on are a replay, until `endReplay` or the next one; times in ns, speed in thousandths, 0: at once. */
  readonly beginReplay: (start: bigint, end: bigint, speedMilli: number, cause: number) => void
  readonly endReplay: () => void
  readonly heartbeat: () => void
  readonly connections: () => number
  readonly entries: (from: number) => ReadonlyArray<NativeEntry | null>
  readonly renew: () => void
  readonly close: () => void
}

/** What the header of a segment says. */
export interface NativeInfo {
  readonly abiMinor: number
  readonly epoch: number
  readonly capacity: number
  readonly recordSize: number
  readonly recordSchema: number
  readonly bytes: number
  readonly baseSeq: number
  readonly dictCap: number
  readonly dictCount: number
  readonly writeSeq: number
  readonly durableSeq: number
  readonly state: number
  readonly producerPid: number
  readonly startTimeMs: number
  readonly heartbeatTimeMs: number
  readonly uuid: string
  readonly previousUuid: string
  readonly bootId: string
  readonly epochs: ReadonlyArray<{ readonly epoch: number; readonly firstSeq: number }>
}

/** A stretch of records that are a replay. */
export interface NativeReplay {
  /** From 1. */
  readonly number: number
  readonly firstSeq: number
  /** -1: it goes on. */
  readonly endSeq: number
  readonly start: bigint
  readonly end: bigint
  readonly speedMilli: number
  readonly cause: number
}

/** One mapped segment. */
export interface NativeSegment {
  readonly recordSchema: number
  readonly baseSeq: number
  readonly capacity: number
  readonly uuid: string
  readonly previousUuid: string
  readonly entries: (from: number) => ReadonlyArray<NativeEntry | null>
  readonly alive: () => boolean
  readonly isCurrent: () => boolean
  readonly epochStart: (epoch: number) => number
  readonly oldest: () => number
  readonly seekTime: (wallNs: bigint) => number
  readonly info: () => NativeInfo
  /** Stretches that are remembered, newest first. */
  readonly replays: () => ReadonlyArray<NativeReplay>
  readonly cursor: (
    start: number,
    client: string,
    mode: number,
    blocking: number,
    attach: number,
    columnOffsets: Uint32Array
  ) => NativeCursor
  readonly close: () => void
}

/** A reading place on a segment. */
export interface NativeCursor {
  readonly control: Float64Array
  readonly row: number
  /**
   * Arguments and the answer stand in the control block. Rows of one context go to `buffer` at once where `room` allows,
   * which `placed` says.
   */
  readonly poll: (buffer: ArrayBuffer) => void
  /** `poll` once there is something, or after so long. */
  readonly spin: (buffer: ArrayBuffer, micros: number) => void
  readonly take: (group: number, buffer: ArrayBuffer, capacity: number, offset: number) => number
  readonly texts: (group: number) => ReadonlyArray<string>
  readonly controls: () => ReadonlyArray<ArrayBuffer>
  readonly last: (instrument: number, before: number, depth: number) => number
  readonly setFilter: (indexes: Uint32Array | null) => void
  readonly setKnown: (count: number) => void
  readonly setUntil: (sequence: number) => void
  readonly setEpoch: (epoch: number) => void
  readonly arm: () => boolean
  readonly heartbeat: () => void
  readonly bell: () => number
  readonly close: () => void
}

/** A reader's row in the control file. */
export interface NativeReaderRow {
  readonly row: number
  readonly alive: boolean
  readonly pid: number
  readonly name: string
  readonly readSeq: number
  readonly delivered: number
  readonly suppressed: number
  readonly gaps: number
  readonly lost: number
  readonly mode: number
  readonly demoted: number
  readonly startTimeMs: number
}

/** The functions of the addon. All throw errors with a `code` beginning with `DM_`. */
export interface NativeAddon {
  readonly abiMajor: number
  readonly openProducer: (
    dir: string,
    name: string,
    capacity: number,
    schema: number,
    dictCap: number,
    timeInterval: number,
    blockMicros: number,
    group: number,
    columnOffsets: Uint32Array
  ) => NativeProducer
  readonly openSegment: (dir: string, name: string, owner: number) => NativeSegment
  readonly listReaders: (dir: string, name: string, owner: number) => ReadonlyArray<NativeReaderRow>
  readonly clean: (dir: string, name: string, olderThanMs: number, dryRun: boolean) => number
}

/** What `clean` answers, see `dm_cleaning` in `native/src/ring.h`. From `unfinished` on the files are gone. */
export const Cleaned = {
  live: 0,
  readers: 1,
  young: 2,
  foreign: 3,
  unfinished: 16,
  damaged: 17,
  otherBoot: 18,
  closed: 19,
  retired: 20,
  silent: 21
} as const

const alternative =
  "use a network transport or an in-process subscription here, or install a C compiler and build from a checkout"

/** The error of a machine on which the ring cannot run. */
export const unsupported = (detail: string, cause?: unknown): TransportError =>
  new TransportError({
    transport: "shm",
    operation: "load",
    reason: new TransportIncompatible({
      detail: `no shared-memory ring for ${process.platform}-${process.arch}: ${detail}`,
      hint: alternative
    }),
    cause
  })

const require = createRequire(import.meta.url)
const buildScript = join(dirname(fileURLToPath(import.meta.url)), "..", "native", "build.mjs")

/** The addon of a checkout, built from exactly these sources; where it cannot be, why. Installed packages have no script. */
const localBuild = (): { readonly file: string | undefined; readonly problem: string } => {
  if (!existsSync(buildScript)) return { file: undefined, problem: "" }
  const result = spawnSync(process.execPath, [buildScript, "--print"], { encoding: "utf8" })
  if (result.status === 0) return { file: result.stdout.trim(), problem: "" }
  return { file: undefined, problem: `${(result.stderr || String(result.error)).trim()}, and ` }
}

const platformPackage = `@data-manager/transport-shm-${process.platform}-${process.arch}`

/** The addon of a checkout, else of the platform's package. */
const find = (): string => {
  const { file, problem } = localBuild()
  if (file !== undefined) return file
  try {
    return require.resolve(platformPackage)
  } catch {
    throw unsupported(`${problem}there is no prebuilt package ${platformPackage}`)
  }
}

let loaded: NativeAddon | undefined

/** The addon of this platform; throws a `TransportError` naming the platform and the alternative where there is none. */
export const load = (): NativeAddon => {
  if (loaded !== undefined) return loaded
  if (process.platform === "win32") throw unsupported("Windows has no such files and locks")
  const file = process.env.DM_RING_ADDON ?? find()
  try {
    loaded = require(file) as NativeAddon
  } catch (cause) {
    throw unsupported(`${file} does not load: ${cause instanceof Error ? cause.message : cause}`, cause)
  }
  return loaded
}
