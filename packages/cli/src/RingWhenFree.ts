/**
 * A ring that another process may still hold: one that was active on this machine before, and is frozen. The service goes on without
 * it, says so, and takes it as soon as it is free.
 */
import { Publication, type TransportError } from "@data-manager/core"
import { ShmPublication } from "@data-manager/transport-shm"
import { Effect, Exit, Layer, Schedule, Scope } from "effect"

/** Time between two tries. */
const Pause = "1 second"

type Service = Publication["Service"]

/** Opens the ring in a part of the scope, which ends at once where that fails. */
const open = (
  options: ShmPublication.ShmPublicationOptions,
  scope: Scope.Scope
): Effect.Effect<Service, TransportError> =>
  Effect.gen(function* () {
    const own = yield* Scope.fork(scope)
    return yield* ShmPublication.make(options).pipe(
      Scope.provide(own),
      Effect.onExit((exit) => (Exit.isSuccess(exit) ? Effect.void : Scope.close(own, exit)))
    )
  })

/** The ring, now or later. Until it is there, what is published fails. */
export const layer = (options: ShmPublication.ShmPublicationOptions): Layer.Layer<Publication> =>
  Layer.effect(
    Publication,
    Effect.gen(function* () {
      const scope = yield* Effect.scope
      const first = yield* Effect.result(open(options, scope))
      if (first._tag === "Success") return first.success
      yield* Effect.logWarning(
        `${first.failure.message}; the service goes on without the ring, and tries again`
      )
      let ring: Service | undefined
      const tried = open(options, scope).pipe(
        Effect.retry(Schedule.spaced(Pause)),
        Effect.tap((opened) => {
          ring = opened
          return Effect.logInfo(`ring ${options.name}: published from now on`)
        })
      )
      yield* Effect.forkScoped(Effect.andThen(Effect.sleep(Pause), tried))
      const now = <A>(use: (ring: Service) => Effect.Effect<A, TransportError>) =>
        Effect.suspend(() => (ring === undefined ? Effect.fail(first.failure) : use(ring)))
      return Publication.of({
        name: options.name,
        kinds: options.kinds ?? ["trades"],
        publish: (batch) => now((each) => each.publish(batch)),
        publishGap: (gap) => now((each) => each.publishGap(gap)),
        markDurable: (kind, position) => now((each) => each.markDurable(kind, position)),
        connectionCount: Effect.suspend(() => ring?.connectionCount ?? Effect.succeed(0))
      })
    })
  )
