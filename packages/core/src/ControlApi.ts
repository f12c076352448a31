/**
 * The contract of a running service's control plane: what can be asked of it, and what can be told to it, over HTTP. Handlers
 * are in `ControlHandlers`; a client comes from `HttpApiClient.make(ControlApi)`.
 *
 * Names on the wire are those of the command line's `--json`. 64-bit numbers are text, so that nothing is rounded; times are
 * ns since the epoch as text. Answers hold no secrets.
 */
import { Schema } from "effect"
import {
  HttpApi,
  HttpApiEndpoint,
  HttpApiGroup,
  HttpApiMiddleware,
  HttpApiSchema,
  OpenApi
} from "effect/http-api"
import { logLevels } from "./DataManagerConfig.ts"
import * as MarketSchema from "./MarketSchema.ts"

/** A 64-bit number, or ns since the epoch. */
const Big = Schema.String

const about = (description: string) => OpenApi.annotations({ description })

// ---------------------------------------------------------------------------------------------------------------------
// Errors

/** What a refused request is answered with. */
export class ControlRefused extends Schema.TaggedError<ControlRefused>()(
  "Refused",
  { message: Schema.String },
  { httpApiStatus: 400 }
) {}

/** What was named is not there. */
export class ControlUnknown extends Schema.TaggedError<ControlUnknown>()(
  "Unknown",
  { message: Schema.String },
  { httpApiStatus: 404 }
) {}

/** It cannot be done as things are: by this configuration, or with so much under way. */
export class ControlConflict extends Schema.TaggedError<ControlConflict>()(
  "Conflict",
  { message: Schema.String },
  { httpApiStatus: 409 }
) {}

/** The store, or a provider, does not answer. */
export class ControlUnavailable extends Schema.TaggedError<ControlUnavailable>()(
  "Unavailable",
  { message: Schema.String },
  { httpApiStatus: 503 }
) {}

// ---------------------------------------------------------------------------------------------------------------------
// Documents

/** Why a service is unhealthy. */
export const healthReasons = [
  "feed_not_running",
  "feed_stale",
  "spool_filling",
  "spool_waiting",
  "spool_problem",
  "writer_problem",
  "store_away",
  "lease_problem",
  "rows_dropped"
] as const

/** What is worth a look and makes a service unhealthy not. */
export const healthWarnings = ["symbols_stale", "gaps_open"] as const
/** "degraded": something is wrong, and what is collected is safe. */
export const healthStates = ["healthy", "degraded", "unhealthy"] as const

/** Whether the service is healthy, and if not, why not. */
export const HealthDocument = Schema.Struct({
  healthy: Schema.Boolean,
  state: Schema.Literals(healthStates),
  reasons: Schema.Array(Schema.Struct({ name: Schema.Literals(healthReasons), detail: Schema.String })),
  warnings: Schema.Array(Schema.Struct({ name: Schema.Literals(healthWarnings), detail: Schema.String })),
  feeds: Schema.Array(
    Schema.Struct({
      provider: Schema.String,
      dataset: Schema.String,
      schema: Schema.String,
      state: Schema.String
    })
  ),
  spool: Schema.Struct({ rows: Big, bytes: Schema.Finite, age_seconds: Schema.Finite }),
  store: Schema.Struct({ rows: Big, problem: Schema.NullOr(Schema.String) })
})

/** Whether the service does its work yet. */
export const ReadyDocument = Schema.Struct({ ready: Schema.Boolean, detail: Schema.String })

/** A feed: one stream of a provider. */
export const FeedDocument = Schema.Struct({
  provider: Schema.String,
  dataset: Schema.String,
  schema: Schema.String,
  stype_in: Schema.String,
  symbols: Schema.Finite,
  state: Schema.Literals(["starting", "running", "waiting"]),
  session: Schema.NullOr(Schema.String),
  rows: Big,
  rows_per_second: Schema.Finite,
  gaps: Big,
  failures: Schema.Finite,
  running_since: Schema.NullOr(Big),
  last_row_at: Schema.NullOr(Big),
  last_error: Schema.NullOr(Schema.String)
})

/** A subscriber of the hub. */
export const SubscriberDocument = Schema.Struct({
  name: Schema.String,
  policy: Schema.Literals(["drop-oldest", "fail", "block"]),
  capacity: Schema.Finite,
  waiting: Schema.Finite,
  delivered: Big,
  dropped: Big
})

