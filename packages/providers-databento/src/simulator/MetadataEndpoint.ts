/** `metadata.*`: what there is, how much of it, and what it would cost. */
import { UnixNanos } from "@data-manager/core"
import { schemas } from "../dbn/DbnSchema.ts"
import { dateOfDay, dateToIso } from "../dbn/IsoDate.ts"
import { type FieldSpec, headerFields, type Layout, type WireType } from "../dbn/Layout.ts"
import { publishers } from "../dbn/Publisher.ts"
import { layoutOf, rtypeOfSchema } from "../dbn/Rtype.ts"
import type { Catalogue, SimulatedDataset } from "./Catalogue.ts"
import { dataRequest, selectionOf } from "./DataRequest.ts"
import { type HttpReply, json } from "./HttpReply.ts"
import type { RequestForm } from "./RequestForm.ts"

/** An endpoint: parameters and data in, answer out; throws `HttpProblem`. */
export type Endpoint = (form: RequestForm, catalogue: Catalogue) => HttpReply

/** USD per GiB, by schema; the same for all modes. */
const unitPrices = Object.fromEntries(schemas.map((schema, i) => [schema, (i + 1) / 10]))

const GIB = 1024 ** 3

const listPublishers: Endpoint = () =>
  json(
    publishers().map((it) => ({
      publisher_id: it.id,
      dataset: it.dataset,
      venue: it.venue,
      description: `${it.dataset} ${it.venue}`
    }))
  )

const listDatasets: Endpoint = (form, catalogue) => {
  const start = form.day("start_date") ?? Number.NEGATIVE_INFINITY
  const end = form.day("end_date") ?? Number.POSITIVE_INFINITY
  const overlapping = [...catalogue.datasets.values()].filter(
    (it) => it.days.first < end && it.days.end > start
  )
  return json(overlapping.map((it) => it.name).sort())
}

/** C types of the text encodings' fields, as the vendor names them. */
const typeNames: { readonly [T in WireType]: string } = {
  u8: "uint8_t",
  i8: "int8_t",
  u16: "uint16_t",
  i16: "int16_t",
  u32: "uint32_t",
  i32: "int32_t",
  u64: "uint64_t",
  i64: "int64_t",
  px: "int64_t",
  ts: "uint64_t",
  char: "char",
  cstr: "char"
}

const field = ([, name, type, bytes]: FieldSpec, suffix = ""): { name: string; type: string } => ({
  name: `${name}${suffix}`,
  type: type === "cstr" ? `char[${bytes}]` : typeNames[type]
})

const listFields: Endpoint = (form) => {
  const layout = layoutOf(rtypeOfSchema(form.schema()), 3) as Layout
  form.choice("encoding", ["dbn", "csv", "json"])
  const levels = Array.from({ length: layout.levels?.count ?? 0 }, (_, level) =>
    (layout.levels?.fields ?? []).map((it) => field(it, `_${String(level).padStart(2, "0")}`))
  )
  return json([
    ...headerFields.map((it) => field(it)),
    ...layout.fields.map((it) => field(it)),
    ...levels.flat()
  ])
}

const listUnitPrices: Endpoint = (form, catalogue) => {
  const { schemas: known } = form.dataset(catalogue)
  const unit_prices = Object.fromEntries(known.map((schema) => [schema, unitPrices[schema]]))
  return json(["historical", "historical-streaming", "live"].map((mode) => ({ mode, unit_prices })))
}

/** The days of a dataset that have records, as `metadata.get_dataset_condition` and batch jobs tell them. */
export const conditions = (
  dataset: SimulatedDataset,
  first: number,
  last: number
): ReadonlyArray<{ date: string; condition: string; last_modified_date: string | null }> =>
  Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => {
    const date = dateToIso(dateOfDay(first + i))
    const isThere = dataset.days.first <= first + i && first + i < dataset.days.end
    return { date, condition: isThere ? "available" : "missing", last_modified_date: isThere ? date : null }
  })

const getDatasetCondition: Endpoint = (form, catalogue) => {
  const dataset = form.dataset(catalogue)
  const first = form.day("start_date") ?? dataset.days.first
  // Unlike everywhere else the end is inclusive.
  const last = form.day("end_date") ?? dataset.days.end - 1
  return json(conditions(dataset, first, Math.min(last, first + 36_525)))
}

const getDatasetRange: Endpoint = (form, catalogue) => {
  const dataset = form.dataset(catalogue)
  const range = { start: UnixNanos.toIso(dataset.start), end: UnixNanos.toIso(dataset.end) }
  return json({ ...range, schema: Object.fromEntries(dataset.schemas.map((schema) => [schema, range])) })
}

const getRecordCount: Endpoint = (form, catalogue) =>
  json(selectionOf(dataRequest(form, catalogue), 3).length)

const getBillableSize: Endpoint = (form, catalogue) =>
  json(selectionOf(dataRequest(form, catalogue), 3).byteLength)

/** What records of a schema cost, USD. */
export const costOf = (schema: string, bytes: number): number => (bytes / GIB) * (unitPrices[schema] ?? 0)

const getCost: Endpoint = (form, catalogue) => {
  const request = dataRequest(form, catalogue)
  return json(costOf(request.schema, selectionOf(request, 3).byteLength))
}

/** By the name behind `metadata.`. */
export const metadataEndpoints: { readonly [name: string]: Endpoint } = {
  list_publishers: listPublishers,
  list_datasets: listDatasets,
  list_schemas: (form, catalogue) => json(form.dataset(catalogue).schemas),
  list_fields: listFields,
  list_unit_prices: listUnitPrices,
  get_dataset_condition: getDatasetCondition,
  get_dataset_range: getDatasetRange,
  get_record_count: getRecordCount,
  get_billable_size: getBillableSize,
  get_cost: getCost
}
