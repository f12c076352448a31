/** What can go wrong with a live session, on request. */

/** One thing that goes wrong. `afterRecords` counts market records of the session, replayed ones included. */
export type LiveFault =
  /** The connection is closed at once, without a greeting: too many new connections. */
  | { readonly type: "refuse" }
  /** The right answer to the challenge is refused. */
  | { readonly type: "rejectAuth"; readonly error?: string | undefined }
  /** The session is told that there are too many, and closed. */
  | { readonly type: "connectionLimit" }
  /** Every write waits so long. */
  | { readonly type: "delay"; readonly millis: number }
  /** Everything is written in pieces of so many bytes; 1 splits at every byte. */
  | { readonly type: "split"; readonly bytes: number }
  /** The connection is reset (RST). */
  | { readonly type: "reset"; readonly afterRecords: number }
  /** The connection is closed in order (FIN), without a word. */
  | { readonly type: "eof"; readonly afterRecords: number }
  /** The connection is closed in order behind the first `bytes` bytes of the next record. */
  | { readonly type: "eofInsideRecord"; readonly afterRecords: number; readonly bytes: number }
  /** Nothing more is sent, not even heartbeats; the connection stays open. */
  | { readonly type: "stall"; readonly afterRecords: number }
  /** The next `records` records are left out and error 7 says so, as after a slow reader. */
  | { readonly type: "skip"; readonly afterRecords: number; readonly records: number }
  /** Every `every`-th replayed record is left out; the replay is said to be complete all the same. */
  | { readonly type: "omitReplay"; readonly every: number }
  /** The last `records` replayed records of each schema come once more as the first live ones. */
  | { readonly type: "duplicateBoundary"; readonly records: number }
  /** A record of an unknown type is sent in between. */
  | { readonly type: "unknownRecord"; readonly afterRecords: number }
  /** The next record has an action and a side that no client knows; for trades and books of price levels. */
  | { readonly type: "unknownEnum"; readonly afterRecords: number }
  /** Market records are longer than any struct by so many words of 4 bytes, from here on. */
  | { readonly type: "longRecords"; readonly afterRecords: number; readonly words: number }
  /** An error record; the session ends where the code is a fatal one. */
  | {
      readonly type: "error"
      readonly afterRecords: number
      readonly code: number
      readonly text: string
    }

/** The type of a fault. */
export type LiveFaultType = LiveFault["type"]

/** Faults of the sessions to come: each session takes those of its turn. */
export class LiveFaults {
  readonly #next: Array<ReadonlyArray<LiveFault>> = []
  #always: ReadonlyArray<LiveFault> = []

  /** Faults of the next session that has none yet; call again for the session after it. No faults: a sound session. */
  next(...faults: ReadonlyArray<LiveFault>): void {
    this.#next.push(faults)
  }

  /** Faults of every session that `next` says nothing about. */
  always(...faults: ReadonlyArray<LiveFault>): void {
    this.#always = faults
  }

  /** Every later session is sound. */
  clear(): void {
    this.#next.length = 0
    this.#always = []
  }

  /** The faults of a session that begins now. */
  take(): ReadonlyArray<LiveFault> {
    return this.#next.shift() ?? this.#always
  }
}

/** The fault of a type among those of a session. */
export const faultOf = <T extends LiveFaultType>(
  faults: ReadonlyArray<LiveFault>,
  type: T
): Extract<LiveFault, { type: T }> | undefined =>
  faults.find((fault): fault is Extract<LiveFault, { type: T }> => fault.type === type)

/** Faults that strike between records, in the order in which they do. */
export type TimedFault = Extract<LiveFault, { afterRecords: number }>

/** Those of a session's faults that strike between records. */
export const timedFaults = (faults: ReadonlyArray<LiveFault>): Array<TimedFault> =>
  faults
    .filter((fault): fault is TimedFault => "afterRecords" in fault)
    .sort((a, b) => a.afterRecords - b.afterRecords)
