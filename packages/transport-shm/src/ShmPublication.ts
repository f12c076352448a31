/**
 * Core's `Publication` over shared-memory rings: one ring per row kind. Never blocks by default; a slow reader loses,
 * visibly, and nobody else notices.
 */
import {
  type Gap,
  type MarketBatch,
  MarketSchema,
  Publication,
  type PublicationReader,
  type Repaired,
  rowKind,
  type TransportError
} from "@data-manager/core"
import { Effect, Layer, type Scope, Stream } from "effect"
import { inspect } from "./RingInspection.ts"
import { type RingKind, segmentName } from "./RingLayout.ts"
import { RingWriter, type RingWriterOptions } from "./RingWriter.ts"
import * as ShmError from "./ShmError.ts"

/** Name, place and shape of the rings. */
export interface ShmPublicationOptions extends Omit<RingWriterOptions, "kind"> {
  /** Row kinds to publish; default trades alone. Each has a ring of `capacity` slots. */
  readonly kinds?: ReadonlyArray<RingKind> | undefined
}

const acquire = (options: RingWriterOptions): Effect.Effect<RingWriter, TransportError, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.try({
      try: () => new RingWriter(options),
      catch: (cause) => ShmError.fromThrown("publish", options.name, cause)
    }),
    (writer) => Effect.sync(() => writer.close())
  )

const attempt = <A>(operation: string, writer: RingWriter, work: () => A): Effect.Effect<A, TransportError> =>
  Effect.try({ try: work, catch: (cause) => ShmError.fromThrown(operation, writer.where, cause) })

/** The readers of one ring; none where it cannot be looked at. */
const readersOf = (options: ShmPublicationOptions, kind: RingKind): ReadonlyArray<PublicationReader> => {
  try {
    const { readers } = inspect({ ...options, name: segmentName(options.name, kind) })
    const living = readers.filter(({ alive }) => alive)
    return living.map(({ delivered, gaps, lag, lost, name, pid, row }) => ({
      id: `${kind}-${row}`,
      client: name,
      kind,
      pid,
      delivered: BigInt(delivered),
      gaps: BigInt(gaps),
      lost: BigInt(lost),
      lag: BigInt(lag)
    }))
  } catch {
    return []
  }
}

/** A publication that ends with the scope. */
export const make = Effect.fnUntraced(function* (options: ShmPublicationOptions) {
  const { kinds = ["trades"], ...shape } = options
  const writers = new Map<MarketSchema.RowKind, RingWriter>()
  for (const kind of kinds) writers.set(kind, yield* acquire({ ...shape, kind }))

  const writerOf = (
    operation: string,
    kind: MarketSchema.RowKind
  ): Effect.Effect<RingWriter, TransportError> => {
    const writer = writers.get(kind)
    if (writer !== undefined) return Effect.succeed(writer)
    const detail = `"${options.name}" publishes ${kinds.join(" and ")}, not ${kind}`
    return Effect.fail(ShmError.badRequest(operation, detail))
  }
  const publish = (batch: MarketBatch) =>
    Effect.flatMap(writerOf("publish", rowKind(batch)), (writer) =>
      attempt("publish", writer, () => {
        const before = writer.demotions
        writer.publish(batch)
        return { position: BigInt(writer.position), demoted: writer.demotions - before }
      })
    )
  const publishGap = (gap: Gap) =>
    Effect.flatMap(writerOf("publishGap", MarketSchema.kind(gap.schema)), (writer) =>
      attempt("publishGap", writer, () => writer.publishGap(gap))
    )
  const publishRepaired = (repaired: Repaired) =>
    Effect.flatMap(writerOf("publishRepaired", MarketSchema.kind(repaired.schema)), (writer) =>
      attempt("publishRepaired", writer, () => writer.publishRepaired(repaired))
    )
  const markDurable = (kind: MarketSchema.RowKind, position: bigint) =>
    Effect.flatMap(writerOf("markDurable", kind), (writer) =>
      attempt("markDurable", writer, () => writer.markDurable(Number(position)))
    )
  const connectionCount = Effect.sync(() =>
    [...writers.values()].reduce((sum, writer) => sum + writer.connections, 0)
  )
  const readers = Effect.sync(() => kinds.flatMap((kind) => readersOf(options, kind)))
  const kept = (kind: MarketSchema.RowKind) => {
    const writer = writers.get(kind)
    return writer && { rows: writer.kept, capacity: writer.capacity }
  }
  return Publication.of({
    name: options.name,
    kinds,
    publish,
    publishGap,
    publishRepaired,
    markDurable,
    connectionCount,
    readers,
    kept
  })
})

/** The publication as a layer: building it takes the lease, closing it tells the readers. */
export const layer = (options: ShmPublicationOptions): Layer.Layer<Publication, TransportError> =>
  Layer.effect(Publication, make(options))

/** Publishes every batch of a stream, until it ends. */
export const run = <E, R>(
  batches: Stream.Stream<MarketBatch, E, R>
): Effect.Effect<void, E | TransportError, R | Publication> =>
  Publication.use((publication) => Stream.runForEach(batches, publication.publish))
