import { ProviderError } from "@data-manager/core"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as NodeServices from "@effect/platform-node/NodeServices"
import type { FileSystem } from "effect"
import { Effect, Redacted } from "effect"
import type { HttpClient } from "effect/http"
import { afterEach, assert } from "vitest"
import { HistoricalClient, type HistoricalClientOptions } from "../../src/historical/HistoricalClient.ts"
import { type Answer, type Asked, type Service, serve } from "./ScriptedService.ts"

/** Invented; the sheet's test vector. */
export const key = "db-0123456789abcdefghijKLMNOPQRS"

const services: Array<Service> = []
afterEach(async () => {
  for (const service of services.splice(0)) await service.close()
})

type Client = HistoricalClient["Service"]
type Needs = HttpClient.HttpClient | FileSystem.FileSystem

/** Runs work with a client of a service that answers so. */
export const withService = async <A, E>(
  answer: (asked: Asked, count: number, service: () => Service) => Answer,
  work: (client: Client) => Effect.Effect<A, E, Needs>,
  options: Partial<HistoricalClientOptions> = {}
): Promise<{ readonly result: A; readonly asked: ReadonlyArray<Asked> }> => {
  const service = await serve((asked, count) => answer(asked, count, () => service))
  services.push(service)
  const program = Effect.flatMap(
    HistoricalClient.make({ key: Redacted.make(key), baseUrl: service.url, ...options }),
    work
  )
  const result = await Effect.runPromise(
    program.pipe(Effect.provide(NodeHttpClient.layerUndici), Effect.provide(NodeServices.layer))
  )
  return { result, asked: service.asked }
}

/** The error of work that fails, which must not show the key. */
export const failureOf = <A, R>(work: Effect.Effect<A, unknown, R>): Effect.Effect<ProviderError, never, R> =>
  Effect.map(Effect.flip(Effect.asVoid(work)) as Effect.Effect<unknown, void, R>, (error) => {
    assert.instanceOf(error, ProviderError)
    return error
  }).pipe(Effect.catch(() => Effect.die(new Error("the work was expected to fail"))))
