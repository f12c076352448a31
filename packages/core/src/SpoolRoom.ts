/**
 * Whether there is room for another frame: in memory, in the folder, and on the file system. Counts what was dropped, and lets
 * whoever has many entries wait for the disk.
 */
import { Clock, Deferred, Duration, Effect } from "effect"
import type { FeedEntry } from "./FeedEntry.ts"
import { HeaderBytes, MaxPayloadBytes } from "./SpoolFrame.ts"
import type { SpoolState } from "./SpoolState.ts"

/** Why an entry was dropped. */
export type SpoolDropCause = "overflow" | "disk-full"

/** Entries that were dropped since the opening, and their rows. */
export interface SpoolDrops {
  readonly entries: number
  readonly rows: number
}

/** Limits in bytes. */
export interface SpoolLimits {
  readonly maxBytes: number
  readonly memoryBytes: number
  readonly diskFloor: number
  readonly freeBytes: Effect.Effect<bigint | undefined>
}

/** Room that is kept for notes where rows find none. */
const NoteBytes = 1 << 20

/** Time after which the free space is asked for again. */
const AskAgain = Duration.seconds(1)

/** How long somebody waits for the disk. */
const LongestWait = Duration.seconds(1)

/** The room of an open spool. */
export class SpoolRoom {
  readonly #state: SpoolState
  readonly #limits: SpoolLimits
  readonly #dropped = { overflow: { entries: 0, rows: 0 }, "disk-full": { entries: 0, rows: 0 } }
  /** Bytes that may be taken until the floor is reached; undefined where that is not known. */
  #aboveFloor: number | undefined
  #askedAt = Number.NEGATIVE_INFINITY
  /** Where the disk stood when somebody had waited for it in vain. */
  #gaveUpAt: bigint | undefined

  constructor(state: SpoolState, limits: SpoolLimits) {
    this.#state = state
    this.#limits = limits
  }

  get dropped(): { readonly [C in SpoolDropCause]: SpoolDrops } {
    const { overflow, "disk-full": full } = this.#dropped
    return { overflow: { ...overflow }, "disk-full": { ...full } }
  }

  /** Takes the room for a frame; the cause where there is none, which counts as dropped. */
  take(entry: FeedEntry, size: number): SpoolDropCause | undefined {
    const cause = this.#refusal(size, entry._tag === "FeedRows" ? NoteBytes : 0)
    if (cause === undefined) {
      if (this.#aboveFloor !== undefined) this.#aboveFloor -= size
      return undefined
    }
    const count = this.#dropped[cause]
    count.entries += 1
    if (entry._tag === "FeedRows") count.rows += entry.batch.length
    return cause
  }

  /** See `room` of the spool. */
  readonly wait: Effect.Effect<void> = Effect.suspend(() => {
    if (!this.#isBehind) return Effect.void
    const { frame } = this.#state.synced
    return Effect.map(Effect.timeoutOption(this.#awaitDisk, LongestWait), ({ _tag }) => {
      if (_tag === "None" && this.#state.synced.frame === frame) this.#gaveUpAt = frame
    })
  })

  get #isBehind(): boolean {
    const { buffer, problem, synced } = this.#state
    return (
      buffer.bytes > this.#limits.memoryBytes / 2 && problem === undefined && synced.frame !== this.#gaveUpAt
    )
  }

  readonly #awaitDisk: Effect.Effect<void> = Effect.suspend(() => {
    const { changed } = this.#state
    return this.#isBehind ? Effect.andThen(Deferred.await(changed), this.#awaitDisk) : Effect.void
  })

  #refusal(size: number, kept: number): SpoolDropCause | undefined {
    const { maxBytes, memoryBytes } = this.#limits
    const { buffer, occupied, problem } = this.#state
    if (size > HeaderBytes + MaxPayloadBytes || occupied + size > maxBytes - Math.min(kept, maxBytes / 16))
      return "overflow"
    // One frame is always taken, however large it is.
    if (buffer.bytes > 0 && buffer.bytes + size > memoryBytes - Math.min(kept, memoryBytes / 16))
      return problem === undefined ? "overflow" : "disk-full"
    if (this.#aboveFloor !== undefined && this.#aboveFloor + NoteBytes < size + kept) {
      this.#state.isShort = true
      return "disk-full"
    }
    return undefined
  }

  /** Asks for the free space where that is due; answers after which time to look again though nothing is written. */
  get look(): Effect.Effect<Duration.Duration | undefined> {
    return Effect.gen({ self: this }, function* () {
      const now = yield* Clock.currentTimeMillis
      if (now - this.#askedAt < Duration.toMillis(AskAgain) && now >= this.#askedAt) return this.#pause
      this.#askedAt = now
      this.#state.isShort = false
      const free = yield* this.#limits.freeBytes
      const { bytes } = this.#state.buffer
      this.#aboveFloor = free === undefined ? undefined : Number(free) - this.#limits.diskFloor - bytes
      return this.#pause
    })
  }

  /** Near the floor, changes are looked for though nothing can be appended that would wake the writer. */
  get #pause(): Duration.Duration | undefined {
    const isNear = this.#aboveFloor !== undefined && this.#aboveFloor < 16 * NoteBytes
    return this.#state.isShort || isNear ? AskAgain : undefined
  }
}
