/** Databento behind the provider contract: history, live data, what a request takes, what exists, what is listed. */
import {
  type Estimate,
  type HistoryRequest,
  type ListingClaim,
  MarketSchema,
  type Provider,
  ProviderBadRequest,
  ProviderError,
  type ProviderEvent,
  type RegisterListings,
  type Revision,
  type Selection,
  StoreError,
  type TimeRange,
  UnixNanos
} from "@data-manager/core"
import { Clock, Effect, Stream } from "effect"
import { type KnownSchema, schemas as vendorSchemas } from "./dbn/DbnSchema.ts"
import type { HistoricalClient } from "./historical/HistoricalClient.ts"
import { AllSymbols, type DataRequest, MaxSymbols } from "./historical/HistoricalRequest.ts"
import type { DatasetRange } from "./historical/Metadata.ts"
import { claimsOfResolution } from "./historical/Symbology.ts"
import type { LiveOptions } from "./live/LiveOptions.ts"
import { liveSchemas } from "./live/LiveRequest.ts"
import { LiveStreams } from "./live/LiveStreams.ts"
import { PROVIDER_ID } from "./MappingClaim.ts"

/** What a provider is made of. */
export interface DatabentoProviderOptions {
  readonly historical: HistoricalClient["Service"]
  /** Gives instruments their ids: `store.registerListings`, or that of `LocalInstruments` without a store. */
  readonly register: RegisterListings
  /** Live collection: the key, and how sessions are made. Without it `live` says that there is none. */
  readonly live?: Omit<LiveOptions, "dataset" | "subscriptions" | "register" | "from"> | undefined
}

/**
 * Rows of one group share venue time and sequence, and so a packet; its records are received within far less than this, so
 * a fetch that begins as much earlier sees every group from its start.
 */
const Lead = UnixNanos.PerSecond

const isVendorSchema = (schema: string): schema is MarketSchema.MarketSchema & KnownSchema =>
  (vendorSchemas as ReadonlyArray<string>).includes(schema)

/** Schemas of the vendor that have a table. */
const schemas = MarketSchema.all.filter(isVendorSchema)

/** The provider. A value of one key and one registry; its client's pace and connections are shared by all requests. */
export const make = ({ historical, register, live }: DatabentoProviderOptions): Provider => {
  const ranges = new AvailableRanges(historical)
  const streams = new LiveStreams()
  return {
    id: PROVIDER_ID,
    capabilities: {
      history: schemas,
      live: live === undefined ? [] : liveSchemas,
      symbolTypes: ["raw_symbol", "parent", "continuous", "instrument_id"],
      replaySeconds: live === undefined ? 0 : 24 * 3600,
      consecutiveIds: false,
      billed: true,
      maxSymbols: 0,
      maxDays: 0,
      addSymbolsLive: live !== undefined
    },
    history: (request) => history(historical, register, ranges, request),
    live: ({ dataset, schema, stypeIn, symbols }, { from } = {}) =>
      live === undefined
        ? Stream.fail(noLive)
        : withRegistry(
            `live ${dataset}`,
            streams.events({
              ...live,
              register,
              dataset,
              from,
              subscriptions: [{ schema, stypeIn, symbols }]
            })
          ),
    discover: (dataset) => discover(historical, dataset),
    availableRange: (selection) => ranges.of(selection),
    estimate: (request) => estimate(historical, ranges, request),
    revisions: (request) => revisions(historical, request),
    health: streams.health
  }
}

const noLive = new ProviderError({
  provider: PROVIDER_ID,
  operation: "live",
  reason: new ProviderBadRequest({
    detail: "this provider was made without live collection",
    hint: "give DatabentoProvider.make the key for it, as `live: { apiKey }`"
  })
})

/** How much earlier a fetch begins. Bars have no groups, and before the first day of a dataset there is nothing. */
const leadOf = (schema: MarketSchema.MarketSchema, start: bigint, available: TimeRange.TimeRange): bigint => {
  if (MarketSchema.kind(schema) === "bars" || start <= available.start) return 0n
  return start - available.start < Lead ? start - available.start : Lead
}

/** The request in the vendor's terms. */
const dataRequest = (request: HistoryRequest): Effect.Effect<DataRequest, ProviderError> => {
  const { schema } = request
  return isVendorSchema(schema)
    ? Effect.succeed({ ...request, schema })
    : Effect.fail(
        new ProviderError({
          provider: PROVIDER_ID,
          operation: `history ${request.dataset}`,
          reason: new ProviderBadRequest({
            detail: `Databento has no schema ${schema}`,
            hint: `there are ${schemas.join(", ")}`
          })
        })
      )
}

