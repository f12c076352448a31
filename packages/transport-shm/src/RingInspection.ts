/** Looking at rings from outside, and removing those that nobody can need: the data behind `dm ring inspect` and `clean`. */
import { existsSync, lstatSync, readdirSync, rmSync } from "node:fs"
import { join } from "node:path"
import type { Instrument, ReplayMark } from "@data-manager/core"
import * as NativeAddon from "./NativeAddon.ts"
import { RingDictionary } from "./RingDictionary.ts"
import { type RingKind, stateNames } from "./RingLayout.ts"
import { defaultDirectory, type RingLocation, resolveLocation } from "./RingLocation.ts"
import { markOf } from "./RingSegment.ts"
import * as ShmError from "./ShmError.ts"

/** A reader as the control file shows it. What a reader writes about itself is not to be trusted. */
export interface ReaderInspection extends NativeAddon.NativeReaderRow {
  /** Records published that it has not read. */
  readonly lag: number
}

/** Rows that are a replay. */
export interface RingStretch extends ReplayMark {
  /** Sequences of the rows; `last` is undefined while more come. */
  readonly first: number
  readonly last: number | undefined
}

/** A ring at one moment. */
export interface RingInspection {
  /** Name of the segment: that of the ring, with `_quotes` for quotes. */
  readonly name: string
  readonly dir: string
  readonly kind: RingKind
  readonly state: (typeof stateNames)[number] | "unknown"
  /** Whether a producer holds the lease. */
  readonly alive: boolean
  readonly header: NativeAddon.NativeInfo
  readonly instruments: ReadonlyArray<Instrument>
  /** The last stretches of rows that are a replay, newest first. */
  readonly replays: ReadonlyArray<RingStretch>
  readonly readers: ReadonlyArray<ReaderInspection>
  /** Records per second between this look and `previous`; undefined without one. */
  readonly rate: number | undefined
  readonly at: number
}

const stretchOf = (found: NativeAddon.NativeReplay): RingStretch => ({
  ...markOf(found),
  first: found.firstSeq,
  last: found.endSeq < 0 ? undefined : found.endSeq - 1
})

/** Looks at a segment without becoming a reader. Throws `TransportError`. */
export const inspect = (location: RingLocation, previous?: RingInspection): RingInspection => {
  const { name, dir, owner } = resolveLocation(location)
  const where = `ring "${name}" in ${dir}`
  try {
    const addon = NativeAddon.load()
    const segment = addon.openSegment(dir, name, owner)
    try {
      const header = segment.info()
      const dictionary = new RingDictionary()
      dictionary.refresh(segment.entries)
      const at = performance.now()
      const readers = addon
        .listReaders(dir, name, owner)
        .map((row) => ({ ...row, lag: Math.max(0, header.writeSeq - row.readSeq) }))
      return {
        name,
        dir,
        kind: header.recordSchema === 1 ? "trades" : "quotes",
        state: stateNames[header.state] ?? "unknown",
        alive: segment.alive(),
        header,
        instruments: dictionary.instruments.filter((instrument) => instrument !== undefined),
        replays: segment.replays().map(stretchOf),
        readers,
        rate:
          previous === undefined
            ? undefined
            : ((header.writeSeq - previous.header.writeSeq) * 1_000) / Math.max(1e-3, at - previous.at),
        at
      }
    } finally {
      segment.close()
    }
  } catch (cause) {
    throw ShmError.fromThrown("inspect", where, cause)
  }
}

/** Names of the segments in a directory. */
export const list = (dir: string = defaultDirectory()): ReadonlyArray<string> => {
  try {
    return readdirSync(dir)
      .filter((file) => file.endsWith(".ring") && !file.startsWith("."))
      .map((file) => file.slice(0, -".ring".length))
      .sort()
  } catch {
    return []
  }
}

/** What became of a segment; `failed`: it could not be looked at or removed. */
export interface Cleaning {
  /** Name of the segment; of what a creation left behind, the name of the file. */
  readonly name: string
  readonly outcome: "removed" | "kept" | "failed"
  /** Why. */
  readonly detail: string
}

