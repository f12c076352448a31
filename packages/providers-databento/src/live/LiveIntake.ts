/**
 * Records of one live stream, over all its sessions, as events in order: batches whose instruments are known, the mappings
 * that made them known, gaps. Plain and synchronous; only registering instruments is somebody else's, slower, business:
 * events behind one that waits for it wait, too.
 */
import {
  batchContext,
  type Gap,
  type Instrument,
  type ListingClaim,
  type MarketBatch,
  MarketSchema,
  type ProviderEvent,
  UnixNanos
} from "@data-manager/core"
import { DbnBatches } from "../DbnBatches.ts"
import { decodeRecord, type SymbolMappingRecord } from "../dbn/DbnRecord.ts"
import { dayOfNanos } from "../dbn/IsoDate.ts"
import { venueOf } from "../dbn/Publisher.ts"
import { RecordBlock } from "../dbn/RecordBlock.ts"
import { Rtype, rtypeName } from "../dbn/Rtype.ts"
import { indexTimes } from "../IndexTime.ts"
import { daysClaim, mappingClaim, PROVIDER_ID } from "../MappingClaim.ts"
import { NativeInstrumentMap } from "../NativeInstrumentMap.ts"
import type { ByteBudget } from "./EventQueue.ts"
import { type GatewayNotice, readNotice } from "./GatewayNotice.ts"
import { type LeftOut, RecordFilter } from "./RecordFilter.ts"
import { SeenRows } from "./SeenRows.ts"

/** Claims registered in one go. */
const CLAIMS_PER_REGISTRATION = 10_000
/** Memory of a batch beside its columns: views and the event around them. */
const BATCH_OVERHEAD_BYTES = 2048

/** What an intake needs. */
export interface IntakeOptions {
  readonly dataset: string
  /** What records of rtype 1 are. */
  readonly mbp1Schema: "mbp-1" | "tbbo"
  readonly batchRows?: number | undefined
  readonly budget: ByteBudget
  /** Takes finished events; `bytes` of the budget are theirs. */
  readonly publish: (event: ProviderEvent, bytes: number) => void
  /** Takes the gateway's own records, at their place among the data. */
  readonly onNotice: (notice: GatewayNotice) => void
  /** Claims wait to be registered. */
  readonly onClaims: () => void
}

type Waiting =
  | { readonly _tag: "Claims"; readonly claims: Array<ListingClaim> }
  | { readonly _tag: "Gap"; readonly gap: Gap }
  /** `rows` still hold the vendor's ids; undefined: all of them. */
  | { readonly _tag: "Batch"; readonly batch: MarketBatch; rows: ReadonlyArray<number> | undefined }

/** What the gateway said an instrument is called. */
interface Named {
  readonly rawSymbol: string
  readonly requested: string
  readonly startDay: number
  readonly endDay: number
}

/** One stream's events. */
export class LiveIntake {
  readonly seen = new SeenRows()
  readonly filter: RecordFilter
  readonly #options: IntakeOptions
  readonly #batches: DbnBatches
  readonly #ids = new NativeInstrumentMap()
  readonly #directory = new Map<number, Instrument>()
  readonly #names = new Map<number, Named>()
  /** Vendor ids by the symbol that was asked for. */
  readonly #requested = new Map<string, Set<number>>()
  #waiting: Array<Waiting> = []
  /** The first in line has not been announced yet. */
  #hasNews = false
  /** Newest event time and receive time of a batch, for health. */
  lastEvent: bigint | undefined
  /** Where an acknowledgement changes what follows, blocks are cut behind records of the gateway. */
  awaitsAcknowledgement = false

