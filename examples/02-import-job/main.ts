/**
 * An import job of your own: the same pieces that `dm import` is made of, composed with your own reporting. Pass DBN files
 * as arguments; without any it makes two, one of them damaged, to show what a failure looks like.
 */
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { FileImport, MarketStore } from "@data-manager/core"
import { dbnFile } from "@data-manager/providers-databento"
import { SyntheticMarket } from "@data-manager/providers-databento/simulator"
import { TimescaleStore } from "@data-manager/storage-timescale"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Console, Effect, Layer, Stream } from "effect"

/** Two files in a temporary folder: a sound one, and one that was cut off in the middle of a record. */
const sampleFiles = Effect.acquireRelease(
  Effect.sync(() => {
    const folder = mkdtempSync(join(tmpdir(), "import-job-"))
    const bytes = Buffer.concat([...new SyntheticMarket({ symbols: 5, trades: 10_000 }).tradeFile()])
    writeFileSync(join(folder, "sound.dbn"), bytes)
    writeFileSync(join(folder, "cut.dbn"), bytes.subarray(0, bytes.length - 10))
    return folder
  }),
  (folder) => Effect.sync(() => rmSync(folder, { recursive: true }))
).pipe(Effect.map((folder) => ["sound.dbn", "cut.dbn"].map((name) => join(folder, name))))

const report = (event: FileImport.ImportEvent): Effect.Effect<void> => {
  switch (event._tag) {
    case "FileDone":
      return Console.log(`stored ${event.summary.inserted} rows, ${event.summary.duplicates} were there`)
    case "FileFailed":
      return Console.log(
        `failed after ${event.summary.inserted + event.summary.duplicates} rows: ${event.error.reason._tag}`
      )
    default:
      return Effect.void
  }
}

const job = Effect.scoped(
  Effect.gen(function* () {
    const paths = process.argv.length > 2 ? process.argv.slice(2) : yield* sampleFiles
    const files = paths.map((path) => dbnFile(path, statSync(path).size))
    yield* Stream.runForEach(FileImport.run(files), report)
    const held = yield* (yield* MarketStore).coverage({ states: ["held"] })
    yield* Console.log(`${held.length} instruments have coverage`)
  })
)

const Store = TimescaleStore.layerEmbedded({ dataDir: process.env.DM_DATA_DIR ?? "./data" })

NodeRuntime.runMain(job.pipe(Effect.provide(Layer.merge(Store, NodeServices.layer))))
