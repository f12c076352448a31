/** Pieces of replies that many endpoints share, as schemas that decode to exact values. */
import { Decimal, UnixNanos } from "@data-manager/core"
import { Effect, Schema, SchemaGetter, SchemaIssue } from "effect"

const readTime = SchemaGetter.transformEffect<bigint, string>((text) => {
  const time = UnixNanos.parse(text)
  return time === undefined
    ? Effect.fail(new SchemaIssue.InvalidValue({ message: "not a time" }))
    : Effect.succeed(time)
})

/** A time as nanoseconds since the epoch: ISO 8601 with `T` or a blank, 0 to 9 fraction digits, any offset. */
export const Time = Schema.String.pipe(
  Schema.decodeTo(Schema.BigInt, {
    decode: readTime,
    encode: SchemaGetter.transform((time: bigint) => UnixNanos.toIso(time))
  })
)

/** A day, `YYYY-MM-DD`. */
export const Day = Schema.String.pipe(Schema.check(Schema.isPattern(/^\d{4}-\d{2}-\d{2}$/)))

/** A key that may be missing or null; both read as undefined. */
export const maybe = <A, I>(schema: Schema.Codec<A, I>) => Schema.optional(Schema.NullishOr(schema))

/** A whole number that is the body of a reply: records, bytes. */
export const wholeNumber = (body: string): bigint | undefined =>
  /^\s*\d{1,20}\s*$/.test(body) ? BigInt(body.trim()) : undefined

/** An amount of money that is the body of a reply, exact as written. */
export const amount = (body: string): Decimal.Decimal | undefined => {
  const value = Decimal.parse(body)
  return value === undefined || value.mantissa < 0n ? undefined : value
}
