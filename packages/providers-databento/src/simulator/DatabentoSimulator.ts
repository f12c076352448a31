/**
 * Databento on this machine: the live gateway and the historical service over data of one's own, for tests, demos and
 * development without key, network or cost. Speaks the vendor's protocols to any client; binds loopback only.
 *
 * @example
 * ```ts
 * const program = Effect.gen(function* () {
 *   const catalogue = new CatalogueBuilder().addSynthetic(new SyntheticMarket({ trades: 1000 })).build()
 *   const simulator = yield* DatabentoSimulator.make({ catalogue })
 *   simulator.live.faults.next({ type: "reset", afterRecords: 100 })
 *   // connect to 127.0.0.1, simulator.live.port, with simulator.key
 * }).pipe(Effect.scoped)
 * ```
 */
import { Clock, Context, Effect, Layer, type Scope } from "effect"
import type { Catalogue } from "./Catalogue.ts"
import { loopbackCertificate } from "./Certificate.ts"
import {
  type HistoricalService,
  type HistoricalServiceOptions,
  makeHistoricalService
} from "./HistoricalService.ts"
import { type LiveGateway, type LiveGatewayOptions, makeLiveGateway } from "./LiveGateway.ts"
import type { SimulatorError } from "./SimulatorError.ts"

/** The key that a simulator takes where none is given: well formed, and no real one. */
export const SIMULATOR_KEY = "db-SimulatedKeyForTestsOnly00000"

/** Settings of a simulator. */
export interface SimulatorOptions {
  readonly catalogue: Catalogue
  /** The one API key that is accepted; default `SIMULATOR_KEY`. */
  readonly key?: string | undefined
  readonly live?: LiveGatewayOptions | undefined
  readonly http?: Omit<HistoricalServiceOptions, "certificate"> | undefined
  /** Serve the historical API by https. */
  readonly tls?: boolean | undefined
}

/** A running simulator. */
export interface Simulator {
  readonly key: string
  readonly catalogue: Catalogue
  readonly live: LiveGateway
  readonly http: HistoricalService
  /** The authority that clients of the https service have to trust, PEM; undefined for http. */
  readonly authority: string | undefined
}

/** The simulator as a service. */
export class DatabentoSimulator extends Context.Service<DatabentoSimulator, Simulator>()(
  "@data-manager/providers-databento/DatabentoSimulator"
) {
  /** Starts both servers; they end with the scope. Fails where a port cannot be had. */
  static readonly make = (options: SimulatorOptions): Effect.Effect<Simulator, SimulatorError, Scope.Scope> =>
    Effect.gen(function* () {
      const { catalogue, key = SIMULATOR_KEY } = options
      const now = new Date(yield* Clock.currentTimeMillis)
      const certificate = options.tls === true ? loopbackCertificate(now) : undefined
      const live = yield* makeLiveGateway(catalogue, key, options.live)
      const http = yield* makeHistoricalService(catalogue, key, { ...options.http, certificate })
      return { key, catalogue, live, http, authority: certificate?.authority }
    })

  /** A simulator for the lifetime of a layer. */
  static readonly layer = (options: SimulatorOptions): Layer.Layer<DatabentoSimulator, SimulatorError> =>
    Layer.effect(DatabentoSimulator, DatabentoSimulator.make(options))
}
