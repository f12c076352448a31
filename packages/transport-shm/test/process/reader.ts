// A reader process. argv: directory, name, JSON options of the reader, or "from": the sequence to start at. "rows N" answers
// when N rows are there.
import { createInterface } from "node:readline"
import { RingReader } from "@data-manager/transport-shm"

const [dir, name, json = "{}"] = process.argv.slice(2) as [string, string, string?]
const say = (value: unknown): void => void process.stdout.write(`${JSON.stringify(value)}\n`)
try {
  const { from, ...options } = JSON.parse(json)
  if (from !== undefined) options.start = { _tag: "Sequence", sequence: BigInt(from) }
  const reader = new RingReader({ dir, name, ...options })
  let rows = 0
  let wanted = Number.POSITIVE_INFINITY
  const tell = (): void => {
    if (rows < wanted) return
    wanted = Number.POSITIVE_INFINITY
    const { lost, gaps, position } = reader.stats
    say({ rows, lost, gaps, position })
  }
  reader.listen((events) => {
    for (const event of events) if (event._tag === "Batch") rows += event.batch.length
    tell()
  })
  createInterface({ input: process.stdin }).on("line", (line) => {
    wanted = Number(line.split(" ")[1])
    tell()
  })
  say({ ready: true })
} catch (error) {
  say({ error: (error as Error).message, reason: (error as { reason?: { _tag: string } }).reason?._tag })
  process.exit(1)
}
