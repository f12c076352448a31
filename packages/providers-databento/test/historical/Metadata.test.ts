import { Decimal } from "@data-manager/core"
import { Effect } from "effect"
import { assert, describe, it } from "vitest"
import type { DataRequest } from "../../src/historical/HistoricalRequest.ts"
import { key, withService } from "./TestClient.ts"

const day = 1_700_000_000_000_000_000n
const request: DataRequest = {
  dataset: "GLBX.MDP3",
  symbols: ["ESH6"],
  schema: "trades",
  range: { start: day, end: day + 1_000_000_000n }
}

describe("metadata", () => {
  it("reads every list, with login and parameters as the service wants them", async () => {
    const bodies: Record<string, unknown> = {
      list_publishers: [{ publisher_id: 1, dataset: "GLBX.MDP3", venue: "GLBX", description: "CME", new: 1 }],
      list_datasets: ["GLBX.MDP3", "XNAS.ITCH"],
      list_schemas: ["mbo", "trades"],
      list_fields: [{ name: "ts_event", type: "uint64_t" }],
      list_unit_prices: [{ mode: "historical", unit_prices: { "mbp-1": 0.18 } }],
      get_dataset_condition: [
        { date: "2022-05-17", condition: "available", last_modified_date: "2023-07-11" },
        { date: "2022-05-18", condition: "missing", last_modified_date: null }
      ],
      get_dataset_range: {
        start: "2017-05-21T00:00:00.000000001Z",
        end: "2023-07-19 23:00:04.095538+00:00",
        schema: { mbo: { start: "2018-01-01", end: "2019-01-01T00:00:00.000000000Z" } }
      }
    }
    const { result, asked } = await withService(
      ({ path }) => ({ body: bodies[path.replace("/v0/metadata.", "")] as object }),
      ({ metadata }) =>
        Effect.all([
          metadata.listPublishers(),
          metadata.listDatasets({ start: "2024-01-01" }),
          metadata.listSchemas("GLBX.MDP3"),
          metadata.listFields("mbo", "csv"),
          metadata.listUnitPrices("GLBX.MDP3"),
          metadata.datasetCondition("GLBX.MDP3", { start: "2022-05-17", end: "2022-05-18" }),
          metadata.datasetRange("GLBX.MDP3")
        ])
    )
    const [publishers, datasets, schemas, fields, prices, conditions, range] = result
    assert.deepStrictEqual(publishers.value, [
      { publisherId: 1, dataset: "GLBX.MDP3", venue: "GLBX", description: "CME" }
    ])
    assert.deepStrictEqual(datasets.value, ["GLBX.MDP3", "XNAS.ITCH"])
    assert.deepStrictEqual(schemas.value, ["mbo", "trades"])
    assert.deepStrictEqual(fields.value, [{ name: "ts_event", type: "uint64_t" }])
    assert.deepStrictEqual(prices.value, [{ mode: "historical", unitPrices: { "mbp-1": 0.18 } }])
    assert.deepStrictEqual(conditions.value, [
      { date: "2022-05-17", condition: "available", lastModifiedDate: "2023-07-11" },
      { date: "2022-05-18", condition: "missing", lastModifiedDate: undefined }
    ])
    assert.strictEqual(range.value.start, BigInt(Date.UTC(2017, 4, 21)) * 1_000_000n + 1n)
    assert.strictEqual(range.value.end, BigInt(Date.UTC(2023, 6, 19, 23, 0, 4)) * 1_000_000n + 95_538_000n)
    assert.strictEqual(range.value.schemas.mbo?.start, BigInt(Date.UTC(2018, 0, 1)) * 1_000_000n)
    // Basic login: the sheet's vector.
    for (const one of asked)
      assert.strictEqual(one.headers.authorization, "Basic ZGItMDEyMzQ1Njc4OWFiY2RlZmdoaWpLTE1OT1BRUlM6")
    assert.strictEqual(key.length, 32)
    const params = Object.fromEntries(asked.map((one) => [one.path.replace("/v0/metadata.", ""), one.params]))
    assert.deepStrictEqual(params.list_datasets, { start_date: "2024-01-01" })
    assert.deepStrictEqual(params.list_fields, { schema: "mbo", encoding: "csv" })
    assert.isTrue(asked.every((one) => one.method === "GET"))
  })

  it("counts records, bytes and money exactly, beyond what a double holds", async () => {
    const bodies: Record<string, string> = {
      get_record_count: "9007199254740993",
      get_billable_size: "48",
      get_cost: "0.1234567890123456789"
    }
    const { result, asked } = await withService(
      ({ path }) => ({ body: bodies[path.replace("/v0/metadata.", "")] ?? "" }),
      ({ metadata }) =>
        Effect.all([
          metadata.recordCount({ ...request, limit: 5n }),
          metadata.billableSize(request),
          metadata.cost(request)
        ])
    )
    assert.strictEqual(result[0].value, 9_007_199_254_740_993n)
    assert.strictEqual(result[1].value, 48n)
    assert.strictEqual(Decimal.format(result[2].value), "0.1234567890123456789")
    assert.strictEqual(asked[0]!.method, "POST")
    const sent = asked.find((one) => one.path.endsWith("get_record_count"))!
    assert.deepStrictEqual(sent.params, {
      dataset: "GLBX.MDP3",
      symbols: "ESH6",
      schema: "trades",
      stype_in: "raw_symbol",
      start: "1700000000000000000",
      end: "1700000001000000000",
      limit: "5"
    })
  })

  it("asks for more than 2,000 symbols in parts and adds the answers up", async () => {
    const symbols = Array.from({ length: 4_500 }, (_, i) => `S${i}`)
    const { result, asked } = await withService(
      ({ path, params }) => ({
        body: path.endsWith("get_cost") ? "0.1" : String(params.symbols!.split(",").length)
      }),
      ({ metadata }) =>
        Effect.all([
          metadata.recordCount({ ...request, symbols: [...symbols, "S0", " S1 "] }),
          metadata.cost({ ...request, symbols })
        ])
    )
    assert.strictEqual(result[0].value, 4_500n)
    assert.strictEqual(Decimal.format(result[1].value), "0.3")
    assert.lengthOf(asked, 6)
    assert.isTrue(asked.every((one) => one.params.symbols!.split(",").length <= 2_000))
    assert.strictEqual(new Set(asked.flatMap((one) => one.params.symbols!.split(","))).size, 4_500)
  })

  it("gives the service's warnings as data, however they are written", async () => {
    const headers = [
      '["DeprecationWarning: mode goes away", "plain"]',
      "not JSON",
      '"Notice: one alone"'
    ] as const
    const { result } = await withService(
      (_, count) => ({
        body: [],
        headers: { "x-warning": headers[count - 1]!, "request-id": `r${count}` }
      }),
      ({ metadata }) =>
        Effect.all([metadata.listDatasets(), metadata.listDatasets(), metadata.listDatasets()])
    )
    assert.deepStrictEqual(
      result.map((reply) => reply.warnings),
      [
        [
          { category: "DeprecationWarning", message: "mode goes away" },
          { category: "Warning", message: "plain" }
        ],
        [{ category: "Warning", message: "not JSON" }],
        [{ category: "Notice", message: "one alone" }]
      ]
    )
    assert.deepStrictEqual(
      result.map((reply) => reply.requestId),
      ["r1", "r2", "r3"]
    )
  })
})

