/**
 * Several sorted inputs as one: records in the order of their index time, equal times in the order of the inputs. Works on
 * runs: as long as one input is ahead of all others, its records are passed on together.
 */
import type { RecordBlock } from "./RecordBlock.ts"
import { indexTimeWords } from "./SymbolMap.ts"

/** An input: blocks in order, each valid until the next is asked for; undefined at the end. */
export interface BlockSource {
  readonly next: () => Promise<RecordBlock | undefined>
}

/** What is at hand of one input. */
interface Head {
  readonly source: BlockSource
  readonly order: number
  block: RecordBlock
  position: number
}

/** Whether record `p` of a block comes before record `q` of another; u64 times as words, the high one first. */
const isBefore = (a: RecordBlock, p: number, b: RecordBlock, q: number): boolean => {
  const at = p + indexWord(a, p)
  const bt = q + indexWord(b, q)
  const high = (a.words[at + 1]! >>> 0) - (b.words[bt + 1]! >>> 0)
  return high !== 0 ? high < 0 : a.words[at]! >>> 0 < b.words[bt]! >>> 0
}

const indexWord = (block: RecordBlock, p: number): number =>
  indexTimeWords(block.version)[(block.words[p]! >>> 8) & 0xff]!

/** Gives the records of sorted sources in order, as blocks; each is valid until the next is asked for. */
export async function* mergeBlocks(
  sources: ReadonlyArray<BlockSource>
): AsyncGenerator<RecordBlock, void, undefined> {
  const heads: Array<Head> = []
  for (const [order, source] of sources.entries()) {
    const block = await nextRecords(source)
    if (block !== undefined) heads.push({ source, order, block, position: block.start })
  }
  while (heads.length > 0) {
    const [first, second] = twoFirst(heads)
    const end = second === undefined ? first.block.end : runEnd(first, second)
    yield first.block.between(first.position, end)
    first.position = end
    if (end < first.block.end) continue
    const block = await nextRecords(first.source)
    if (block === undefined) heads.splice(heads.indexOf(first), 1)
    else {
      first.block = block
      first.position = block.start
    }
  }
}

/** The next block that has records: a header alone has none. */
const nextRecords = async (source: BlockSource): Promise<RecordBlock | undefined> => {
  for (;;) {
    const block = await source.next()
    if (block === undefined || block.length > 0) return block
  }
}

const comesFirst = (a: Head, b: Head): boolean =>
  isBefore(a.block, a.position, b.block, b.position) ||
  (!isBefore(b.block, b.position, a.block, a.position) && a.order < b.order)

/** The heads of the first two records. */
const twoFirst = (heads: ReadonlyArray<Head>): readonly [Head, Head | undefined] => {
  let first = heads[0]!
  let second: Head | undefined
  for (let i = 1; i < heads.length; i++) {
    const head = heads[i]!
    if (comesFirst(head, first)) {
      second = first
      first = head
    } else if (second === undefined || comesFirst(head, second)) second = head
  }
  return [first, second]
}

/** Where the run of `first` ends: at its first record that does not come before the one of `second`. */
const runEnd = (first: Head, second: Head): number => {
  const { block, position } = first
  const { block: other, position: limit } = second
  const winsTies = first.order < second.order
  let p = position
  do p += block.words[p]! & 0xff
  while (
    p < block.end &&
    (isBefore(block, p, other, limit) || (winsTies && !isBefore(other, limit, block, p)))
  )
  return p
}
