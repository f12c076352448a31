/** Files as one ZIP archive, stored as they are: what `batch.download` answers. */
import { crc32 } from "node:zlib"

/** A file of the archive. */
export interface ZipEntry {
  readonly name: string
  readonly bytes: Uint8Array
}

const VERSION = 20
/** Names are UTF-8. */
const FLAGS = 0x0800
/** 1 January 1980, the first date that the format has. */
const DATE = 0x0021
const LIMIT = 0xffffffff

/** Fields that local and central headers share, from the version on. */
const common = (view: DataView, at: number, entry: ZipEntry, nameBytes: number): void => {
  view.setUint16(at, VERSION, true)
  view.setUint16(at + 2, FLAGS, true)
  view.setUint16(at + 8, DATE, true)
  view.setUint32(at + 10, crc32(entry.bytes), true)
  view.setUint32(at + 14, entry.bytes.length, true)
  view.setUint32(at + 18, entry.bytes.length, true)
  view.setUint16(at + 22, nameBytes, true)
}

const localHeader = (entry: ZipEntry, name: Uint8Array): Uint8Array => {
  const out = new Uint8Array(30 + name.length)
  const view = new DataView(out.buffer)
  view.setUint32(0, 0x04034b50, true)
  common(view, 4, entry, name.length)
  out.set(name, 30)
  return out
}

const centralHeader = (entry: ZipEntry, name: Uint8Array, offset: number): Uint8Array => {
  const out = new Uint8Array(46 + name.length)
  const view = new DataView(out.buffer)
  view.setUint32(0, 0x02014b50, true)
  view.setUint16(4, VERSION, true)
  common(view, 6, entry, name.length)
  view.setUint32(42, offset, true)
  out.set(name, 46)
  return out
}

/** The archive in pieces. Throws `RangeError` above 4 GiB, which would take another format. */
export function* zipArchive(entries: ReadonlyArray<ZipEntry>): Generator<Uint8Array, void, undefined> {
  const central: Array<Uint8Array> = []
  let offset = 0
  for (const entry of entries) {
    const name = new TextEncoder().encode(entry.name)
    const header = localHeader(entry, name)
    central.push(centralHeader(entry, name, offset))
    offset += header.length + entry.bytes.length
    if (offset > LIMIT) throw new RangeError("a ZIP archive of more than 4 GiB")
    yield header
    yield entry.bytes
  }
  const size = central.reduce((sum, it) => sum + it.length, 0)
  yield* central
  const end = new Uint8Array(22)
  const view = new DataView(end.buffer)
  view.setUint32(0, 0x06054b50, true)
  view.setUint16(8, entries.length, true)
  view.setUint16(10, entries.length, true)
  view.setUint32(12, size, true)
  view.setUint32(16, offset, true)
  yield end
}