/** What to clean. */
export interface CleanOptions {
  readonly dir?: string | undefined
  /** One segment alone; default all of the directory. */
  readonly name?: string | undefined
  /** How long the producer must have been silent, where its end was not orderly; default one minute. */
  readonly olderThanMillis?: number | undefined
  /** Say what would be removed, and remove nothing. */
  readonly dryRun?: boolean | undefined
}

const { Cleaned } = NativeAddon
const cleanings: { readonly [code: number]: readonly [Cleaning["outcome"], string] } = {
  [Cleaned.live]: ["kept", "a producer holds it"],
  [Cleaned.readers]: ["kept", "living readers wait for its next producer"],
  [Cleaned.young]: ["kept", "its producer died a moment ago and may come back"],
  [Cleaned.foreign]: ["kept", "not a ring: another program's file"],
  [Cleaned.unfinished]: ["removed", "never finished"],
  [Cleaned.damaged]: ["removed", "its header is damaged"],
  [Cleaned.otherBoot]: ["removed", "from before the last boot"],
  [Cleaned.closed]: ["removed", "its producer closed it"],
  [Cleaned.retired]: ["removed", "replaced by another segment"],
  [Cleaned.silent]: ["removed", "its producer died"]
}

const cleanOne = (dir: string, name: string, olderThan: number, dryRun: boolean): Cleaning => {
  try {
    const [outcome, detail] = cleanings[NativeAddon.load().clean(dir, name, olderThan, dryRun)]!
    return { name, outcome, detail }
  } catch (cause) {
    const { message, reason } = ShmError.fromThrown("clean", `ring "${name}" in ${dir}`, cause)
    return { name, outcome: reason._tag === "TransportIncompatible" ? "kept" : "failed", detail: message }
  }
}

const temporaryFile = /^\.[A-Za-z0-9._-]{1,64}\.[0-9a-f]{16}$/

/** Files of producers that were killed while they made a ring: as large as the ring, and under a name of their own. */
const cleanTemporary = (dir: string, olderThan: number, dryRun: boolean): ReadonlyArray<Cleaning> =>
  readdirSync(dir)
    .filter((name) => temporaryFile.test(name))
    .flatMap((name): ReadonlyArray<Cleaning> => {
      const path = join(dir, name)
      const found = lstatSync(path, { throwIfNoEntry: false })
      if (found?.isFile() !== true || found.uid !== process.getuid?.()) return []
      if (Date.now() - found.ctimeMs < olderThan)
        return [{ name, outcome: "kept", detail: "a producer may be making it" }]
      if (!dryRun) rmSync(path, { force: true })
      return [{ name, outcome: "removed", detail: "never finished" }]
    })

/**
 * Removes segments without a producer that were closed or retired, come from before the last boot, are damaged, or whose
 * producer is silent for `olderThanMillis`; and what a killed producer left half made. Kept: what has a producer or
 * living readers, what died a moment ago, files of others and what is no ring. Throws `TransportError` where the
 * directory cannot be read, or `name` is not there.
 */
export const clean = (options: CleanOptions = {}): ReadonlyArray<Cleaning> => {
  const { dir = defaultDirectory(), name, olderThanMillis = 60_000, dryRun = false } = options
  NativeAddon.load()
  try {
    if (name !== undefined) {
      if (!existsSync(join(dir, `${name}.ring`))) throw Object.assign(new Error(name), { code: "DM_MISSING" })
      return [cleanOne(dir, name, olderThanMillis, dryRun)]
    }
    if (!existsSync(dir)) return []
    const segments = list(dir).map((one) => cleanOne(dir, one, olderThanMillis, dryRun))
    return [...segments, ...cleanTemporary(dir, olderThanMillis, dryRun)]
  } catch (cause) {
    const where = name === undefined ? dir : `ring "${name}" in ${dir}`
    throw ShmError.fromThrown("clean", where, cause)
  }
}
