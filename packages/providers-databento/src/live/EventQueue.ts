/**
 * Events between the socket and the reader of the stream. It never refuses: whoever fills it stops reading the socket while
 * it `isFull`, and goes on when it says that there is room again.
 */
import { Effect, type Exit } from "effect"

/** Events given out at a time, at most: their memory counts as held until the next ones are asked for. */
const EVENTS_PER_PULL = 64

/** Memory that everything not yet read may take. */
export class ByteBudget {
  readonly limit: number
  used = 0
  /** Called when half of the limit is free again, after it was used up. */
  onRoom: () => void = () => {}
  #wasFull = false

  constructor(limit: number) {
    this.limit = limit
  }

  /** Whether no more should be read for now. */
  get isFull(): boolean {
    return this.used >= this.limit
  }

  take(bytes: number): void {
    this.used += bytes
    if (this.isFull) this.#wasFull = true
  }

  give(bytes: number): void {
    this.used -= bytes
    if (!this.#wasFull || this.used * 2 > this.limit) return
    this.#wasFull = false
    this.onRoom()
  }
}

/** A queue with one reader. */
export class EventQueue<A, E> {
  readonly #budget: ByteBudget
  #events: Array<A> = []
  #bytes: Array<number> = []
  #first = 0
  /** Bytes of what the reader is working on. */
  #given = 0
  #end: Exit.Exit<never, E> | undefined
  #wake: (() => void) | undefined

  constructor(budget: ByteBudget) {
    this.#budget = budget
  }

  /**
   * Adds an event whose `bytes` the budget has been charged with; they are given back when it was read. A reader that waits
   * goes on within this call: it has a batch before the next read of the socket.
   */
  offer(event: A, bytes: number): void {
    this.#events.push(event)
    this.#bytes.push(bytes)
    this.#stir()
  }

  /** What the reader gets after everything that is there. */
  end(exit: Exit.Exit<never, E>): void {
    this.#end ??= exit
    this.#stir()
  }

  /** The next events; waits for at least one. */
  readonly pull: Effect.Effect<readonly [A, ...Array<A>], E> = Effect.suspend(() => {
    this.#budget.give(this.#given)
    this.#given = 0
    if (this.#first < this.#events.length) return Effect.succeed(this.#take())
    return this.#end ?? Effect.andThen(this.#waiting, this.pull)
  })

  readonly #waiting = Effect.callback<void>((resume) => {
    this.#wake = () => resume(Effect.void)
    return Effect.sync(() => {
      this.#wake = undefined
    })
  })

  #take(): readonly [A, ...Array<A>] {
    const to = Math.min(this.#events.length, this.#first + EVENTS_PER_PULL)
    const taken = this.#events.slice(this.#first, to)
    for (let i = this.#first; i < to; i++) this.#given += this.#bytes[i]!
    this.#first = to
    if (to === this.#events.length) {
      this.#events = []
      this.#bytes = []
      this.#first = 0
    } else if (this.#first > 1024) {
      this.#events = this.#events.slice(to)
      this.#bytes = this.#bytes.slice(to)
      this.#first = 0
    }
    return taken as unknown as readonly [A, ...Array<A>]
  }

  #stir(): void {
    const wake = this.#wake
    this.#wake = undefined
    wake?.()
  }
}