  constructor(options: IntakeOptions) {
    this.#options = options
    this.filter = new RecordFilter(this.seen, options.mbp1Schema)
    this.#batches = new DbnBatches({
      context: batchContext({
        provider: PROVIDER_ID,
        dataset: options.dataset,
        instruments: this.#directory,
        venueOf
      }),
      batchRows: options.batchRows,
      mbp1Schema: options.mbp1Schema,
      onOther: (block, position) => this.#other(block, position)
    })
  }

  /** Records that gave no row, by cause; the gateway's own are none of these. */
  get notStored(): ReadonlyMap<string, number> {
    const causes = new Map(this.#batches.notStored)
    for (const rtype of [Rtype.system, Rtype.error, Rtype.symbolMapping]) causes.delete(rtypeName(rtype))
    return causes
  }

  /** Vendor ids that a requested symbol means. */
  idsOf(symbol: string): ReadonlySet<number> {
    return this.#requested.get(symbol) ?? new Set([Number(symbol)])
  }

  /** Takes a block. Full batches are handed on, the rest with `flush`. */
  add(block: RecordBlock): void {
    if (!this.awaitsAcknowledgement) this.#add(block)
    else for (const part of cutBehindSystem(block)) this.#add(part)
  }

  /** Hands on what is gathered: the socket has no more at the moment. */
  flush(): void {
    this.#batches.flush(this.#accept)
    for (const leftOut of this.filter.takeLeftOut()) this.#tell(leftOut)
    this.#announce()
  }

  /** Rows were left out behind the first one of the session: in their microseconds their instruments are not complete. */
  #tell({ code, first, ids, last }: LeftOut): void {
    const range = {
      start: UnixNanos.floorMicros(first) * UnixNanos.PerMicro,
      end: (UnixNanos.floorMicros(last) + 1n) * UnixNanos.PerMicro
    }
    const schema = MarketSchema.fromCode(code)!
    const symbols = [...ids].map(String)
    this.#push({
      _tag: "Gap",
      gap: { _tag: "Gap", dataset: this.#options.dataset, schema, symbols, range, cause: "provider" }
    })
  }

  /** Says that data is missing, behind everything that came so far. */
  gap(gap: Gap): void {
    this.flush()
    this.#push({ _tag: "Gap", gap })
    this.#announce()
  }

  /** Claims that events wait for; undefined where none do. */
  claimsToRegister(): ReadonlyArray<ListingClaim> | undefined {
    const head = this.#waiting[0]
    if (head?._tag === "Claims") return head.claims
    if (head?._tag !== "Batch") return undefined
    return this.#ids
      .unknownOf(head.batch.columns.instrument, indexTimes(head.batch), head.rows ?? [])
      .map(({ nativeId, day }) =>
        daysClaim(this.#options.dataset, nativeId, this.#names.get(nativeId)?.rawSymbol, day, day + 1)
      )
  }

  /** What `claimsToRegister` gave is registered, in the same order. */
  registered(claims: ReadonlyArray<ListingClaim>, instruments: ReadonlyArray<Instrument>): void {
    for (const [i, claim] of claims.entries()) this.#learn(claim, instruments[i]!)
    // Instruments kept beside the rows may be those of an earlier mapping.
    this.seen.forgetInstruments()
    if (this.#waiting[0]?._tag === "Claims") this.#waiting.shift()
    while (this.#waiting.length > 0 && this.#release(this.#waiting[0]!)) this.#waiting.shift()
    if (this.#waiting.length > 0) this.#options.onClaims()
  }

  #add(block: RecordBlock): void {
    this.#batches.add(this.filter.isActive ? this.filter.apply(block) : block, this.#accept)
  }

  #learn(claim: ListingClaim, instrument: Instrument): void {
    const nativeId = claim.nativeId!
    this.#directory.set(instrument.id, instrument)
    this.#ids.add(
      nativeId,
      dayOfNanos(claim.valid.start),
      dayOfNanos(claim.valid.end - 1n) + 1,
      instrument.id
    )
    const requested = this.#names.get(nativeId)?.requested ?? claim.rawSymbol
    if (requested !== undefined) this.#options.publish({ _tag: "Mapping", claim, requested }, 0)
  }

  readonly #accept = (batch: MarketBatch): void => {
    const bytes = batchBytes(batch)
    this.#options.budget.take(bytes)
    this.lastEvent = lastTime(batch)
    if (this.#waiting.length > 0) {
      this.seen.count(batch)
      this.#push({ _tag: "Batch", batch, rows: undefined })
      return
    }
    let rows = this.seen.assign(batch, this.#find)
    if (rows === undefined) {
      this.seen.count(batch)
      rows = this.#ids.assign(batch.columns.instrument, indexTimes(batch))
    }
    if (rows.length === 0) this.#options.publish({ _tag: "Batch", batch }, bytes)
    else this.#push({ _tag: "Batch", batch, rows })
  }

  readonly #find = (nativeId: number, day: number): number | undefined => this.#ids.get(nativeId, day)

  /** Hands an event on, or lines it up. */
  #push(event: Waiting): void {
    if (event._tag === "Gap" && this.#waiting.length === 0) {
      this.#release(event)
      return
    }
    this.#waiting.push(event)
    if (this.#waiting.length === 1) this.#hasNews = true
  }

  /** Says that something waits for a registration: once for all that one read of the socket has brought. */
  #announce(): void {
    if (!this.#hasNews) return
    this.#hasNews = false
    this.#options.onClaims()
  }

  /** Publishes an event whose turn it is; false where it has to wait for a registration. */
  #release(event: Waiting): boolean {
    if (event._tag === "Claims") return false
    if (event._tag === "Gap") {
      this.#options.publish(event.gap, 0)
      return true
    }
    const { batch } = event
    event.rows = this.#ids.assign(batch.columns.instrument, indexTimes(batch), event.rows)
    if (event.rows.length > 0) return false
    this.#options.publish({ _tag: "Batch", batch }, batchBytes(batch))
    return true
  }

  #other(block: RecordBlock, position: number): void {
    const rtype = (block.words[position]! >>> 8) & 0xff
    if (rtype === Rtype.symbolMapping) {
      const record = decodeRecord(block, position)
      if (record.type === "symbol_mapping") this.#map(record)
      return
    }
    const notice = readNotice(block, position)
    if (notice !== undefined) this.#options.onNotice(notice)
  }

  #map(record: SymbolMappingRecord): void {
    const claim = mappingClaim(this.#options.dataset, record)
    if (claim === undefined) return
    const nativeId = record.instrumentId
    const requested = record.stypeInSymbol === "" ? record.stypeOutSymbol : record.stypeInSymbol
    const ids = this.#requested.get(requested) ?? new Set()
    this.#requested.set(requested, ids.add(nativeId))
    const startDay = dayOfNanos(claim.valid.start)
    const endDay = dayOfNanos(claim.valid.end - 1n) + 1
    const known = this.#names.get(nativeId)
    const isSame = known?.rawSymbol === record.stypeOutSymbol
    // Every session begins with the same mappings again: they are no news.
    if (isSame && known.startDay <= startDay && endDay <= known.endDay) return
    // Rows in front of the record keep the meaning they had.
    if (known !== undefined && !isSame) this.flush()
    this.#names.set(nativeId, { rawSymbol: record.stypeOutSymbol, requested, startDay, endDay })
    this.#claim(claim)
  }

  #claim(claim: ListingClaim): void {
    const last = this.#waiting.at(-1)
    // The first in line may be on its way to the registry already.
    const isOpen = (this.#waiting.length > 1 || this.#hasNews) && last?._tag === "Claims"
    if (isOpen && last.claims.length < CLAIMS_PER_REGISTRATION) last.claims.push(claim)
    else this.#push({ _tag: "Claims", claims: [claim] })
  }
}

/** Memory that a batch holds on to. */
const batchBytes = (batch: MarketBatch): number =>
  batch.columns.tsEvent.buffer.byteLength + BATCH_OVERHEAD_BYTES

/** Time of a batch's last row by the clock of its schema. */
const lastTime = (batch: MarketBatch): bigint | undefined => {
  if (batch.length === 0) return undefined
  const row = batch.length - 1
  if (batch._tag !== "QuoteBatch") return batch.columns.tsEvent[row]
  const schema = MarketSchema.fromCode(batch.columns.schema[row]!)
  const isByReceive = schema !== undefined && MarketSchema.clock(schema) === "ts_recv"
  return isByReceive ? batch.columns.tsRecv[row] : batch.columns.tsEvent[row]
}

/** The block in parts that end with a system record. */
function* cutBehindSystem(block: RecordBlock): Generator<RecordBlock> {
  const { words } = block
  let start = block.start
  let length = 0
  for (let p = block.start; p < block.end; ) {
    const isSystem = ((words[p]! >>> 8) & 0xff) === Rtype.system
    p += words[p]! & 0xff
    length += 1
    if (!isSystem && p < block.end) continue
    yield new RecordBlock({ ...block, start, end: p, length })
    start = p
    length = 0
  }
}
