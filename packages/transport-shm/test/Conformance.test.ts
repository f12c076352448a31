import { TransportSuite } from "@data-manager/testing"
import { afterAll, beforeAll, beforeEach } from "vitest"
import * as ShmPublication from "../src/ShmPublication.ts"
import * as ShmSubscription from "../src/ShmSubscription.ts"
import { needsAddon } from "./process/NeedsAddon.ts"
import { PublicationProcess } from "./process/RemotePublication.ts"
import { testDirectory } from "./process/TestProcess.ts"

beforeEach(needsAddon)

const place = testDirectory()
let other: PublicationProcess | undefined
beforeAll(() => {
  other = new PublicationProcess()
})
afterAll(async () => {
  await other?.end()
  place.remove()
})

const capacity = 4_096
const traits = { overtake: 10_000, history: true }

TransportSuite.run("shared memory", {
  make: (card) => ({
    publication: ShmPublication.layer({ dir: place.dir, name: card, capacity }),
    subscription: ShmSubscription.layer({ dir: place.dir, name: card })
  }),
  ...traits
})

TransportSuite.run("shared memory, the publication in another process", {
  make: (card) => ({
    publication: other!.layer({ dir: place.dir, name: `other-${card}`, capacity }),
    subscription: ShmSubscription.layer({ dir: place.dir, name: `other-${card}` })
  }),
  ...traits
})
