/**
 * The segment files of a spool: `<number of its first frame, 20 digits>.spool`, appended to and never changed.
 *
 *     | header, 64 bytes | frame | frame | ...
 *
 *     header   0 8 bytes "DMSPOOL\n"    8 u32  version                12 u32  0
 *             16 16 bytes id of the spool
 *             32 u64  first frame      40 u64  rows of all frames before it
 *             48 i64  made at, ns      56 u32  0                      60 u32  CRC-32C over bytes 0..56
 *
 * A file appears under its name with its header whole and on disk, and before the one before it is removed: the newest name
 * tells the running number even where no frame is left.
 */
import { Effect, FileSystem, type PlatformError, type Scope } from "effect"
import * as Crc32c from "./Crc32c.ts"
import * as SpoolFrame from "./SpoolFrame.ts"

/** Bytes before the first frame. */
export const HeaderBytes = 64
const Magic = "DMSPOOL\n"
const Version = 1
const Mode = 0o600

/** What the header of a segment file says. */
export interface SegmentHeader {
  /** Id of the spool, 32 hexadecimal digits. */
  readonly id: string
  readonly first: bigint
  readonly rowsBefore: bigint
  readonly at: bigint
}

/** Name of the file that begins with a frame. */
export const nameOf = (first: bigint): string => `${first.toString().padStart(20, "0")}.spool`

/** First frame of a file by its name; undefined for other names. */
export const firstOf = (name: string): bigint | undefined =>
  /^\d{20}\.spool$/.test(name) ? BigInt(name.slice(0, 20)) : undefined

/** The header as bytes. */
export const encodeHeader = ({ id, first, rowsBefore, at }: SegmentHeader): Uint8Array => {
  const bytes = new Uint8Array(HeaderBytes)
  const view = new DataView(bytes.buffer)
  bytes.set(new TextEncoder().encode(Magic))
  view.setUint32(8, Version, true)
  for (let i = 0; i < 16; i++) bytes[16 + i] = Number.parseInt(id.slice(2 * i, 2 * i + 2), 16)
  view.setBigUint64(32, first, true)
  view.setBigUint64(40, rowsBefore, true)
  view.setBigInt64(48, at, true)
  view.setUint32(60, Crc32c.of(bytes.subarray(0, 56)), true)
  return bytes
}

/** The header in front of a file's bytes. "newer": written by a version that this program does not know. */
export const decodeHeader = (bytes: Uint8Array): SegmentHeader | "short" | "damaged" | "newer" => {
  if (bytes.length < HeaderBytes) return "short"
  const view = new DataView(bytes.buffer, bytes.byteOffset, HeaderBytes)
  if (new TextDecoder().decode(bytes.subarray(0, 8)) !== Magic) return "damaged"
  if (view.getUint32(60, true) !== Crc32c.of(bytes.subarray(0, 56))) return "damaged"
  if (view.getUint32(56, true) !== 0) return "damaged"
  if (view.getUint32(8, true) !== Version) return "newer"
  const id = Array.from(bytes.subarray(16, 32), (byte) => byte.toString(16).padStart(2, "0")).join("")
  return {
    id,
    first: view.getBigUint64(32, true),
    rowsBefore: view.getBigUint64(40, true),
    at: view.getBigInt64(48, true)
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// What is in a file

/** A stretch of a file in which there is no whole frame. */
export interface DamagedStretch {
  readonly offset: number
  readonly bytes: number
  /** Numbers of the frames that should be there, both inclusive. */
  readonly from: bigint
  readonly to: bigint
}

/** What the newest file holds. */
export interface Contents {
  /** Number that the next frame gets. */
  readonly next: bigint
  readonly rows: bigint
  /** Where the last whole frame ends; what lies behind it was never finished. */
  readonly end: number
  readonly damaged: ReadonlyArray<DamagedStretch>
}

/** Looks at every frame of a file whose first frame is `first`. */
export const examine = (memory: SpoolFrame.FrameMemory, length: number, first: bigint): Contents => {
  const damaged: Array<DamagedStretch> = []
  let [offset, next, rows] = [HeaderBytes, first, 0n]
  while (offset < length) {
    const found = frameFrom(memory, offset, length, next)
    if (found === undefined) break
    const { header } = found
    if (header.number > next)
      damaged.push({ offset, bytes: found.offset - offset, from: next, to: header.number - 1n })
    next = header.number + 1n
    rows += BigInt(header.rows)
    offset = found.offset + header.bytes
  }
  return { next, rows, end: Math.min(offset, length), damaged }
}

/** The frame at `offset` where it is whole, else the next one behind it. */
export const frameFrom = (
  memory: SpoolFrame.FrameMemory,
  offset: number,
  end: number,
  least: bigint
): { readonly offset: number; readonly header: SpoolFrame.FrameHeader } | undefined => {
  const header = SpoolFrame.inspect(memory, offset, end)
  if (typeof header === "object" && header.number >= least) return { offset, header }
  return SpoolFrame.find(memory, offset + SpoolFrame.Unit, end, least)
}

// ---------------------------------------------------------------------------------------------------------------------
// On disk

/** Whole content of a file. */
export const load = Effect.fnUntraced(function* (path: string) {
  const fs = yield* FileSystem.FileSystem
  const bytes = yield* fs.readFile(path)
  return { memory: SpoolFrame.FrameMemory.of(bytes), length: bytes.length }
})

/** The first bytes of a file, as many as a header has where there are that many. */
export const loadHeader = (
  path: string
): Effect.Effect<Uint8Array, PlatformError.PlatformError, FileSystem.FileSystem> =>
  Effect.scoped(
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const file = yield* fs.open(path)
      const bytes = new Uint8Array(HeaderBytes)
      const count = yield* file.read(bytes, { position: 0n })
      return bytes.subarray(0, count)
    })
  )

/** Makes changes of names in a folder last. Systems that do not open folders keep them by themselves. */
export const syncFolder = (
  folder: string
): Effect.Effect<void, PlatformError.PlatformError, FileSystem.FileSystem> =>
  Effect.scoped(
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const opened = yield* Effect.result(fs.open(folder))
      if (opened._tag === "Success") yield* opened.success.sync
    })
  )

/** Makes a file with its header, whole and on disk before it has its name; in place of one of the same name. */
export const create = Effect.fnUntraced(function* (folder: string, path: string, header: SegmentHeader) {
  const fs = yield* FileSystem.FileSystem
  const draft = `${path}.new`
  yield* Effect.scoped(
    Effect.gen(function* () {
      const file = yield* fs.open(draft, { flag: "w", mode: Mode })
      yield* file.writeAll(encodeHeader(header))
      yield* file.sync
    })
  )
  yield* fs.rename(draft, path)
  yield* syncFolder(folder)
})

/** Opens a file to append to it. */
export const openToAppend = (
  path: string
): Effect.Effect<FileSystem.File, PlatformError.PlatformError, FileSystem.FileSystem | Scope.Scope> =>
  Effect.flatMap(FileSystem.FileSystem, (fs) => fs.open(path, { flag: "a", mode: Mode }))

/** What the file system said, with the words of the operating system where it gave any: `ENOSPC: no space left on device`. */
export const ioDetail = ({ message, reason }: PlatformError.PlatformError): string =>
  reason.cause instanceof Error ? reason.cause.message : message
