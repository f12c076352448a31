/** Looking at rings from outside, and removing those that nobody can need: the data behind `dm ring inspect` and `clean`. */
import { readdirSync } from "node:fs"
import type { Instrument, StartPosition, TransportError } from "@data-manager/core"
import * as NativeAddon from "./NativeAddon.ts"
import { RingDictionary } from "./RingDictionary.ts"
import { type RingKind, stateNames } from "./RingLayout.ts"
import { defaultDirectory, type RingLocation, resolveLocation } from "./RingLocation.ts"
import { RingReader, type RingReaderOptions } from "./RingReader.ts"
import * as ShmError from "./ShmError.ts"

/** A reader as the control file shows it. What a reader writes about itself is not to be trusted. */
export interface ReaderInspection extends NativeAddon.NativeReaderRow {
  /** Records published that it has not read. */
  readonly lag: number
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
  readonly readers: ReadonlyArray<ReaderInspection>
  /** Records per second between this look and `previous`; undefined without one. */
  readonly rate: number | undefined
  readonly at: number
}

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

/** What became of a segment. */
export interface Cleaning {
  readonly name: string
  readonly outcome: "removed" | "kept"
  /** Why it was kept. */
  readonly detail: string
}

/**
 * Removes segments without a producer that were closed or retired, come from before the last boot, or whose heartbeat
 * is older than `olderThanMillis` (default one minute). Files of others and files in use are kept.
 */
export const clean = (
  options: {
    readonly dir?: string | undefined
    readonly name?: string | undefined
    readonly olderThanMillis?: number | undefined
  } = {}
): ReadonlyArray<Cleaning> => {
  const dir = options.dir ?? defaultDirectory()
  const addon = NativeAddon.load()
  const names = options.name === undefined ? list(dir) : [options.name]
  return names.map((name) => {
    try {
      const removed = addon.clean(dir, name, options.olderThanMillis ?? 60_000) === 1
      return { name, outcome: removed ? "removed" : "kept", detail: removed ? "" : "in use, or too young" }
    } catch (cause) {
      const error: TransportError = ShmError.fromThrown("clean", `ring "${name}" in ${dir}`, cause)
      return { name, outcome: "kept", detail: error.message }
    }
  })
}

/** A reader for `dm tail`: from `start` (default latest) on, shown among the readers as "dm tail". */
export const tail = (
  options: RingReaderOptions & { readonly start?: StartPosition | undefined }
): RingReader => new RingReader({ client: "dm tail", ...options })
