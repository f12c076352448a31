/** The order book of `mbo` records at a moment, as the gateway sends it to those who ask for a snapshot. */

import * as Flag from "../dbn/Flag.ts"
import { blankRecord, encodeRecord } from "../dbn/RecordEncoder.ts"
import { entryOf } from "./MapEntry.ts"
import { type RecordTable, RecordTableBuilder } from "./RecordTable.ts"
import type { InstrumentFilter } from "./Selection.ts"

/** Offsets of an mbo record. */
const PUBLISHER = 2
const ORDER_ID = 16
const PRICE = 24
const SIZE = 32
const FLAGS = 36
const ACTION = 38
const SIDE = 39
const TS_RECV = 40

const BID = 0x42

interface Order {
  readonly row: number
  readonly price: bigint
  readonly size: number
  readonly side: number
}

/** Orders of one instrument of one publisher, in the order of their priority at each price. */
class Book {
  readonly publisherId: number
  readonly instrumentId: number
  readonly #orders = new Map<bigint, Order>()

  constructor(publisherId: number, instrumentId: number) {
    this.publisherId = publisherId
    this.instrumentId = instrumentId
  }

  apply(action: string, id: bigint, order: Order): void {
    if (action === "R") this.#orders.clear()
    else if (action === "A") this.#orders.set(id, order)
    else if (action === "M") this.#modify(id, order)
    else if (action === "C") this.#cancel(id, order)
  }

  /** Bids from the best price on, then asks; at one price by priority. */
  sorted(): ReadonlyArray<Order> {
    const byPrice = (a: Order, b: Order): number => (a.price < b.price ? -1 : a.price > b.price ? 1 : 0)
    const orders = [...this.#orders.values()]
    return [
      ...orders.filter((order) => order.side === BID).sort((a, b) => byPrice(b, a)),
      ...orders.filter((order) => order.side !== BID).sort(byPrice)
    ]
  }

  /** Another price or a larger size puts an order behind the others. */
  #modify(id: bigint, order: Order): void {
    const before = this.#orders.get(id)
    if (before !== undefined && (order.price !== before.price || order.size > before.size))
      this.#orders.delete(id)
    this.#orders.set(id, order)
  }

  #cancel(id: bigint, order: Order): void {
    const before = this.#orders.get(id)
    if (before === undefined) return
    if (order.size >= before.size) this.#orders.delete(id)
    else this.#orders.set(id, { ...before, size: before.size - order.size })
  }
}

const booksAt = (table: RecordTable, filter: InstrumentFilter, time: bigint): ReadonlyArray<Book> => {
  const books = new Map<number, Book>()
  const view = new DataView(table.bytes.buffer)
  const end = table.firstAt(time)
  for (let row = 0; row < end; row++) {
    const id = table.ids[row]!
    if (!filter.accepts(id, table.times[row]!)) continue
    const at = table.offsets[row]!
    const publisher = view.getUint16(at + PUBLISHER, true)
    const key = publisher * 0x1_0000_0000 + id
    const book = entryOf(books, key, () => new Book(publisher, id))
    book.apply(String.fromCharCode(view.getUint8(at + ACTION)), view.getBigUint64(at + ORDER_ID, true), {
      row,
      price: view.getBigInt64(at + PRICE, true),
      size: view.getUint32(at + SIZE, true),
      side: view.getUint8(at + SIDE)
    })
  }
  return [...books.values()]
}

/**
 * Per instrument a clear and then an add per order, all of them received at `time`; the last one of an instrument ends
 * the event.
 */
export const bookSnapshot = (table: RecordTable, filter: InstrumentFilter, time: bigint): RecordTable => {
  const builder = new RecordTableBuilder("mbo")
  const flags = Flag.SNAPSHOT | Flag.BAD_TS_RECV
  for (const book of booksAt(table, filter, time)) {
    const orders = book.sorted()
    const { publisherId, instrumentId } = book
    const clear = blankRecord("mbo", {
      publisherId,
      instrumentId,
      tsEvent: time,
      tsRecv: time,
      action: "R",
      size: 0,
      flags: orders.length === 0 ? flags | Flag.LAST : flags
    })
    builder.addEncoded(encodeRecord(clear, { version: 3 }))
    orders.forEach((order, i) => {
      const bytes = table.bytes.slice(table.offsets[order.row]!, table.offsets[order.row + 1]!)
      const view = new DataView(bytes.buffer)
      view.setUint32(SIZE, order.size, true)
      view.setUint8(FLAGS, i === orders.length - 1 ? flags | Flag.LAST : flags)
      view.setUint8(ACTION, 0x41)
      view.setBigUint64(TS_RECV, time, true)
      builder.addEncoded(bytes)
    })
  }
  return builder.build()
}
