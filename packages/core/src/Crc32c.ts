/**
 * CRC-32C (Castagnoli): polynomial 0x1EDC6F41 reflected, start and final xor 0xFFFFFFFF, as in iSCSI (RFC 3720, B.4), ext4 and
 * many logs. Not the CRC-32 of zip and gzip, which has another polynomial.
 */

/** Eight tables of 256 one after another: table `k` has the remainder of a byte with `k` zero bytes behind it. */
const tables = (() => {
  const all = new Int32Array(8 * 256)
  for (let byte = 0; byte < 256; byte++) {
    let remainder = byte
    for (let bit = 0; bit < 8; bit++) remainder = (remainder >>> 1) ^ (remainder & 1 ? 0x82f63b78 : 0)
    all[byte] = remainder
  }
  for (let at = 256; at < all.length; at++) {
    const before = all[at - 256]!
    all[at] = (before >>> 8) ^ all[before & 255]!
  }
  return all
})()

/** Register before the first byte. */
export const Start = -1

/** Moves the register over 32-bit words `[from, to)`, an even number of them: two at a time. Little-endian machines only. */
export const overWords = (register: number, words: Int32Array, from: number, to: number): number => {
  let crc = register
  for (let i = from; i < to; i += 2) {
    const low = crc ^ words[i]!
    const high = words[i + 1]!
    crc =
      tables[1792 + (low & 255)]! ^
      tables[1536 + ((low >>> 8) & 255)]! ^
      tables[1280 + ((low >>> 16) & 255)]! ^
      tables[1024 + (low >>> 24)]! ^
      tables[768 + (high & 255)]! ^
      tables[512 + ((high >>> 8) & 255)]! ^
      tables[256 + ((high >>> 16) & 255)]! ^
      tables[high >>> 24]!
  }
  return crc
}

/** Moves the register over bytes, wherever they lie. */
export const overBytes = (register: number, bytes: Uint8Array): number => {
  let crc = register
  for (let i = 0; i < bytes.length; i++) crc = (crc >>> 8) ^ tables[(crc ^ bytes[i]!) & 255]!
  return crc
}

/** The check sum of a register, as a u32. */
export const finish = (register: number): number => (register ^ -1) >>> 0

/** The check sum of some bytes. */
export const of = (bytes: Uint8Array): number => finish(overBytes(Start, bytes))