const history = (
  { timeseries }: HistoricalClient["Service"],
  register: RegisterListings,
  ranges: AvailableRanges,
  request: HistoryRequest
): Stream.Stream<ProviderEvent, ProviderError> =>
  withRegistry(
    `history ${request.dataset}`,
    Stream.unwrap(
      Effect.gen(function* () {
        const data = yield* dataRequest(request)
        const lead = leadOf(request.schema, request.range.start, yield* ranges.of(request))
        return timeseries.batches(data, { register, lead })
      })
    )
  )

/** The registry behind `register` is a part of this provider: what it says is told as the provider's own failure. */
const withRegistry = <A>(
  operation: string,
  events: Stream.Stream<A, ProviderError | StoreError>
): Stream.Stream<A, ProviderError> =>
  Stream.mapError(events, (error) =>
    error instanceof StoreError
      ? new ProviderError({
          provider: PROVIDER_ID,
          operation,
          reason: new ProviderBadRequest({ detail: `instruments cannot be registered: ${error.message}` }),
          cause: error
        })
      : error
  )

/** Records of the range alone; bytes and money of all that `history` fetches, what it drops again included. */
const estimate = Effect.fnUntraced(function* (
  { metadata }: HistoricalClient["Service"],
  ranges: AvailableRanges,
  request: HistoryRequest
) {
  const data = yield* dataRequest(request)
  const lead = leadOf(request.schema, request.range.start, yield* ranges.of(request))
  const fetched = { ...data, range: { start: data.range.start - lead, end: data.range.end } }
  const [records, bytes, cost] = yield* Effect.all(
    [metadata.recordCount(data), metadata.billableSize(fetched), metadata.cost(fetched)],
    { concurrency: 3 }
  )
  return {
    requests: Math.max(1, Math.ceil(request.symbols.length / MaxSymbols)),
    records: records.value,
    bytes: bytes.value,
    costUsd: cost.value
  } satisfies Estimate
})

/** A revision per UTC day: the day on which the vendor last changed its data. Days without data have none. */
const revisions = Effect.fnUntraced(function* (
  { metadata }: HistoricalClient["Service"],
  { dataset, range }: HistoryRequest
) {
  const { value: days } = yield* metadata.datasetCondition(dataset, {
    start: UnixNanos.toDate(range.start),
    // Inclusive, unlike the end of the range.
    end: UnixNanos.toDate(range.end - 1n)
  })
  return days.flatMap(({ date, lastModifiedDate }): ReadonlyArray<Revision> => {
    const start = UnixNanos.parse(date)
    if (start === undefined || lastModifiedDate === undefined) return []
    return [{ range: { start, end: start + UnixNanos.PerDay }, revision: lastModifiedDate }]
  })
})

/** What the service has, remembered for a minute: every chunk of a backfill asks. */
class AvailableRanges {
  readonly #client: HistoricalClient["Service"]
  readonly #known = new Map<string, { readonly until: number; readonly range: DatasetRange }>()

  constructor(client: HistoricalClient["Service"]) {
    this.#client = client
  }

  readonly of = Effect.fnUntraced(
    { self: this },
    function* (this: AvailableRanges, { dataset, schema }: Selection) {
      const now = yield* Clock.currentTimeMillis
      const known = this.#known.get(dataset)
      const range =
        known !== undefined && known.until > now
          ? known.range
          : (yield* this.#client.metadata.datasetRange(dataset)).value
      if (range !== known?.range) this.#known.set(dataset, { until: now + 60_000, range })
      return range.schemas[schema] ?? { start: range.start, end: range.end }
    }
  )
}

/** Every symbol of the newest day that the service has, by its symbology, which is free of charge. */
const discover = (
  historical: HistoricalClient["Service"],
  dataset: string
): Stream.Stream<ListingClaim, ProviderError> =>
  Stream.unwrap(
    Effect.gen(function* () {
      const { value: available } = yield* historical.metadata.datasetRange(dataset)
      const start = UnixNanos.startOfDay(available.end - 1n)
      const { value } = yield* historical.resolve({
        dataset,
        symbols: [AllSymbols],
        stypeIn: "raw_symbol",
        stypeOut: "instrument_id",
        range: { start, end: available.end }
      })
      return Stream.fromIterable(claimsOfResolution(dataset, value, "raw_symbol"))
    })
  )
