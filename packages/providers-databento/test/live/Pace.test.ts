import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { backoffMillis } from "../../src/live/Backoff.ts"
import { ByteBudget, EventQueue } from "../../src/live/EventQueue.ts"
import { connectionTurn } from "../../src/live/GatewayRate.ts"
import { type SessionEnd, verdictOf } from "../../src/live/SessionEnd.ts"
import { RateWindow } from "../../src/RateWindow.ts"

describe("pace", () => {
  it("waits longer each time, never less than a second, and not in step", () => {
    for (const random of [0, 0.5, 0.999])
      for (let failures = 0; failures < 100; failures++) {
        assert.isAtLeast(backoffMillis(failures, "usual", random), 1000)
        assert.isAtMost(backoffMillis(failures, "usual", random), 90_000)
        assert.isAtLeast(backoffMillis(failures, "slow", random), 60_000)
      }
    assert.deepStrictEqual(
      [0, 1, 2, 10].map((n) => backoffMillis(n, "usual", 0)),
      [1000, 2000, 4000, 60_000]
    )
    assert.notStrictEqual(backoffMillis(3, "usual", 0.1), backoffMillis(3, "usual", 0.2))
  })

  it.effect("lets a burst through and then as many as the window allows, in order", () =>
    Effect.gen(function* () {
      const window = new RateWindow(3, 2000)
      const begun: Array<number> = []
      const all = yield* Effect.forEach(
        [0, 1, 2, 3, 4, 5, 6],
        (i) => Effect.map(window.turn, () => begun.push(i)),
        { concurrency: "unbounded" }
      ).pipe(Effect.forkChild)
      yield* TestClock.adjust("0 seconds")
      assert.deepStrictEqual(begun, [0, 1, 2])
      yield* TestClock.adjust("1999 millis")
      assert.lengthOf(begun, 3)
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(begun, [0, 1, 2, 3, 4, 5])
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.join(all)
      assert.deepStrictEqual(begun, [0, 1, 2, 3, 4, 5, 6])
    })
  )

  it("lets no window of a second hold more than its limit", () => {
    const window = new RateWindow(5)
    const turns: Array<number> = []
    for (const now of [0, 0, 10, 20, 30, 40, 50, 900, 1001, 1002, 5000, 5000, 5000])
      turns.push(now + window.reserve(now))
    for (let i = 5; i < turns.length; i++) assert.isAtLeast(turns[i]! - turns[i - 5]!, 1000)
    assert.deepStrictEqual(turns.slice(0, 5), [0, 0, 10, 20, 30])
    assert.deepStrictEqual(turns.slice(-3), [5000, 5000, 5000])
  })

  it("lets nobody wait for a clock that was set back by an hour", () => {
    const window = new RateWindow(2)
    const hour = 3_600_000
    assert.deepStrictEqual([window.reserve(hour), window.reserve(hour + 10)], [0, 0])
    // Turns at 3,600,000 and 3,600,010; the clock goes back from the latter to 10.
    assert.deepStrictEqual([window.reserve(10), window.reserve(10)], [990, 1000])
  })

  it.effect("shares the turns of a gateway in the process", () =>
    Effect.gen(function* () {
      let made = 0
      const one = Effect.andThen(
        connectionTurn("shared.invalid", 1),
        Effect.sync(() => made++)
      )
      const fibers = yield* Effect.forkChild(
        Effect.all(
          Array.from({ length: 12 }, () => one),
          { concurrency: 12 }
        )
      )
      yield* TestClock.adjust(0)
      assert.strictEqual(made, 5)
      yield* TestClock.adjust(1000)
      assert.strictEqual(made, 10)
      yield* connectionTurn("other.invalid", 1)
      yield* TestClock.adjust(1000)
      yield* Fiber.join(fibers)
      assert.strictEqual(made, 12)
    })
  )
})

