// A publication in another process, behind core's `Publication`: what is tested through it is tested between two processes.
import { type ChildProcess, fork } from "node:child_process"
import { once } from "node:events"
import { join } from "node:path"
import {
  type MarketBatch,
  Publication,
  type PublishResult,
  TransportBadRequest,
  TransportError
} from "@data-manager/core"
import { Effect, Layer } from "effect"
import type { ShmPublicationOptions } from "../../src/ShmPublication.ts"
import type { Request, SentBatch } from "./publication.ts"

interface Answer {
  readonly id: number
  readonly value?: unknown
  readonly problem?: string
}

const sent = (batch: MarketBatch): SentBatch => {
  if (batch._tag !== "TradeBatch") throw new Error(`a ${batch._tag} cannot be sent`)
  const { provider, dataset, keyKind, instruments, replay } = batch.context
  const named = [...new Set(batch.columns.instrument)].flatMap((id) => instruments.get(id) ?? [])
  const columns = Object.fromEntries(
    Object.entries(batch.columns).map(([name, view]) => [name, view.slice()])
  )
  return {
    provider,
    dataset,
    keyKind,
    replay,
    instruments: named,
    columns: columns as never,
    length: batch.length
  }
}

/** One process for the publications of a test file. */
export class PublicationProcess {
  readonly child: ChildProcess
  readonly #waiting = new Map<number, (answer: Answer) => void>()
  #sent = 0

  constructor() {
    const execArgv = ["--conditions=source", "--disable-warning=ExperimentalWarning"]
    this.child = fork(join(import.meta.dirname, "publication.ts"), { execArgv, serialization: "advanced" })
    this.child.on("message", (answer: Answer) => {
      this.#waiting.get(answer.id)!(answer)
      this.#waiting.delete(answer.id)
    })
    this.child.on("exit", (code, signal) => {
      for (const settle of this.#waiting.values())
        settle({ id: 0, problem: `the process ended: ${code ?? signal}` })
    })
  }

  #ask<A>(request: Request): Effect.Effect<A, TransportError> {
    return Effect.callback<A, TransportError>((resume) => {
      const id = ++this.#sent
      this.#waiting.set(id, ({ value, problem }) => {
        if (problem === undefined) return resume(Effect.succeed(value as A))
        const reason = new TransportBadRequest({ detail: problem })
        resume(Effect.fail(new TransportError({ transport: "shm", operation: request.op, reason })))
      })
      this.child.send({ id, request })
    })
  }

  /** The publication ends with its layer, the process goes on. */
  layer(options: ShmPublicationOptions): Layer.Layer<Publication, TransportError> {
    const { name } = options
    const make = Effect.acquireRelease(this.#ask<void>({ op: "open", options }), () =>
      Effect.ignore(this.#ask({ op: "close", name }))
    ).pipe(
      Effect.map(() =>
        Publication.of({
          name,
          kinds: options.kinds ?? ["trades"],
          publish: (batch) => this.#ask<PublishResult>({ op: "publish", name, batch: sent(batch) }),
          publishGap: (gap) => this.#ask<void>({ op: "publishGap", name, gap }),
          publishRepaired: (repaired) => this.#ask<void>({ op: "publishRepaired", name, repaired }),
          markDurable: (_, position) => this.#ask<void>({ op: "markDurable", name, position }),
          connectionCount: Effect.orDie(this.#ask<number>({ op: "connectionCount", name }))
        })
      )
    )
    return Layer.effect(Publication, make)
  }

  async end(): Promise<void> {
    const exited = once(this.child, "exit")
    this.child.kill("SIGKILL")
    await exited
  }
}