/** The publication of live rows: the ring. */
export const PublicationDocument = Schema.Struct({
  name: Schema.String,
  connections: Schema.Finite,
  rows: Big,
  not_taken: Big,
  failures: Big,
  last_error: Schema.NullOr(Schema.String)
})

/** Who gets live rows beside the store. Readers of a ring are known by their number alone. */
export const SubscribersDocument = Schema.Struct({
  subscribers: Schema.Array(SubscriberDocument),
  publication: Schema.NullOr(PublicationDocument)
})

/**
 * A subscription. Those within the process are known in full; a reader of the ring by what it says of itself, and `null` where it
 * says nothing.
 */
export const SubscriptionDocument = Schema.Struct({
  id: Schema.String,
  client: Schema.String,
  transport: Schema.String,
  rows: Schema.String,
  pid: Schema.NullOr(Schema.Finite),
  kind: Schema.NullOr(Schema.Literals(["topic", "filtered", "snapshot"])),
  symbols: Schema.NullOr(Schema.Array(Schema.String)),
  created_at: Schema.NullOr(Big),
  delivered: Big,
  suppressed: Schema.NullOr(Schema.Struct({ quantity: Big, price_change: Big, throttle: Big })),
  lost: Big,
  gaps: Big,
  lag: Big
})

/** Holes and their repair; the oldest ones by themselves. */
export const GapRepairDocument = Schema.Struct({
  open: Schema.Finite,
  oldest_age_seconds: Schema.NullOr(Schema.Finite),
  repaired: Schema.Finite,
  failed: Schema.Finite,
  rows: Big,
  looked_at: Schema.NullOr(Big),
  problem: Schema.NullOr(Schema.String),
  gaps: Schema.Array(
    Schema.Struct({
      provider: Schema.String,
      dataset: Schema.String,
      schema: Schema.String,
      symbol: Schema.String,
      symbols: Schema.Finite,
      start: Big,
      end: Big,
      cause: Schema.String,
      attempts: Schema.Finite,
      next_at: Big,
      problem: Schema.NullOr(Schema.String)
    })
  )
})

/** Symbols that are silent for too long; the longest silences by themselves. */
export const FreshnessDocument = Schema.Struct({
  stale: Schema.Finite,
  resubscribed: Schema.Finite,
  quiet: Schema.Array(
    Schema.Struct({ provider: Schema.String, dataset: Schema.String, schema: Schema.String })
  ),
  symbols: Schema.Array(
    Schema.Struct({
      provider: Schema.String,
      symbol: Schema.String,
      schema: Schema.String,
      silent_seconds: Schema.Finite,
      usual_seconds: Schema.Finite,
      resubscribed: Schema.NullOr(Schema.Finite)
    })
  )
})

const DroppedDocument = Schema.Struct({ overflow: Big, disk_full: Big })

/** The lease of a service that is one of several. */
export const LeaseDocument = Schema.Struct({
  name: Schema.String,
  role: Schema.Literals(["active", "standby"]),
  epoch: Schema.NullOr(Big),
  holder: Schema.NullOr(Schema.String),
  heartbeat_age_seconds: Schema.NullOr(Schema.Finite),
  problem: Schema.NullOr(Schema.String)
})

/** Everything that a service tells about itself. */
export const StatusDocument = Schema.Struct({
  version: Schema.String,
  pid: Schema.Finite,
  config_file: Schema.NullOr(Schema.String),
  started_at: Big,
  uptime_seconds: Schema.Finite,
  log_level: Schema.Literals(logLevels),
  ha: Schema.NullOr(LeaseDocument),
  health: HealthDocument,
  feeds: Schema.Array(FeedDocument),
  providers: Schema.Array(
    Schema.Struct({
      id: Schema.String,
      state: Schema.String,
      last_data_at: Schema.NullOr(Big),
      lag: Schema.NullOr(Big),
      reconnects: Schema.Finite,
      detail: Schema.String
    })
  ),
  spool: Schema.Struct({
    frames: Big,
    rows: Big,
    bytes: Schema.Finite,
    limit_bytes: Schema.Finite,
    age_seconds: Schema.Finite,
    problem: Schema.NullOr(Schema.String)
  }),
  dropped: DroppedDocument,
  writer: Schema.Struct({
    committed: Big,
    rows: Big,
    duplicates: Big,
    conflicts: Big,
    refused: Big,
    appends: Big,
    problem: Schema.NullOr(Schema.String)
  }),
  publication: Schema.NullOr(PublicationDocument),
  subscribers: Schema.Array(SubscriberDocument),
  gap_repair: Schema.NullOr(GapRepairDocument),
  freshness: Schema.NullOr(FreshnessDocument)
})

