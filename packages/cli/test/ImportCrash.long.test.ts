import { it } from "vitest"
import { killAndFinish } from "./ImportCrash.ts"

it("an import killed at ten random moments ends in exactly the rows of the file", async () => {
  for (let seed = 1; seed <= 3; seed++)
    console.log(`killed after ${(await killAndFinish(10, 1_000_000, seed)).join(", ")} ms`)
}, 900_000)
