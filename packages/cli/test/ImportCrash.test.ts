import { it } from "vitest"
import { killAndFinish } from "./ImportCrash.ts"

it("an import killed at random moments ends in exactly the rows of the file", async () => {
  await killAndFinish(3, 300_000, 1)
}, 120_000)