/** A symbol of the registry. */
export const SymbolDocument = Schema.Struct({
  symbol: Schema.String,
  provider: Schema.String,
  dataset: Schema.String,
  stype_in: Schema.String,
  schemas: Schema.Array(Schema.String),
  enabled: Schema.Boolean,
  source: Schema.Literals(["database", "config", "discovery"]),
  asset_class: Schema.NullOr(Schema.String),
  exchange: Schema.NullOr(Schema.String)
})

const shortText = Schema.String.pipe(Schema.check(Schema.isBetweenLength(1, 256)))
const schemaName = Schema.Literals(MarketSchema.all)
const symbolType = Schema.Literals(["raw_symbol", "parent", "continuous", "instrument_id"])

/** A symbol to collect. */
export const AddSymbol = Schema.Struct({
  symbol: shortText,
  provider: shortText,
  stype_in: Schema.optionalKey(symbolType),
  schemas: Schema.optionalKey(Schema.Array(schemaName)),
  enabled: Schema.optionalKey(Schema.Boolean),
  asset_class: Schema.optionalKey(shortText),
  exchange: Schema.optionalKey(shortText)
})

/** Most symbols of one backfill. */
const MostSymbols = 1000

/** History to fetch. Times are ISO 8601 (UTC), the end is exclusive. */
export const StartBackfill = Schema.Struct({
  provider: Schema.optionalKey(shortText),
  dataset: Schema.optionalKey(shortText),
  symbols: Schema.Array(shortText).pipe(Schema.check(Schema.isBetweenLength(1, MostSymbols))),
  stype_in: Schema.optionalKey(symbolType),
  schema: Schema.optionalKey(schemaName),
  start: shortText,
  end: Schema.optionalKey(shortText),
  /** US dollars at a billed provider; without it the configuration's limit for scheduled runs counts. */
  max_cost_usd: Schema.optionalKey(
    Schema.Finite.pipe(Schema.check(Schema.isBetween({ minimum: 0, maximum: 1_000_000 })))
  )
})

/** How a backfill is going. */
export const BackfillDocument = Schema.Struct({
  id: Schema.String,
  provider: Schema.String,
  state: Schema.Literals(["planning", "running", "done", "failed", "cancelled"]),
  chunks: Schema.Struct({ total: Schema.Finite, done: Schema.Finite, failed: Schema.Finite }),
  rows: Schema.Finite,
  duplicates: Schema.Finite,
  cost_usd: Schema.NullOr(Schema.String),
  started_at: Big,
  ended_at: Schema.NullOr(Big),
  errors: Schema.Array(Schema.String)
})

/** A log level. */
export const LogLevelDocument = Schema.Struct({ level: Schema.Literals(logLevels) })

// ---------------------------------------------------------------------------------------------------------------------
// Endpoints

const Watching = HttpApiGroup.make("watching")
  .add(
    HttpApiEndpoint.get("health", "/health", {
      success: HealthDocument,
      error: HealthDocument.pipe(HttpApiSchema.status(503))
    }).annotateMerge(about("Whether the service is healthy: 200, or 503 with the reasons.")),
    HttpApiEndpoint.get("ready", "/ready", {
      success: ReadyDocument,
      error: ReadyDocument.pipe(HttpApiSchema.status(503))
    }).annotateMerge(about("503 until the first feed runs, and the store has taken what came before.")),
    HttpApiEndpoint.get("status", "/status", { success: StatusDocument }).annotateMerge(
      about("Everything that the service tells about itself.")
    ),
    HttpApiEndpoint.get("subscribers", "/subscribers", { success: SubscribersDocument }).annotateMerge(
      about("Who gets live rows beside the store.")
    ),
    HttpApiEndpoint.get("metrics", "/metrics", {
      success: Schema.String.pipe(
        HttpApiSchema.asText({ contentType: "text/plain; version=0.0.4; charset=utf-8" })
      )
    }).annotateMerge(about("Metrics in Prometheus' text format."))
  )
  .annotateMerge(about("What the service does, and how it is doing."))

