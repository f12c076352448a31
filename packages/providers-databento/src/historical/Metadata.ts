/** What the service has, since when, and what it would cost. Free of charge. Source: fact sheet, "Metadata endpoints". */
import { Decimal, type ProviderError, type TimeRange } from "@data-manager/core"
import { Effect, Schema } from "effect"
import type { KnownSchema } from "../dbn/DbnSchema.ts"
import { type Call, type HistoricalHttp, type Reply, together } from "./HistoricalHttp.ts"
import { checkData, type DataRequest, dataParams, type Params, symbolLists } from "./HistoricalRequest.ts"
import * as HttpFailure from "./HttpFailure.ts"
import * as ReplyShape from "./ReplyShape.ts"
import { answersOf } from "./UnknownSymbols.ts"

/** Who publishes data into a dataset. */
export interface PublisherEntry {
  readonly publisherId: number
  readonly dataset: string
  readonly venue: string
  readonly description: string
}

/** A field of a record and its type in C. */
export interface FieldEntry {
  readonly name: string
  readonly type: string
}

/** Prices of one way of delivery, USD per gigabyte of DBN, by schema. */
export interface UnitPrices {
  /** `historical`, `historical-streaming`, `live`. */
  readonly mode: string
  readonly unitPrices: Readonly<Record<string, number>>
}

/** How complete a dataset is on a UTC day. */
export interface DatasetCondition {
  readonly date: string
  /** `available`, `degraded`, `pending`, `missing`, and what the vendor may add. */
  readonly condition: string
  /** Day of the last revision; undefined where the day is missing. */
  readonly lastModifiedDate: string | undefined
}

/** When a dataset has data, as far as the key may see. */
export interface DatasetRange extends TimeRange.TimeRange {
  readonly schemas: Readonly<Record<string, TimeRange.TimeRange>>
}

const Publishers = Schema.Array(
  Schema.Struct({
    publisher_id: Schema.Int,
    dataset: Schema.String,
    venue: Schema.String,
    description: Schema.String
  })
)
const Names = Schema.Array(Schema.String)
const Fields = Schema.Array(Schema.Struct({ name: Schema.String, type: Schema.String }))
const Prices = Schema.Array(
  Schema.Struct({ mode: Schema.String, unit_prices: Schema.Record(Schema.String, Schema.Finite) })
)
const Conditions = Schema.Array(
  Schema.Struct({
    date: ReplyShape.Day,
    condition: Schema.String,
    last_modified_date: ReplyShape.maybe(ReplyShape.Day)
  })
)
const Range = Schema.Struct({ start: ReplyShape.Time, end: ReplyShape.Time })
const DatasetRangeReply = Schema.Struct({
  ...Range.fields,
  schema: ReplyShape.maybe(Schema.Record(Schema.String, Range))
})

/** The metadata endpoints. */
export class Metadata {
  readonly #http: HistoricalHttp

  constructor(http: HistoricalHttp) {
    this.#http = http
  }

  listPublishers(): Effect.Effect<Reply<ReadonlyArray<PublisherEntry>>, ProviderError> {
    return mapped(this.#get("list_publishers", {}, Publishers, "a list of publishers"), (list) =>
      list.map(({ publisher_id, ...rest }) => ({ publisherId: publisher_id, ...rest }))
    )
  }

  /** Codes of the datasets, of those alone that have data on these days where given (`YYYY-MM-DD`, end exclusive). */
  listDatasets(
    days: { readonly start?: string | undefined; readonly end?: string | undefined } = {}
  ): Effect.Effect<Reply<ReadonlyArray<string>>, ProviderError> {
    const params = { start_date: days.start, end_date: days.end }
    return this.#get("list_datasets", params, Names, "a list of datasets")
  }

  listSchemas(dataset: string): Effect.Effect<Reply<ReadonlyArray<string>>, ProviderError> {
    return this.#get("list_schemas", { dataset }, Names, "a list of schemas")
  }

  listFields(
    schema: KnownSchema,
    encoding: "dbn" | "csv" | "json" = "dbn"
  ): Effect.Effect<Reply<ReadonlyArray<FieldEntry>>, ProviderError> {
    return this.#get("list_fields", { schema, encoding }, Fields, "a list of fields")
  }

