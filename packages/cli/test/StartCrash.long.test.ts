import { it } from "vitest"
import { killAndCollect } from "./StartCrash.ts"

it("a service killed fifty times ends in exactly the trades of the day", { timeout: 1_800_000 }, () =>
  killAndCollect(50, 200_000, 20_000)
)
