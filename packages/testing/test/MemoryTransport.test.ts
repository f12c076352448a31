import { MemoryTransport, Publication, Subscription } from "@data-manager/core"
import { Effect, Layer } from "effect"
import { TransportSuite } from "../src/index.ts"

/** Both ends of one transport as layers of their own: the publication's scope is that of the transport. */
const ends = (name: string): TransportSuite.TransportEnds => {
  let transport: MemoryTransport.MemoryTransport | undefined
  return {
    publication: Layer.effect(
      Publication,
      Effect.map(MemoryTransport.make({ name, capacity: 4_096 }), (made) => {
        transport = made
        return made.publication
      })
    ),
    subscription: Layer.effect(
      Subscription,
      Effect.suspend(() => transport!.connect())
    )
  }
}

TransportSuite.run("in memory", { make: ends, overtake: 10_000, history: true })
