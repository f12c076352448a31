// A producer process. argv: directory, name, JSON options. Commands come as lines on stdin: "publish FIRST ROWS",
// "forever ROWS MICROS", "close", "exit". Answers are JSON lines on stdout.
import { createInterface } from "node:readline"
import { RingWriter } from "@data-manager/transport-shm"
import { contextOf, quotes, trades } from "../TestBatch.ts"

const [dir, name, json = "{}"] = process.argv.slice(2) as [string, string, string?]
const options = JSON.parse(json) as { symbols?: number; kind?: "trades" | "quotes" }
const symbols = options.symbols ?? 8
const context = contextOf(symbols)
const say = (value: unknown): void => void process.stdout.write(`${JSON.stringify(value)}\n`)
try {
  const writer = new RingWriter({ dir, name, ...options })
  say({
    ready: true,
    epoch: writer.epoch,
    position: writer.position,
    takenOver: writer.takenOver,
    repaired: writer.repaired
  })
  let next = writer.position
  const commands: Record<string, (...args: Array<number>) => void> = {
    publish: (first, rows) => {
      const make = options.kind === "quotes" ? quotes : trades
      writer.publish(make(context, symbols, first!, rows!))
      next = first! + rows!
      say({ position: writer.position })
    },
    // Batches of the tape for ever, each row with its own position as key; in bursts of so many batches.
    forever: (rows, micros, burst = 1) => {
      const tape = Array.from({ length: 64 }, (_, k) => trades(context, symbols, k * rows!, rows!))
      const step = (): void => {
        for (let k = 0; k < burst; k++) {
          const batch = tape[Math.floor(next / rows!) % 64]!
          for (let i = 0; i < rows!; i++) batch.columns.tradeKey[i] = BigInt(next + i)
          writer.publish(batch)
          next += rows!
        }
        setTimeout(step, micros! / 1000)
      }
      step()
    },
    close: () => {
      writer.close()
      say({ closed: true })
    },
    exit: () => process.exit(0)
  }
  createInterface({ input: process.stdin }).on("line", (line) => {
    const [command, ...args] = line.split(" ")
    commands[command!]!(...args.map(Number))
  })
} catch (error) {
  say({ error: (error as Error).message, reason: (error as { reason?: { _tag: string } }).reason?._tag })
  process.exit(1)
}
