import { TransportSuite } from "@data-manager/testing"
import { afterAll, beforeEach } from "vitest"
import * as ShmPublication from "../src/ShmPublication.ts"
import * as ShmSubscription from "../src/ShmSubscription.ts"
import { needsAddon } from "./process/NeedsAddon.ts"
import { testDirectory } from "./process/TestProcess.ts"

beforeEach(needsAddon)

const place = testDirectory()
afterAll(() => place.remove())

TransportSuite.run("shared memory", {
  make: (card) => ({
    publication: ShmPublication.layer({ dir: place.dir, name: card, capacity: 4_096 }),
    subscription: ShmSubscription.layer({ dir: place.dir, name: card })
  }),
  overtake: 10_000,
  history: true
})
