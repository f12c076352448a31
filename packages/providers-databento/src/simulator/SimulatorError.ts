/** The error of a simulator that cannot start: a port in use, a file that cannot be read. */
import { Data } from "effect"

/** `detail` says what happened; the message says to which operation. */
export class SimulatorError extends Data.TaggedError("SimulatorError")<{
  readonly operation: string
  readonly detail: string
  readonly cause?: unknown
}> {
  override get message(): string {
    return `databento simulator: ${this.operation}: ${this.detail}`
  }
}
