// The process behind `RemotePublication`: holds publications and does what the messages of its parent say.
import {
  batchContext,
  directory,
  type Gap,
  type Instrument,
  type Repaired,
  TradeBatch
} from "@data-manager/core"
import { ShmPublication } from "@data-manager/transport-shm"
import { Effect, Exit, Scope } from "effect"

/** A batch without what cannot be sent: columns one by one, the instruments that they refer to. */
export interface SentBatch {
  readonly provider: string
  readonly dataset: string
  readonly keyKind: TradeBatch["context"]["keyKind"]
  readonly replay: TradeBatch["context"]["replay"]
  readonly instruments: ReadonlyArray<Instrument>
  readonly columns: TradeBatch["columns"]
  readonly length: number
}

export type Request =
  | { readonly op: "open"; readonly options: ShmPublication.ShmPublicationOptions }
  | { readonly op: "close" | "connectionCount"; readonly name: string }
  | { readonly op: "publish"; readonly name: string; readonly batch: SentBatch }
  | { readonly op: "publishGap"; readonly name: string; readonly gap: Gap }
  | { readonly op: "publishRepaired"; readonly name: string; readonly repaired: Repaired }
  | { readonly op: "markDurable"; readonly name: string; readonly position: bigint }

type Made = Effect.Success<ReturnType<typeof ShmPublication.make>>
const open = new Map<string, { readonly publication: Made; readonly scope: Scope.Closeable }>()

const received = (sent: SentBatch): TradeBatch => {
  const { provider, dataset, keyKind, replay } = sent
  const instruments = directory(sent.instruments)
  const context = batchContext({ provider, dataset, keyKind, replay, instruments })
  return new TradeBatch(context, { columns: sent.columns, words: sent.columns as never }, sent.length)
}

const answer = async (request: Request): Promise<unknown> => {
  if (request.op === "open") {
    const scope = Effect.runSync(Scope.make())
    const publication = await Effect.runPromise(Scope.provide(ShmPublication.make(request.options), scope))
    open.set(request.options.name, { publication, scope })
    return undefined
  }
  const { publication, scope } = open.get(request.name)!
  switch (request.op) {
    case "close":
      open.delete(request.name)
      return Effect.runPromise(Scope.close(scope, Exit.void))
    case "connectionCount":
      return Effect.runPromise(publication.connectionCount)
    case "publish":
      return Effect.runPromise(publication.publish(received(request.batch)))
    case "publishGap":
      return Effect.runPromise(publication.publishGap(request.gap))
    case "publishRepaired":
      return Effect.runPromise(publication.publishRepaired!(request.repaired))
    case "markDurable":
      return Effect.runPromise(publication.markDurable("trades", request.position))
  }
}

process.on("message", ({ id, request }: { id: number; request: Request }) => {
  answer(request).then(
    (value) => process.send!({ id, value }),
    (error: unknown) => process.send!({ id, problem: error instanceof Error ? error.message : String(error) })
  )
})
process.on("disconnect", () => process.exit(0))