describe("the queue of events", () => {
  it.effect("gives events in order, in parts, and asks for more when half of it is free", () =>
    Effect.gen(function* () {
      const budget = new ByteBudget(1000)
      let room = 0
      budget.onRoom = () => void room++
      const queue = new EventQueue<number, string>(budget)
      const waiting = yield* Effect.forkChild(queue.pull, { startImmediately: true })
      budget.take(10)
      queue.offer(0, 10)
      assert.deepStrictEqual(yield* Fiber.join(waiting), [0])
      for (let n = 1; n <= 3000; n++) {
        budget.take(10)
        queue.offer(n, 10)
      }
      assert.isTrue(budget.isFull)
      assert.strictEqual(budget.used, 30_010)
      const all: Array<number> = []
      while (all.length < 3000) {
        assert.strictEqual(room, 0)
        all.push(...(yield* queue.pull))
      }
      assert.deepStrictEqual(
        all,
        Array.from({ length: 3000 }, (_, n) => n + 1)
      )
      queue.offer(3001, 0)
      assert.deepStrictEqual(yield* queue.pull, [3001])
      assert.strictEqual(room, 1)
      assert.strictEqual(budget.used, 0)
    })
  )

  it.effect("gives what it holds before its end", () =>
    Effect.gen(function* () {
      const queue = new EventQueue<number, string>(new ByteBudget(10))
      queue.offer(1, 0)
      queue.end(yield* Effect.exit(Effect.fail("over")))
      queue.end(yield* Effect.exit(Effect.fail("later")))
      assert.deepStrictEqual(yield* queue.pull, [1])
      assert.strictEqual(yield* Effect.flip(queue.pull), "over")
      const interrupted = new EventQueue<number, string>(new ByteBudget(10))
      const fiber = yield* Effect.forkChild(interrupted.pull, { startImmediately: true })
      yield* Fiber.interrupt(fiber)
      interrupted.offer(2, 0)
      assert.deepStrictEqual(yield* interrupted.pull, [2])
    })
  )
})

describe("what follows the end of a session", () => {
  const isRetried = (end: SessionEnd, attempt: number, isProven = false): string => {
    const verdict = verdictOf(end, attempt, isProven)
    return verdict._tag === "Retry" ? verdict.pace : verdict.reason._tag
  }
  const refused = (detail: string): SessionEnd => ({ _tag: "Refused", detail })
  const fatal = (code: number): SessionEnd => ({ _tag: "Fatal", code, detail: "x" })

  it("repeats what can heal, for ever or for a while, and nothing else", () => {
    const cases: ReadonlyArray<readonly [SessionEnd, number, string]> = [
      [{ _tag: "Closed", detail: "" }, 1000, "usual"],
      [{ _tag: "Silent", detail: "" }, 1000, "usual"],
      [{ _tag: "Unreachable", code: "ECONNREFUSED", detail: "" }, 1000, "usual"],
      [{ _tag: "Unreachable", code: "EAI_AGAIN", detail: "" }, 1000, "usual"],
      [{ _tag: "Unreachable", code: "ENOTFOUND", detail: "" }, 4, "usual"],
      [{ _tag: "Unreachable", code: "ENOTFOUND", detail: "" }, 5, "ProviderBadRequest"],
      [{ _tag: "Malformed", detail: "" }, 4, "usual"],
      [{ _tag: "Malformed", detail: "" }, 5, "ProviderMalformed"],
      [refused("Authentication failed."), 1, "ProviderUnauthorized"],
      [refused("User or API key deactivated"), 1, "ProviderUnauthorized"],
      [refused("User has reached their open connection limit"), 50, "slow"],
      [refused("Unknown dataset"), 1, "ProviderBadRequest"],
      [refused("Try again"), 4, "usual"],
      [refused("Try again"), 5, "ProviderUnavailable"],
      [fatal(1), 1, "ProviderUnauthorized"],
      [fatal(2), 1, "ProviderUnauthorized"],
      [fatal(3), 1, "slow"],
      [fatal(5), 1, "ProviderBadRequest"],
      [fatal(6), 1000, "usual"],
      [fatal(8), 1000, "usual"]
    ]
    for (const [end, attempt, expected] of cases)
      assert.strictEqual(isRetried(end, attempt), expected, `${JSON.stringify(end)} ${attempt}`)
    // What has worked before is not given up because of a name service, or of words that nobody knows.
    assert.strictEqual(isRetried({ _tag: "Unreachable", code: "ENOTFOUND", detail: "" }, 50, true), "usual")
    assert.strictEqual(isRetried(refused("Unknown error, try again"), 50, true), "usual")
    assert.strictEqual(isRetried(refused("Authentication failed."), 1, true), "ProviderUnauthorized")
  })
})
