/**
 * What live collection carries with 20,000 symbols, with simulator, service and strategy as processes of their own on this
 * machine.
 *
 *     npm run bench -- cli/load                         a minute, short runs
 *     npm run bench -- cli/load -- --long               the figures of docs/live-service.md
 *     npm run bench -- cli/load -- --only=throughput    or latency, database, memory
 *     npm run bench -- cli/load -- --only=memory --soak=600
 *     npm run bench -- cli/load -- --only=database --burst=30
 */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { buildDm } from "../test/BuiltDm.ts"
import { useDm } from "../test/Dm.ts"
import { latency, throughput } from "./load/CollectRun.ts"
import { finish } from "./load/Figures.ts"
import { database, standing } from "./load/StoreRun.ts"

const flags = process.argv.slice(2)
const isLong = flags.includes("--long")
const given = (name: string): string | undefined =>
  flags.find((flag) => flag.startsWith(`--${name}=`))?.slice(name.length + 3)
const only = given("only")
const isWanted = (part: string): boolean => only === undefined || only.split(",").includes(part)
const Symbols = 20_000

/** Runs a part in a folder of its own. */
const within = async (run: (folder: string) => Promise<void>): Promise<void> => {
  const folder = mkdtempSync(join(tmpdir(), "dm-load-"))
  try {
    await run(folder)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

const nodeFlags = flags.filter((flag) => flag.startsWith("--cpu-prof"))

if (isWanted("throughput"))
  await within((folder) =>
    throughput(
      {
        folder,
        nodeFlags,
        symbols: Symbols,
        rate: 2_100_000,
        seconds: isLong ? 60 : 8,
        warmUp: 4,
        capacity: 1 << 20
      },
      2_000_000
    )
  )

if (isWanted("latency"))
  for (const mode of ["park", "linger"] as const)
    await within((folder) =>
      latency(
        {
          folder,
          symbols: Symbols,
          rate: 100_000,
          seconds: isLong ? 30 : 5,
          warmUp: 4,
          capacity: 1 << 18,
          mode
        },
        { p50: 100_000, p99: 1_000_000 }
      )
    )

/** Runs a part with the program as it is installed. */
const withDm = async (run: () => Promise<void>): Promise<void> => {
  const built = await buildDm()
  useDm(built)
  try {
    await run()
  } finally {
    rmSync(built.folder, { recursive: true, force: true })
  }
}

if (isWanted("database"))
  await withDm(() =>
    database({
      symbols: Symbols,
      seconds: isLong ? 60 : 10,
      burstSeconds: Number(given("burst") ?? (isLong ? 30 : 3)),
      yardstickRows: isLong ? 3_000_000 : 1_000_000
    })
  )

if (isWanted("memory")) {
  const seconds = Number(given("soak") ?? (isLong ? 1_800 : 30))
  await withDm(() => standing({ symbols: Symbols, rate: 10_000, seconds }))
}

finish()
