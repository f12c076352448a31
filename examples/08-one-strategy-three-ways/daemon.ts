/** The service as a process of its own, with a ring for others on this host. Ends with SIGTERM. */
import { LiveService } from "@data-manager/core"
import { ShmPublication } from "@data-manager/transport-shm"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Console, Effect, Layer } from "effect"
import { serviceLayer, storeLayer } from "./service.ts"

const [dataDir, ring] = process.argv.slice(2) as [string, string]

const layer = serviceLayer(dataDir).pipe(
  Layer.provide(ShmPublication.layer({ name: ring, dir: dataDir, capacity: 65_536 })),
  Layer.provide(storeLayer(dataDir))
)

const program = Effect.gen(function* () {
  const { failure } = yield* LiveService.LiveService
  yield* Console.log("collecting")
  return yield* failure
})

NodeRuntime.runMain(Effect.provide(program, layer))
