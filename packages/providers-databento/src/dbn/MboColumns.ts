/**
 * Order-by-order records (mbo) as columns. There is no stored kind for them; this is the fast path for programs that
 * rebuild books or study orders.
 */
import type { RecordBlock } from "./RecordBlock.ts"
import { Rtype } from "./Rtype.ts"

/**
 * Columns of one size that are filled, read and cleared. 64-bit columns come with a view as 32-bit words (low at 2i, high
 * at 2i+1): reading words is several times faster than reading bigints. Values are those of the wire, sentinels included.
 */
export class MboColumns {
  readonly capacity: number
  /** Rows filled. */
  length = 0
  /** ns since the epoch. */
  readonly tsEvent: BigUint64Array<ArrayBuffer>
  readonly tsRecv: BigUint64Array<ArrayBuffer>
  readonly orderId: BigUint64Array<ArrayBuffer>
  /** Count of 1e-9. */
  readonly price: BigInt64Array<ArrayBuffer>
  readonly size: Uint32Array<ArrayBuffer>
  readonly instrumentId: Uint32Array<ArrayBuffer>
  readonly sequence: Uint32Array<ArrayBuffer>
  readonly tsInDelta: Int32Array<ArrayBuffer>
  readonly publisherId: Uint16Array<ArrayBuffer>
  /** ASCII letters as on the wire. */
  readonly action: Uint8Array<ArrayBuffer>
  readonly side: Uint8Array<ArrayBuffer>
  readonly flags: Uint8Array<ArrayBuffer>
  readonly channelId: Uint8Array<ArrayBuffer>
  /** The 64-bit columns as words. */
  readonly words: {
    readonly tsEvent: Int32Array<ArrayBuffer>
    readonly tsRecv: Int32Array<ArrayBuffer>
    readonly orderId: Int32Array<ArrayBuffer>
    readonly price: Int32Array<ArrayBuffer>
  }

  constructor(capacity = 65_536) {
    this.capacity = capacity
    this.tsEvent = new BigUint64Array(capacity)
    this.tsRecv = new BigUint64Array(capacity)
    this.orderId = new BigUint64Array(capacity)
    this.price = new BigInt64Array(capacity)
    this.size = new Uint32Array(capacity)
    this.instrumentId = new Uint32Array(capacity)
    this.sequence = new Uint32Array(capacity)
    this.tsInDelta = new Int32Array(capacity)
    this.publisherId = new Uint16Array(capacity)
    this.action = new Uint8Array(capacity)
    this.side = new Uint8Array(capacity)
    this.flags = new Uint8Array(capacity)
    this.channelId = new Uint8Array(capacity)
    this.words = {
      tsEvent: new Int32Array(this.tsEvent.buffer),
      tsRecv: new Int32Array(this.tsRecv.buffer),
      orderId: new Int32Array(this.orderId.buffer),
      price: new Int32Array(this.price.buffer)
    }
  }

  /** Forgets the rows; the memory is reused. */
  clear(): void {
    this.length = 0
  }

  /**
   * Adds the mbo records from word `from` on. Returns the word where it stopped: the end of the block, a record of another
   * type, or the first one that found no room.
   */
  gather(block: RecordBlock, from: number = block.start): number {
    const { words, end } = block
    const { tsEvent, tsRecv, orderId, price } = this.words
    const { size, instrumentId, sequence, tsInDelta, publisherId, action, side, flags, channelId } = this
    const { capacity } = this
    let row = this.length
    let p = from
    while (p < end && row < capacity) {
      const head = words[p]!
      if ((head & 0xff00) !== Rtype.mbo << 8) break
      const event = words[p + 9]!
      const j = row * 2
      tsEvent[j] = words[p + 2]!
      tsEvent[j + 1] = words[p + 3]!
      orderId[j] = words[p + 4]!
      orderId[j + 1] = words[p + 5]!
      price[j] = words[p + 6]!
      price[j + 1] = words[p + 7]!
      tsRecv[j] = words[p + 10]!
      tsRecv[j + 1] = words[p + 11]!
      size[row] = words[p + 8]!
      instrumentId[row] = words[p + 1]!
      sequence[row] = words[p + 13]!
      tsInDelta[row] = words[p + 12]!
      publisherId[row] = head >>> 16
      flags[row] = event
      channelId[row] = event >>> 8
      action[row] = event >>> 16
      side[row] = event >>> 24
      row++
      p += head & 0xff
    }
    this.length = row
    return p
  }
}
