/** Clocks that run faster than real time, and waiting in real time beside them. */
import { type Clock, Context, Duration, Effect } from "effect"

/** A clock that shows `start` (ns since the epoch) now and runs `speed` times as fast as real time, sleeps included. */
export const make = (start: bigint, speed = 50): Clock.Clock => {
  const began = performance.now()
  const nanos = (): bigint => start + BigInt(Math.round((performance.now() - began) * speed * 1e6))
  const millis = (): number => Number(nanos() / 1_000_000n)
  return {
    currentTimeMillisUnsafe: millis,
    currentTimeMillis: Effect.sync(millis),
    currentTimeNanosUnsafe: nanos,
    currentTimeNanos: Effect.sync(nanos),
    monotonicTimeNanosUnsafe: nanos,
    monotonicTimeNanos: Effect.sync(nanos),
    sleep: (duration) =>
      Effect.callback<void>((resume) => {
        const timer = setTimeout(() => resume(Effect.void), Duration.toMillis(duration) / speed)
        return Effect.sync(() => clearTimeout(timer))
      })
  }
}

/** Real milliseconds, whatever the clock of the test. */
export const realSleep = (millis: number): Effect.Effect<void> =>
  Effect.callback<void>((resume) => {
    const timer = setTimeout(() => resume(Effect.void), millis)
    return Effect.sync(() => clearTimeout(timer))
  })

/** How long `until` waits, in real milliseconds. */
export const Patience = Context.Reference<number>("@data-manager/testing/Patience", {
  defaultValue: () => 12_000
})

/** Waits, in real time, until something holds; dies with `what` where it does not before `Patience` is over. */
export const until = (holds: Effect.Effect<boolean>, what: string): Effect.Effect<void> =>
  Effect.gen(function* () {
    const patience = yield* Patience
    const began = performance.now()
    while (!(yield* holds)) {
      if (performance.now() - began > patience) return yield* Effect.die(new Error(`still not: ${what}`))
      yield* realSleep(2)
    }
  })
