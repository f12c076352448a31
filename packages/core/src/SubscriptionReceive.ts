/** The stream of a subscription, over what every transport within reach of this process has: a poll, and a way to wait for more. */
import { Cause, Effect, type Pull, Stream } from "effect"
import type { SubscriptionEvent } from "./Subscription.ts"

/** What is read. */
export interface SubscriptionSource {
  readonly isClosed: boolean
  /** Milliseconds until something is due that nobody wakes for, such as a throttled trade; undefined: nothing is. */
  readonly dueIn: number | undefined
  /** What has arrived, at most `limit` rows; empty when there is nothing. */
  readonly poll: (limit: number) => ReadonlyArray<SubscriptionEvent>
  /** Calls back once, as soon as `poll` may have something, or the source is closed. Gives how to stop waiting. */
  readonly wait: (callback: () => void) => () => void
}

type Events = readonly [SubscriptionEvent, ...Array<SubscriptionEvent>]

/** Events as they come, until the source is closed. `failure`: the error for what `poll` throws. */
export const receive = <E>(
  source: SubscriptionSource,
  limit: number,
  failure: (cause: unknown) => E
): Stream.Stream<SubscriptionEvent, E> => {
  const pull: Pull.Pull<Events, E> = Effect.suspend((): Pull.Pull<Events, E> => {
    if (source.isClosed) return Cause.done()
    let events: ReadonlyArray<SubscriptionEvent>
    try {
      events = source.poll(limit)
    } catch (cause) {
      return Effect.fail(failure(cause))
    }
    if (events.length > 0) return Effect.succeed(events as Events)
    return Effect.flatMap(ready(source), () => pull)
  })
  return Stream.fromPull(Effect.succeed(pull))
}

/** Waits until the source may have something, is closed, or something is due. */
const ready = (source: SubscriptionSource): Effect.Effect<void> =>
  Effect.callback<void>((resume) => {
    let timer: ReturnType<typeof setTimeout> | undefined
    let cancel: () => void = () => {}
    let isReady = false
    const done = (): void => {
      isReady = true
      clearTimeout(timer)
      cancel()
      resume(Effect.void)
    }
    cancel = source.wait(done)
    const due = source.dueIn
    // A source may call back within the call.
    if (due !== undefined && !isReady) timer = setTimeout(done, Math.ceil(due))
    return Effect.sync(() => {
      clearTimeout(timer)
      cancel()
    })
  })
