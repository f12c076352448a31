/** A mapped segment with its dictionary, shared by all readers of one process. */
import type { StartPosition } from "@data-manager/core"
import * as NativeAddon from "./NativeAddon.ts"
import { RingDictionary } from "./RingDictionary.ts"
import { RecordSchema, type RingKind, segmentName } from "./RingLayout.ts"
import { type RingLocation, resolveLocation } from "./RingLocation.ts"
import * as ShmError from "./ShmError.ts"

/** One `.ring` file, mapped read-only. */
export class RingSegment {
  readonly native: NativeAddon.NativeSegment
  readonly dictionary = new RingDictionary()

  constructor(native: NativeAddon.NativeSegment) {
    this.native = native
    this.refresh()
  }

  /** Reads new dictionary entries. */
  refresh(): void {
    this.dictionary.refresh(this.native.entries)
  }
}

/** Opens the segment that currently has the name, mapping each only once. */
export class RingSource {
  readonly kind: RingKind
  readonly name: string
  readonly dir: string
  readonly owner: number
  readonly where: string
  #current: RingSegment | undefined

  constructor(location: RingLocation, kind: RingKind) {
    const { name, dir, owner } = resolveLocation(location)
    this.kind = kind
    this.name = segmentName(name, kind)
    this.dir = dir
    this.owner = owner
    this.where = `ring "${this.name}" in ${dir}`
  }

  /** The current segment; throws `TransportError` where there is none that can be read. */
  open(): RingSegment {
    if (this.#current?.native.isCurrent() === true) return this.#current
    try {
      const native = NativeAddon.load().openSegment(this.dir, this.name, this.owner)
      if (native.recordSchema !== RecordSchema[this.kind]) {
        native.close()
        throw ShmError.badRequest("connect", `${this.where} does not hold ${this.kind}`)
      }
      this.#current?.native.close()
      this.#current = new RingSegment(native)
      return this.#current
    } catch (cause) {
      throw ShmError.fromThrown("connect", this.where, cause)
    }
  }

  /** Lets go of the mapping; readers that still use it keep it. */
  close(): void {
    this.#current?.native.close()
    this.#current = undefined
  }
}

/** The sequence at which a start position lies in a segment. */
export const startSequence = (segment: RingSegment, start: StartPosition): number => {
  const { writeSeq, durableSeq, baseSeq, capacity } = segment.native.info()
  switch (start._tag) {
    case "Latest":
    case "LastPerSymbol":
      return writeSeq
    case "Oldest":
      return segment.native.oldest()
    case "Time":
      return segment.native.seekTime(start.time)
    case "Durable":
      return durableSeq < writeSeq - capacity ? segment.native.oldest() : Math.max(durableSeq, baseSeq)
    case "Sequence": {
      const wanted = Number(start.sequence)
      if (wanted > writeSeq || wanted < 0)
        throw ShmError.badRequest(
          "subscribe",
          `sequence ${start.sequence} is not published yet; the next is ${writeSeq}`
        )
      // What is gone for certain is not looked for: the reader reports it as expired, not as an overrun.
      return wanted < writeSeq - capacity ? segment.native.oldest() : Math.max(wanted, baseSeq)
    }
  }
}