const Symbols = HttpApiGroup.make("symbols")
  .add(
    HttpApiEndpoint.get("list", "/symbols", {
      success: Schema.Struct({ symbols: Schema.Array(SymbolDocument) }),
      error: ControlUnavailable
    }).annotateMerge(about("Symbols that are known, and whether they are collected.")),
    HttpApiEndpoint.post("add", "/symbols", {
      payload: AddSymbol,
      success: SymbolDocument.pipe(HttpApiSchema.status(201)),
      error: [ControlRefused, ControlConflict, ControlUnavailable]
    }).annotateMerge(about("Collects a symbol from now on: it is a symbol of the database.")),
    HttpApiEndpoint.delete("remove", "/symbols/:symbol", {
      params: { symbol: Schema.String },
      success: SymbolDocument,
      error: [ControlUnknown, ControlConflict, ControlUnavailable]
    }).annotateMerge(
      about("Collects a symbol no longer; its data stays, and discovery does not bring it back.")
    )
  )
  .annotateMerge(about("What is collected. A running collection follows within seconds."))

const Subscriptions = HttpApiGroup.make("subscriptions")
  .add(
    HttpApiEndpoint.get("list", "/subscriptions", {
      success: Schema.Struct({ subscriptions: Schema.Array(SubscriptionDocument) })
    }).annotateMerge(about("Subscriptions within the process, and readers of the ring.")),
    HttpApiEndpoint.delete("end", "/subscriptions/:id", {
      params: { id: Schema.String },
      success: SubscriptionDocument,
      error: [ControlUnknown, ControlConflict]
    }).annotateMerge(
      about("Ends a subscription within the process. A reader of the ring ends with its own program.")
    )
  )
  .annotateMerge(about("Who gets live rows, and which."))

const Backfills = HttpApiGroup.make("backfill")
  .add(
    HttpApiEndpoint.post("start", "/backfill", {
      payload: StartBackfill,
      success: BackfillDocument.pipe(HttpApiSchema.status(202)),
      error: [ControlRefused, ControlConflict, ControlUnavailable]
    }).annotateMerge(
      about("Fetches history that the store lacks; answers at once, with the id to ask with.")
    ),
    HttpApiEndpoint.get("get", "/backfill/:id", {
      params: { id: Schema.String },
      success: BackfillDocument,
      error: ControlUnknown
    }).annotateMerge(about("How a backfill is going, or how it ended. The last hundred are remembered.")),
    HttpApiEndpoint.delete("cancel", "/backfill/:id", {
      params: { id: Schema.String },
      success: BackfillDocument,
      error: ControlUnknown
    }).annotateMerge(about("Ends a backfill; what is stored stays, and the same request continues it."))
  )
  .annotateMerge(about("History on request, beside the live data."))

const Log = HttpApiGroup.make("log")
  .add(
    HttpApiEndpoint.put("setLevel", "/log-level", {
      payload: LogLevelDocument,
      success: LogLevelDocument
    }).annotateMerge(
      about("Least important log messages that are written from now on, until the service ends.")
    )
  )
  .annotateMerge(about("The log of the service."))

/** Says what is wrong with a request that is not of the contract. */
export class ControlMistakes extends HttpApiMiddleware.Service<ControlMistakes>()(
  "@data-manager/core/ControlMistakes",
  { error: ControlRefused }
) {}

/** The document says that a token may be needed; which address asks for one is the configuration's business. */
const withToken = (spec: Record<string, unknown>): Record<string, unknown> => ({
  ...spec,
  components: {
    ...(spec.components as object | undefined),
    securitySchemes: { bearer: { type: "http", scheme: "bearer" } }
  },
  security: [{ bearer: [] }, {}]
})

/** Everything that a running service answers. */
export class ControlApi extends HttpApi.make("data-manager")
  .add(Watching, Symbols, Subscriptions, Backfills, Log)
  .middleware(ControlMistakes)
  .annotateMerge(
    OpenApi.annotations({
      title: "Data Manager control",
      version: "1",
      description: "Health, status, symbols, backfills and metrics of a running service.",
      transform: withToken
    })
  ) {}
