/**
 * What a feed session holds, in the plainest way that can be right: everything is made of the whole list of notes. For
 * comparison with a store.
 */
import { Coverage, type FeedNote, type InstrumentId, TimeRange, UnixNanos } from "@data-manager/core"

/** What the notes of one session say about one instrument. */
export interface FeedStates {
  readonly held: Coverage.RangeSet
  readonly missing: Coverage.RangeSet
}

/** Larger than every time; what has not ended yet ends here. */
const never = UnixNanos.Max

/** Whole microseconds around a range. */
export const outward = ({ start, end }: TimeRange.TimeRange): TimeRange.TimeRange => ({
  start: UnixNanos.floorMicros(start) * UnixNanos.PerMicro,
  end: UnixNanos.ceilMicros(end) * UnixNanos.PerMicro
})

/** The notes of a session that count: those before its end. */
export const ofSession = (notes: ReadonlyArray<FeedNote>, session: string): Array<FeedNote> => {
  const mine = notes.filter((note) => note.session === session)
  const end = mine.findIndex((note) => note._tag === "SessionEnded")
  return end < 0 ? mine : mine.slice(0, end)
}

/** When an instrument was in the session, by times of joining and leaving; both at one time change nothing. */
export const collected = (notes: ReadonlyArray<FeedNote>, instrument: InstrumentId): Coverage.RangeSet => {
  const times = (tag: "InstrumentsJoined" | "InstrumentsLeft") =>
    new Set(
      notes.flatMap((note) => (note._tag === tag && note.instruments.includes(instrument) ? [note.at] : []))
    )
  const [joined, left] = [times("InstrumentsJoined"), times("InstrumentsLeft")]
  const changes = [...new Set([...joined, ...left])]
    .filter((at) => joined.has(at) !== left.has(at))
    .sort((a, b) => (a < b ? -1 : 1))
  const stays: Array<TimeRange.TimeRange> = []
  let since: bigint | undefined
  for (const at of changes) {
    if (joined.has(at)) since ??= at
    else if (since !== undefined) {
      stays.push({ start: since, end: at })
      since = undefined
    }
  }
  if (since !== undefined) stays.push({ start: since, end: never })
  return Coverage.ranges(stays.flatMap((stay) => TimeRange.inwardMicros(stay) ?? []))
}

/** What a session says about an instrument. `mine`: its notes that count, see `ofSession`. */
export const states = (mine: ReadonlyArray<FeedNote>, instrument: InstrumentId): FeedStates => {
  const stays = collected(mine, instrument)
  const started = mine.find((note) => note._tag === "SessionStarted")?.at ?? never
  const watermark = mine.reduce(
    (last, note) => (note._tag === "Watermark" && note.at > last ? note.at : last),
    started
  )
  const gaps = Coverage.ranges(
    mine.flatMap((note) =>
      note._tag === "RowsMissing" &&
      !TimeRange.isEmpty(note.range) &&
      (note.instruments?.includes(instrument) ?? true)
        ? [outward(note.range)]
        : []
    )
  )
  const whole = TimeRange.inwardMicros({ start: started, end: watermark })
  const within = whole === undefined ? Coverage.empty : Coverage.intersect(stays, [whole])
  return { held: Coverage.subtract(within, gaps), missing: Coverage.intersect(stays, gaps) }
}
