// Second processes of the tests, spoken to over their standard streams.
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtempSync, rmSync } from "node:fs"
import { join } from "node:path"
import { createInterface, type Interface } from "node:readline"

/** A directory of its own in shared memory, for one test. */
export const testDirectory = (): { readonly dir: string; readonly remove: () => void } => {
  const dir = mkdtempSync("/dev/shm/dm-test-")
  return { dir, remove: () => rmSync(dir, { recursive: true, force: true }) }
}

export class TestProcess {
  readonly child: ChildProcess
  readonly #lines: Interface
  readonly #answers: Array<Record<string, unknown>> = []
  #wanting: ((answer: Record<string, unknown>) => void) | undefined

  constructor(script: string, args: ReadonlyArray<string>) {
    const file = join(import.meta.dirname, script)
    const options = ["--conditions=source", "--disable-warning=ExperimentalWarning"]
    this.child = spawn(process.execPath, [...options, file, ...args], { stdio: ["pipe", "pipe", "inherit"] })
    this.#lines = createInterface({ input: this.child.stdout! })
    this.#lines.on("line", (line) => {
      const answer = JSON.parse(line) as Record<string, unknown>
      const wanting = this.#wanting
      this.#wanting = undefined
      if (wanting === undefined) this.#answers.push(answer)
      else wanting(answer)
    })
  }

  /** The next line the process says. */
  answer(): Promise<Record<string, unknown>> {
    const ready = this.#answers.shift()
    return ready === undefined ? new Promise((resolve) => (this.#wanting = resolve)) : Promise.resolve(ready)
  }

  tell(line: string): void {
    this.child.stdin!.write(`${line}\n`)
  }

  ask(line: string): Promise<Record<string, unknown>> {
    this.tell(line)
    return this.answer()
  }

  signal(name: NodeJS.Signals): void {
    this.child.kill(name)
  }

  async end(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return
    const exited = once(this.child, "exit")
    this.child.kill(signal)
    await exited
  }
}
