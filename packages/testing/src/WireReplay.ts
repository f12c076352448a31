/**
 * Plays the server's side of a transcript to a client, cut wherever a test wants it, and checks what the client says.
 */
import { createServer, type Socket } from "node:net"
import { Deferred, Effect, type Scope } from "effect"
import * as WireSplit from "./WireSplit.ts"
import { escape, type WireStep, type WireTranscript } from "./WireTranscript.ts"

/** How it is played. */
export interface ReplayOptions {
  /** Where the server's bytes are cut, counted over the whole dialogue; default: each step is one piece. */
  readonly cuts?: WireSplit.Cuts | undefined
}

/** A server of one connection. */
export interface Replay {
  /** Where the client has to connect to, on 127.0.0.1. */
  readonly port: number
  /** Completes when everything was said; fails where the client said something else, or left too early. */
  readonly done: Effect.Effect<void, ReplayError>
}

/** The client did not say what the transcript has. */
export class ReplayError extends Error {
  override readonly name = "ReplayError"
}

/** Listens for one connection until the scope closes. */
export const make = (
  { steps }: WireTranscript,
  options: ReplayOptions = {}
): Effect.Effect<Replay, never, Scope.Scope> =>
  Effect.gen(function* () {
    const done = Deferred.makeUnsafe<void, ReplayError>()
    let client: Socket | undefined
    const server = createServer((socket) => {
      server.close()
      client = socket.setNoDelay(true)
      const dialogue = new Dialogue(socket, options.cuts ?? [])
      dialogue.play(steps).then(
        () => void Deferred.doneUnsafe(done, Effect.void),
        (error) => {
          socket.destroy()
          Deferred.doneUnsafe(done, Effect.fail(error))
        }
      )
    })
    yield* Effect.acquireRelease(
      Effect.callback<void>((resume) => {
        server.listen(0, "127.0.0.1", () => resume(Effect.void))
      }),
      () =>
        Effect.sync(() => {
          client?.destroy()
          server.close()
        })
    )
    const { port } = server.address() as { readonly port: number }
    return { port, done: Deferred.await(done) }
  })

/** A turn of the event loop, in which the other side reads what was sent. */
const turn = (): Promise<void> => new Promise((next) => setImmediate(next))

/** One client. */
class Dialogue {
  readonly #socket: Socket
  readonly #cuts: WireSplit.Cuts
  /** What the client said that no step has taken yet. */
  #heard = Buffer.alloc(0)
  #hasLeft = false
  #wake: () => void = () => {}
  #sent = 0

  constructor(socket: Socket, cuts: WireSplit.Cuts) {
    this.#socket = socket
    this.#cuts = cuts
    socket.on("data", (bytes: Buffer) => {
      this.#heard = Buffer.concat([this.#heard, bytes])
      this.#wake()
    })
    const left = (): void => {
      this.#hasLeft = true
      this.#wake()
    }
    socket.on("end", left).on("close", left).on("error", left)
  }

  async play(steps: ReadonlyArray<WireStep>): Promise<void> {
    for (const [i, step] of steps.entries()) {
      const where = `step ${i + 1} of ${steps.length}`
      if ("end" in step) await this.#end(step, where)
      else if ("pattern" in step) await this.#match(step.pattern, where)
      else if (step.from === "client") await this.#expect(Buffer.from(step.bytes), where)
      else await this.#say(step.bytes)
    }
    this.#socket.end()
  }

  async #say(bytes: Uint8Array): Promise<void> {
    for (const piece of WireSplit.pieces(bytes, this.#cuts, this.#sent)) {
      this.#socket.write(piece)
      await turn()
      await turn()
    }
    this.#sent += bytes.length
  }

  async #more(where: string, wanted: string): Promise<void> {
    if (this.#hasLeft) throw new ReplayError(`${where}: the client left; it should have said ${wanted}`)
    await new Promise<void>((next) => {
      this.#wake = next
    })
  }

  async #expect(bytes: Buffer, where: string): Promise<void> {
    for (;;) {
      const length = Math.min(bytes.length, this.#heard.length)
      const at = bytes.subarray(0, length).findIndex((byte, i) => byte !== this.#heard[i])
      if (at !== -1)
        throw new ReplayError(
          `${where}: at byte ${at} the client said "${excerpt(this.#heard, at)}", not "${excerpt(bytes, at)}"`
        )
      if (length === bytes.length) break
      await this.#more(where, `"${excerpt(bytes, length)}"`)
    }
    this.#heard = this.#heard.subarray(bytes.length)
  }

  /** What the client said is not shown: patterns stand for what is secret. */
  async #match(pattern: RegExp, where: string): Promise<void> {
    for (;;) {
      const found = new RegExp(pattern.source, "y").exec(this.#heard.toString("latin1"))
      if (found !== null) {
        this.#heard = this.#heard.subarray(found[0].length)
        return
      }
      await this.#more(where, `what matches ${pattern.source}`)
    }
  }

  async #end(step: Extract<WireStep, { readonly end: unknown }>, where: string): Promise<void> {
    if (step.from === "server") {
      if (step.end === "close") this.#socket.end()
      else this.#socket.resetAndDestroy()
      return
    }
    while (!this.#hasLeft) {
      if (this.#heard.length > 0)
        throw new ReplayError(
          `${where}: the client should have left; it said ${this.#heard.length} bytes more`
        )
      await this.#more(where, "nothing more")
    }
  }
}

const excerpt = (bytes: Uint8Array, from: number): string => escape(bytes.subarray(from, from + 40))