  listUnitPrices(dataset: string): Effect.Effect<Reply<ReadonlyArray<UnitPrices>>, ProviderError> {
    return mapped(this.#get("list_unit_prices", { dataset }, Prices, "a list of prices"), (list) =>
      list.map(({ mode, unit_prices }) => ({ mode, unitPrices: unit_prices }))
    )
  }

  /** The days from `start` to `end`, both **inclusive** here, unlike nearly everywhere else. */
  datasetCondition(
    dataset: string,
    days: { readonly start?: string | undefined; readonly end?: string | undefined } = {}
  ): Effect.Effect<Reply<ReadonlyArray<DatasetCondition>>, ProviderError> {
    const params = { dataset, start_date: days.start, end_date: days.end }
    return mapped(this.#get("get_dataset_condition", params, Conditions, "a list of days"), (list) =>
      list.map(({ date, condition, last_modified_date }) => ({
        date,
        condition,
        lastModifiedDate: last_modified_date ?? undefined
      }))
    )
  }

  datasetRange(dataset: string): Effect.Effect<Reply<DatasetRange>, ProviderError> {
    return mapped(this.#get("get_dataset_range", { dataset }, DatasetRangeReply, "a range"), (range) => ({
      start: range.start,
      end: range.end,
      schemas: range.schema ?? {}
    }))
  }

  /** Records that `get_range` would give. */
  recordCount(request: DataRequest): Effect.Effect<Reply<bigint>, ProviderError> {
    return this.#counted("get_record_count", request, ReplyShape.wholeNumber, sum)
  }

  /** Bytes of uncompressed DBN that would be billed. */
  billableSize(request: DataRequest): Effect.Effect<Reply<bigint>, ProviderError> {
    return this.#counted("get_billable_size", request, ReplyShape.wholeNumber, sum)
  }

  /** US dollars. */
  cost(request: DataRequest): Effect.Effect<Reply<Decimal.Decimal>, ProviderError> {
    return this.#counted("get_cost", request, ReplyShape.amount, total)
  }

  #get<A, I>(
    method: string,
    params: Params,
    schema: Schema.Codec<A, I>,
    expected: string
  ): Effect.Effect<Reply<A>, ProviderError> {
    return this.#http.json(
      { kind: "metadata", method: "GET", path: `metadata.${method}`, params },
      schema,
      expected
    )
  }

  /** POST, because 2,000 symbols do not fit a URL; longer lists are asked in parts whose answers are added up. */
  #counted<A>(
    method: string,
    request: DataRequest,
    read: (body: string) => A | undefined,
    add: (values: ReadonlyArray<A>) => A
  ): Effect.Effect<Reply<A>, ProviderError> {
    const path = `metadata.${method}`
    const ask = (symbols: string): Effect.Effect<Reply<A>, ProviderError> => {
      const call: Call = { kind: "metadata", method: "POST", path, params: dataParams(request, symbols) }
      return this.#http.text(call, (body) => {
        const value = read(body)
        return value === undefined
          ? Effect.fail(this.#http.failure(call, HttpFailure.fromBody(body, "a number")))
          : Effect.succeed(value)
      })
    }
    return checkData(path, request).pipe(
      Effect.andThen(symbolLists(path, request.symbols)),
      Effect.flatMap((lists) => answersOf(this.#http, request, lists, ask, 4)),
      Effect.map((replies) => together(replies, add))
    )
  }
}

const mapped = <A, B>(
  reply: Effect.Effect<Reply<A>, ProviderError>,
  f: (value: A) => B
): Effect.Effect<Reply<B>, ProviderError> => Effect.map(reply, (all) => ({ ...all, value: f(all.value) }))

const sum = (values: ReadonlyArray<bigint>): bigint => values.reduce((a, b) => a + b, 0n)

const total = (values: ReadonlyArray<Decimal.Decimal>): Decimal.Decimal =>
  Decimal.normalize(values.reduce(Decimal.add, Decimal.make(0n, 0)))
