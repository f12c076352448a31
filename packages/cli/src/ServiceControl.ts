/** The control plane of a service, on the socket and the port of its configuration. */
import { monitorEventLoopDelay } from "node:perf_hooks"
import {
  type BackfillJobs,
  ControlExport,
  ControlHandlers,
  type ControlMetrics,
  type InstrumentRegistry,
  type LiveService
} from "@data-manager/core"
import { ConfigProvider, Effect, Layer, type Scope } from "effect"
import { FetchHttpClient } from "effect/http"
import { OtlpMetrics, OtlpSerialization } from "effect/observability"
import type { LoadedConfig } from "./ConfigFile.ts"
import type { ControlPlace } from "./ControlPlace.ts"
import * as ControlServer from "./ControlServer.ts"
import { CommandError } from "./ExitCode.ts"
import type { LevelSwitch } from "./Log.ts"
import { version } from "./OwnPackage.ts"
import type { Session } from "./Session.ts"

/** Time between two looks at the clock, ms: it is a part of what is measured. */
const resolution = 20

/** What the process tells about itself; delays are those since the last look. */
const processFacts: Effect.Effect<
  Effect.Effect<ControlMetrics.ProcessFacts>,
  never,
  Scope.Scope
> = Effect.map(
  Effect.acquireRelease(
    Effect.sync(() => {
      const delays = monitorEventLoopDelay({ resolution })
      delays.enable()
      return delays
    }),
    (delays) => Effect.sync(() => delays.disable())
  ),
  (delays) =>
    Effect.sync(() => {
      const { heapUsed, rss } = process.memoryUsage()
      const at = (percent: number): number => Math.max(0, delays.percentile(percent) / 1e9 - resolution / 1e3)
      const eventLoopDelay = { "0.5": at(50), "0.99": at(99), "1.0": at(100) }
      delays.reset()
      return { residentBytes: rss, heapUsedBytes: heapUsed, eventLoopDelay }
    })
)

/** Not the configuration's fault: it may be right the next time. */
const cannotListen = (where: string, key: string) => (error: Error) =>
  new CommandError({
    message: `the control plane cannot listen on ${where} ([control] ${key}): ${error.message}`
  })

/** Listens on the socket and the port of a place, for as long as the scope is open. */
const listen = Effect.fnUntraced(function* ({ socket, tcp }: ControlPlace) {
  if (socket !== undefined) {
    const handler = yield* ControlHandlers.webHandler({ _tag: "Everybody" })
    yield* Effect.mapError(ControlServer.onSocket(handler, socket), cannotListen(socket, "socket"))
    yield* Effect.logInfo(`control: ${socket}`)
  }
  if (tcp !== undefined) {
    const handler = yield* ControlHandlers.webHandler(tcp.access)
    const port = yield* Effect.mapError(
      ControlServer.onPort(handler, tcp),
      cannotListen(`${tcp.host}:${tcp.port}`, "port")
    )
    const how = tcp.access._tag === "Token" ? "with a token" : "for programs of this machine"
    yield* Effect.logInfo(`control: http://${tcp.host}:${port}, ${how}`)
  }
})

/** Metrics by OTLP, where OpenTelemetry's own variables name somebody who takes them. */
const telemetry = (session: Session, name: string): Layer.Layer<never, never, ControlHandlers.Control> => {
  const { OTEL_EXPORTER_OTLP_ENDPOINT: all, OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: metrics } = session.env
  if ((all ?? "") === "" && (metrics ?? "") === "") return Layer.empty
  const otlp = OtlpMetrics.layerFromConfig({ resource: { serviceName: name, serviceVersion: version } }).pipe(
    Layer.provide([OtlpSerialization.layerJson, FetchHttpClient.layer]),
    // OpenTelemetry's default; `none` switches it off.
    Layer.provide(
      ConfigProvider.layer(ConfigProvider.fromEnvRecord({ OTEL_METRICS_EXPORTER: "otlp", ...session.env }))
    )
  )
  // The values are there before the first export, and after the last one nothing takes them.
  return Layer.merge(
    ControlExport.layer("5 seconds"),
    Layer.effectDiscard(Effect.void).pipe(Layer.provide(otlp))
  )
}

/** The control plane of the service at hand. */
export const layer = (
  session: Session,
  loaded: LoadedConfig,
  place: ControlPlace,
  level: LevelSwitch
): Layer.Layer<
  never,
  CommandError,
  LiveService.LiveService | InstrumentRegistry | BackfillJobs.BackfillJobs
> =>
  Layer.unwrap(
    Effect.gen(function* () {
      const { health, service, symbols } = loaded.config
      const control = ControlHandlers.layerControl({
        name: service.name,
        version,
        pid: process.pid,
        configFile: loaded.file,
        freshnessSeconds: health.freshnessSeconds,
        databaseOverrides: symbols.databaseEnabled,
        process: yield* processFacts,
        logLevel: level
      })
      return Layer.effectDiscard(listen(place)).pipe(
        Layer.merge(telemetry(session, service.name)),
        Layer.provide(control)
      )
    })
  )
