/** A mapped segment with its dictionary, shared by all readers of one process. */
import type { BatchContext, ReplayMark, StartPosition } from "@data-manager/core"
import * as NativeAddon from "./NativeAddon.ts"
import { RingDictionary } from "./RingDictionary.ts"
import { RecordSchema, type RingKind, replayCauses, segmentName } from "./RingLayout.ts"
import { type RingLocation, resolveLocation } from "./RingLocation.ts"
import * as ShmError from "./ShmError.ts"

/** One `.ring` file, mapped read-only. */
export class RingSegment {
  readonly native: NativeAddon.NativeSegment
  readonly dictionary = new RingDictionary()
  /** Contexts of replayed rows, by stretch. */
  readonly #replayed = new Map<number, ReplayedContexts>()

  constructor(native: NativeAddon.NativeSegment) {
    this.native = native
    this.refresh()
  }

  /** Reads new dictionary entries. */
  refresh(): void {
    this.dictionary.refresh(this.native.entries)
  }

  /** The context of rows, by its number, that stand in a stretch of replay; 0: they are live. */
  context(number: number, stretch: number): BatchContext {
    const context = this.dictionary.context(number)
    if (stretch === 0) return context
    let contexts = this.#replayed.get(stretch)
    if (contexts === undefined) {
      contexts = { mark: this.#markOf(stretch), byNumber: new Map() }
      this.#replayed.set(stretch, contexts)
    }
    const { byNumber, mark } = contexts
    const known = byNumber.get(number)
    if (known !== undefined) return known
    const marked = { ...context, replay: mark }
    // What the dictionary does not know yet it may know the next time.
    if (this.dictionary.hasContext(number)) byNumber.set(number, marked)
    return marked
  }

  /** What is played back in a stretch. The ring remembers the last ones alone; rows of an older one are a replay all the same. */
  #markOf(stretch: number): ReplayMark {
    const found = this.native.replays().find(({ number }) => number === stretch)
    return found === undefined ? forgotten : markOf(found)
  }
}

const forgotten: ReplayMark = { cause: "window", range: { start: 0n, end: 0n }, speed: 0 }

/** What a stretch says is played back. */
export const markOf = (found: NativeAddon.NativeReplay): ReplayMark => ({
  cause: replayCauses[found.cause - 1] ?? "window",
  range: { start: found.start, end: found.end },
  speed: found.speedMilli / 1_000
})

interface ReplayedContexts {
  readonly mark: ReplayMark
  readonly byNumber: Map<number, BatchContext>
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
