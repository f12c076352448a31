/** The gateway's side of the challenge: the client proves that it has the key without sending it. */
import { createHash, randomBytes, timingSafeEqual } from "node:crypto"

/** Characters at the end of a key by which the gateway finds it. */
export const BUCKET_LENGTH = 5

const HASH_LENGTH = 64

/** 32 characters that no other session gets. */
export const newChallenge = (): string => randomBytes(24).toString("base64url")

/** Whether `auth` (hash of challenge and key, `-`, end of the key) was made from this challenge and key. */
export const isAuthentic = (auth: string, challenge: string, key: string): boolean => {
  const hash = createHash("sha256").update(`${challenge}|${key}`).digest("hex")
  const expected = Buffer.from(`${hash}-${key.slice(-BUCKET_LENGTH)}`)
  const given = Buffer.from(auth)
  return auth[HASH_LENGTH] === "-" && given.length === expected.length && timingSafeEqual(given, expected)
}
