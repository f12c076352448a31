/** Past trades as they come from the service, batch by batch: nothing is kept but the batch that is being filled. */
import { type ProviderError, type ProviderEvent, ProviderTruncated, TimeRange } from "@data-manager/core"
import { Effect, Stream } from "effect"
import { type AcmeApi, Patience } from "./AcmeApi.ts"
import { type Opened, query } from "./AcmeRequest.ts"
import { LineReader, parseLine, TradeIntake } from "./AcmeTrade.ts"

const BatchRows = 8192
const path = "/v1/trades"

/** Trades of these instruments in `[start, end)` of Acme's clock, which orders them. */
export const tradesOf = (
  api: AcmeApi,
  id: string,
  opened: Opened,
  asked: TimeRange.TimeRange
): Stream.Stream<ProviderEvent, ProviderError> => {
  const range = TimeRange.intersect(asked, opened.listing.range)
  if (range === undefined) return Stream.empty
  return Stream.unwrap(
    Effect.map(api.get(path, query(opened, range), "application/x-ndjson"), (response) => {
      const reply = new HistoryReply(new TradeIntake(id, opened.instruments, BatchRows))
      const broken = () =>
        api.failure(path, new ProviderTruncated({ detail: `the answer ended after ${reply.rows} trades` }))
      const batches = response.stream.pipe(
        Stream.mapError(broken),
        Stream.timeoutOrElse({ duration: Patience, orElse: () => Stream.fail(broken()) }),
        Stream.mapEffect((chunk) => api.attempt(path, () => reply.receive(chunk))),
        Stream.flattenIterable,
        // What came before the failure is good.
        Stream.catch((error) => Stream.concat(Stream.fromIterable(reply.rest), Stream.fail(error)))
      )
      const rest = Stream.suspend(() =>
        reply.isWhole ? Stream.fromIterable(reply.rest) : Stream.fail(broken())
      )
      return Stream.concat(batches, rest)
    })
  )
}

/** The answer so far. It is whole when its last line says how many trades there were, and they were. */
class HistoryReply {
  rows = 0
  #promised: unknown
  readonly #lines = new LineReader()
  readonly #intake: TradeIntake

  constructor(intake: TradeIntake) {
    this.#intake = intake
  }

  /** Batches that this chunk fills. */
  receive(chunk: Uint8Array): ReadonlyArray<ProviderEvent> {
    const events: Array<ProviderEvent> = []
    for (const line of this.#lines.push(chunk)) {
      const fields = parseLine(line)
      if ("end" in fields) {
        this.#promised = fields.end
        continue
      }
      this.#intake.add(fields)
      this.rows += 1
      if (this.#intake.isFull) events.push(...this.#intake.take())
    }
    return events
  }

  get isWhole(): boolean {
    return this.#lines.isBetweenLines && this.#promised === this.rows
  }

  get rest(): ReadonlyArray<ProviderEvent> {
    return this.#intake.take()
  }
}
