import { describe, it } from "@effect/vitest"
import { crashRounds } from "./SpoolCrash.ts"

describe("a spool whose process is killed", () => {
  it.live("has every frame that was told to be on disk, 20 times", () => crashRounds(20))
})
