/** The provider suite against the provider in memory, with and without replay. */
import { Effect } from "effect"
import * as FastClock from "../src/FastClock.ts"
import type { ProviderService } from "../src/ProviderService.ts"
import * as ProviderSuite from "../src/ProviderSuite.ts"
import { TAPE_START } from "../src/TestVenue.ts"
import { memoryService } from "./MemoryService.ts"

const clock = () => FastClock.make(TAPE_START + 60_000_000_000n)
const service = (more: Parameters<typeof memoryService>[0] = {}): Effect.Effect<ProviderService> =>
  Effect.sync(() => memoryService(more))

ProviderSuite.run("the provider in memory", { service: service(), clock })
ProviderSuite.run("without replay", {
  service: service({ capabilities: { replaySeconds: 0 } }),
  clock
})
ProviderSuite.run("billed", {
  service: service({ capabilities: { billed: true } }),
  clock
})
