/** Puts the metrics of a control plane into Effect's own, for whatever exports those: OTLP, for example. */
import { type Duration, Effect, Layer, Metric } from "effect"
import { Control } from "./ControlHandlers.ts"
import { definitions, growth, type MetricDefinition, type MetricSample, type Told } from "./ControlMetrics.ts"

const update = (told: Told, sample: MetricSample): Effect.Effect<void> => {
  const { meaning: description, type, unit }: MetricDefinition = definitions[sample.name]
  const attributes = unit === "" ? sample.labels : { ...sample.labels, unit }
  return type === "counter"
    ? Metric.update(
        Metric.withAttributes(Metric.counter(sample.name, { description, incremental: true }), attributes),
        growth(told, sample)
      )
    : Metric.update(
        Metric.withAttributes(Metric.gauge(sample.name, { description }), attributes),
        Number(sample.value)
      )
}

/** Takes the values every so often, for as long as the layer lives. */
export const layer = (interval: Duration.Input): Layer.Layer<never, never, Control> =>
  Layer.effectDiscard(
    Effect.gen(function* () {
      const { metrics } = yield* Control
      const told: Told = new Map()
      const take = Effect.flatMap(metrics, (samples) =>
        Effect.forEach(samples, (sample) => update(told, sample), { discard: true })
      )
      yield* Effect.forkScoped(Effect.forever(Effect.andThen(take, Effect.sleep(interval))))
    })
  )
