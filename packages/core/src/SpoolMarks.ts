/**
 * How many rows came up to a frame, and when: from marks that are set now and then, as a count per frame would take more memory
 * than the frames that wait. The answer is that of the mark at or before the frame.
 */

/** Counts at a frame. */
export interface Mark {
  readonly frame: bigint
  /** Rows of all frames up to it. */
  readonly rows: bigint
  /** When the frame after it was appended, ns. */
  readonly at: bigint
}

/** Shortest time between two marks. */
const Spacing = 100_000_000n

/** Marks at most; beyond, every second one goes. */
const MaxMarks = 8192

/** The marks of a spool, ascending. */
export class SpoolMarks {
  #marks: Array<Mark> = []

  /** Sets a mark unless the last one is near. */
  offer(frame: bigint, rows: bigint, at: bigint): void {
    const last = this.#marks.at(-1)
    if (last === undefined || at - last.at >= Spacing || at < last.at) this.set({ frame, rows, at })
  }

  set(mark: Mark): void {
    this.#marks.push(mark)
    if (this.#marks.length > MaxMarks) this.#marks = this.#marks.filter((_, i) => i % 2 === 0)
  }

  /** The last mark at or before a frame; marks before it are forgotten. */
  reach(frame: bigint): Mark | undefined {
    let at = 0
    while (at + 1 < this.#marks.length && this.#marks[at + 1]!.frame <= frame) at += 1
    if (at > 0) this.#marks.splice(0, at)
    return this.#marks[0]
  }
}
