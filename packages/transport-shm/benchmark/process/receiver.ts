// A reading process of the benchmarks. argv: what, directory, name, and milliseconds or "reuse". Says "ready", and a line of
// JSON at the end.
import { RingReader } from "@data-manager/transport-shm"

// Whoever measured is gone: nobody would end this process.
process.stdin.on("close", () => process.exit(0)).resume()

const [what, dir, name, detail] = process.argv.slice(2) as [string, string, string, string]
const say = (value: unknown): void => void process.stdout.write(`${JSON.stringify(value)}\n`)

/** Rows that arrive in so many milliseconds, from the first one on. */
const rate = async (): Promise<void> => {
  const reader = new RingReader({ dir, name, mode: "spin", reuseMemory: true })
  say("ready")
  let start = 0
  let rows = 0
  let polls = 0
  for await (const events of reader.events({ limit: 4096 })) {
    if (start === 0) start = performance.now()
    for (const event of events) if (event._tag === "Batch") rows += event.batch.length
    if ((++polls & 255) === 0 && performance.now() - start > Number(detail)) break
  }
  say({ rate: (rows / (performance.now() - start)) * 1_000, lost: reader.stats.lost })
}

/** What reading a whole ring adds to the resident memory of a process that had not opened one. */
const memory = (): void => {
  const before = process.memoryUsage.rss()
  const reader = new RingReader({ dir, name, start: { _tag: "Oldest" }, reuseMemory: detail === "reuse" })
  let rows = 0
  for (let events = reader.poll(); events.length > 0; events = reader.poll())
    for (const event of events) if (event._tag === "Batch") rows += event.batch.length
  say({ rows, added: process.memoryUsage.rss() - before })
}

await { rate, memory }[what]!()
process.exit(0)
