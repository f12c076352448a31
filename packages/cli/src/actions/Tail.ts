/** Prints rows of a ring as they come, with what was lost and what became of the producer between them. */
import {
  AllSymbols,
  type Decimal,
  type QuoteBatch,
  type ReplayMark,
  type StartPosition,
  type SubscriptionEvent,
  type SubscriptionKind,
  type TradeBatch
} from "@data-manager/core"
import { ShmSubscription } from "@data-manager/transport-shm"
import { Effect, Stream } from "effect"
import type { Action } from "../Action.ts"
import { UsageError } from "../ExitCode.ts"
import { grouped, plural } from "../NumberText.ts"
import * as Output from "../Output.ts"
import { type RingPlaceOptions, ringPlace } from "../RingPlace.ts"
import { rowLines } from "../RowStream.ts"
import { type RowWriter, rowWriter } from "../RowText.ts"
import type { Session } from "../Session.ts"
import { isoFormatter, short } from "../TimeText.ts"

interface Options extends RingPlaceOptions {
  readonly name: string | undefined
  readonly symbols: ReadonlyArray<string>
  readonly from: StartPosition | undefined
  readonly last: number | undefined
  readonly limit: number | undefined
  readonly minQuantity: Decimal.Decimal | undefined
  readonly minPriceChange: Decimal.Decimal | undefined
  readonly throttle: number | undefined
}

type RowBatch = TradeBatch | QuoteBatch
type Told = Exclude<SubscriptionEvent, { readonly _tag: "Batch" }>

const quotesSuffix = "_quotes"

/** The files of a ring of quotes have a name of their own, and `dm ring list` shows it. */
const ringOf = (name: string): { readonly name: string; readonly kind: "trades" | "quotes" } =>
  name.endsWith(quotesSuffix)
    ? { name: name.slice(0, -quotesSuffix.length), kind: "quotes" }
    : { name, kind: "trades" }

const kindOf = (options: Options): SubscriptionKind => {
  const symbols = options.symbols.length === 0 ? [AllSymbols] : options.symbols
  const { minQuantity, minPriceChange, throttle } = options
  if (minQuantity === undefined && minPriceChange === undefined && throttle === undefined)
    return { _tag: "Topic", symbols }
  return {
    _tag: "Filtered",
    symbols,
    minQuantity,
    minPriceChangePct: minPriceChange,
    throttleMillis: throttle
  }
}

/** What is played back, in words. */
const replayText = ({ cause, range, speed }: ReplayMark): string =>
  cause === "reload"
    ? `rows put back into the ring, from ${short(range.start)} to ${short(range.end)}`
    : `replay of ${short(range.start)} to ${short(range.end)}, ${speed === 0 ? "as fast as possible" : `${speed}x`}`

/** An event that is no row, in words. */
const toldText = (event: Told): string => {
  switch (event._tag) {
    case "Snapshot":
      return (
        `${plural(event.batch.length, "newest row")} of ${event.symbol}${event.complete ? "" : ": the ring holds no more"}` +
        (event.replayed === undefined ? "" : `; ${grouped(event.replayed)} of them replayed`)
      )
    case "Lost":
      return `lost ${plural(event.to - event.from, "row")}, positions ${grouped(event.from)} to ${grouped(event.to - 1n)}: ${event.cause === "overrun" ? "this reader was too slow" : "older than what the ring holds"}`
    case "Gap": {
      const { dataset, symbols, rows, cause, range } = event.gap
      const what = symbols === undefined ? dataset : symbols.join(", ")
      const many = rows === undefined ? "rows" : plural(rows, "row")
      return `gap before the ring: ${many} of ${what} from ${short(range.start)} to ${short(range.end)} (${cause})`
    }
    case "Repaired": {
      const { dataset, symbols, rows, range } = event.repaired
      const what = symbols === undefined ? dataset : symbols.join(", ")
      return `repaired: ${what} from ${short(range.start)} to ${short(range.end)} is in the store, ${plural(rows, "new row")}`
    }
    case "ProducerLost":
      return `the producer ${event.cause === "closed" ? "closed the ring" : "died"}; waiting for the next one`
    case "ProducerRestarted":
      return `another producer, generation ${event.epoch}, goes on at position ${grouped(event.position)}`
  }
}

