/** Where bytes may be cut on their way: everywhere. What is fed to a decoder, and what `WireReplay` sends. */
import type { SeededRandom } from "./SeededRandom.ts"

/** Offsets at which a stream of bytes is cut, ascending. */
export type Cuts = ReadonlyArray<number>

/** One cut at each place where there can be one: `length` ways, the uncut one included. */
export const every = (length: number): ReadonlyArray<Cuts> =>
  Array.from({ length: Math.max(1, length) }, (_, at) => (at === 0 ? [] : [at]))

/** A cut after each byte. */
export const bytewise = (length: number): Cuts =>
  Array.from({ length: Math.max(0, length - 1) }, (_, i) => i + 1)

/** Cuts at random: about `pieces` pieces, many of them short. */
export const random = (length: number, pieces: number, source: SeededRandom): Cuts => {
  const cuts = new Set<number>()
  for (let i = 1; i < pieces; i++) {
    const at = source.below(Math.max(1, length))
    cuts.add(at).add(Math.min(length, at + source.below(3)))
  }
  return [...cuts].filter((at) => at > 0 && at < length).sort((a, b) => a - b)
}

/** The part of a stream that begins at `offset`, cut where the stream is to be cut. */
export const pieces = (bytes: Uint8Array, cuts: Cuts, offset = 0): ReadonlyArray<Uint8Array> => {
  const inside = cuts.map((at) => at - offset).filter((at) => at > 0 && at < bytes.length)
  return [0, ...inside].map((from, i) => bytes.subarray(from, inside[i] ?? bytes.length))
}
