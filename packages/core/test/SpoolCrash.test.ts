import { describe, it } from "@effect/vitest"
import { crashRounds } from "./SpoolCrash.ts"

// Twenty rounds: `SpoolCrash.long.test.ts`.
describe("a spool whose process is killed", () => {
  it.live("has every frame that was told to be on disk, and goes on without hole or repeat", () =>
    crashRounds(2)
  )
})