const toldJson = (event: Told): unknown => {
  switch (event._tag) {
    case "Snapshot":
      return {
        event: "snapshot",
        symbol: event.symbol,
        rows: event.batch.length,
        complete: event.complete,
        replayed: event.replayed ?? 0
      }
    case "Lost":
      return { event: "lost", from: `${event.from}`, to: `${event.to}`, cause: event.cause }
    case "Gap": {
      const iso = isoFormatter()
      const { dataset, schema, symbols, range, rows, cause } = event.gap
      return {
        event: "gap",
        dataset,
        schema,
        symbols: symbols ?? null,
        start: iso(range.start),
        end: iso(range.end),
        rows: rows === undefined ? null : `${rows}`,
        cause
      }
    }
    case "Repaired": {
      const iso = isoFormatter()
      const { dataset, schema, symbols, range, rows } = event.repaired
      return {
        event: "repaired",
        dataset,
        schema,
        symbols: symbols ?? null,
        start: iso(range.start),
        end: iso(range.end),
        rows: `${rows}`
      }
    }
    case "ProducerLost":
      return { event: "producer_lost", cause: event.cause }
    case "ProducerRestarted":
      return { event: "producer_restarted", epoch: `${event.epoch}`, position: `${event.position}` }
  }
}

const markJson = (mark: ReplayMark | undefined): unknown => {
  if (mark === undefined) return { event: "live" }
  const iso = isoFormatter()
  const { cause, range, speed } = mark
  return {
    event: "replay",
    cause,
    start: iso(range.start),
    end: iso(range.end),
    speed: speed === 0 ? "max" : speed
  }
}

/** Turns events into lines, at most `limit` rows in all. */
class TailPrinter {
  #left: number
  readonly #rows: (batch: RowBatch, rows: number) => ReadonlyArray<string>
  readonly #told: (event: Told) => string
  readonly #marked: (mark: ReplayMark | undefined) => string
  /** Whether the rows before were a replay; they were live as long as nothing is said. */
  #replay: ReplayMark | undefined

  constructor(kind: "trades" | "quotes", session: Session, limit: number) {
    this.#left = limit
    if (session.json) {
      const { json } = rowWriter(kind) as RowWriter<RowBatch>
      this.#rows = (batch, rows) => Array.from({ length: rows }, (_, i) => json(batch, i))
      this.#told = (event) => JSON.stringify(toldJson(event))
      this.#marked = (mark) => JSON.stringify(markJson(mark))
    } else {
      this.#rows = rowLines(session.out)
      this.#told = (event) => session.out.yellow(`-- ${toldText(event)}`)
      this.#marked = (mark) => session.out.yellow(`-- ${mark === undefined ? "live rows" : replayText(mark)}`)
    }
  }

  get isDone(): boolean {
    return this.#left <= 0
  }

  lines(event: SubscriptionEvent): ReadonlyArray<string> {
    const told = event._tag === "Batch" ? [] : [this.#told(event)]
    if (event._tag !== "Batch" && event._tag !== "Snapshot") return told
    const batch = event.batch as RowBatch
    const rows = Math.min(batch.length, this.#left)
    this.#left -= rows
    if (rows === 0) return told
    return [...told, ...(event._tag === "Batch" ? this.#mark(batch) : []), ...this.#rows(batch, rows)]
  }

  /** Where rows that are a replay begin, and live ones after them. */
  #mark({ context: { replay } }: RowBatch): ReadonlyArray<string> {
    if (replay === this.#replay) return []
    this.#replay = replay
    return [this.#marked(replay)]
  }
}

export const tail = (session: Session, options: Options): Action =>
  Effect.gen(function* () {
    if (options.last !== undefined && options.from !== undefined)
      return yield* new UsageError({ message: "--last begins at the newest rows; leave --from out" })
    const { dir, owner, name } = yield* ringPlace(session, options)
    const ring = ringOf(options.name ?? name)
    const start: StartPosition | undefined =
      options.last === undefined ? options.from : { _tag: "LastPerSymbol", count: options.last }
    const printer = new TailPrinter(ring.kind, session, options.limit ?? Number.POSITIVE_INFINITY)
    yield* Effect.scoped(
      Effect.gen(function* () {
        const connection = yield* ShmSubscription.make({ ...ring, dir, owner, clientId: "dm tail" })
        const handle = yield* connection.subscribe(kindOf(options), start)
        yield* Stream.runForEachWhile(handle.receive, (event) => {
          const lines = printer.lines(event)
          const more = !printer.isDone
          return lines.length === 0
            ? Effect.succeed(more)
            : Effect.as(Output.writeLine(lines.join("\n")), more)
        })
      })
    )
  })