describe("symbology", () => {
  it("resolves lists of any length, day by day, without intervals that say nothing", async () => {
    const symbols = Array.from({ length: 2_001 }, (_, i) => `S${i}`)
    const { result, asked } = await withService(
      ({ params }) => ({
        status: 206,
        body: {
          result: {
            [params.symbols!.split(",")[0]!]: [
              { d0: "2023-06-14", d1: "2023-06-15", s: "10245" },
              { d0: "2023-06-15", d1: "2023-06-16", s: "" }
            ]
          },
          partial: [],
          not_found: [params.symbols!.split(",").at(-1)],
          message: "Partially resolved",
          status: 1
        }
      }),
      (client) =>
        client.resolve({
          dataset: "GLBX.MDP3",
          symbols,
          stypeIn: "raw_symbol",
          stypeOut: "instrument_id",
          range: {
            start: BigInt(Date.UTC(2023, 5, 14, 13)) * 1_000_000n,
            end: BigInt(Date.UTC(2023, 5, 16, 0, 0, 0, 1)) * 1_000_000n
          }
        })
    )
    assert.isTrue(result.isPartial)
    assert.deepStrictEqual(
      [...result.value.result],
      [
        ["S0", [{ start: "2023-06-14", end: "2023-06-15", symbol: "10245" }]],
        ["S2000", [{ start: "2023-06-14", end: "2023-06-15", symbol: "10245" }]]
      ]
    )
    assert.deepStrictEqual(result.value.notFound, ["S1999", "S2000"])
    // The end is rounded up to a whole day.
    assert.strictEqual(asked[0]!.params.start_date, "2023-06-14")
    assert.strictEqual(asked[0]!.params.end_date, "2023-06-17")
  })
})
