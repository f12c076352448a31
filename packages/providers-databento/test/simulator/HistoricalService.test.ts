/** The historical service over real HTTP on loopback. */
import { createHash, X509Certificate } from "node:crypto"
import * as http from "node:http"
import * as https from "node:https"
import * as net from "node:net"
import { crc32, zstdDecompressSync } from "node:zlib"
import { Effect } from "effect"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { decodeBlocks } from "../../src/dbn/DbnDecoder.ts"
import type { Catalogue } from "../../src/simulator/Catalogue.ts"
import {
  DatabentoSimulator,
  type Simulator,
  type SimulatorOptions
} from "../../src/simulator/DatabentoSimulator.ts"
import {
  DATASET,
  DAY,
  futuresCatalogue,
  idOf,
  market,
  recordsOf,
  SECOND,
  syntheticCatalogue,
  trades
} from "./TestCatalogue.ts"

interface Reply {
  readonly status: number
  readonly headers: http.IncomingHttpHeaders
  readonly body: Buffer
  /** The connection ended inside the body. */
  readonly isCut: boolean
}

const call = (
  simulator: Simulator,
  method: "GET" | "POST",
  path: string,
  form: { readonly [name: string]: string | number | boolean } = {},
  options: https.RequestOptions = {}
): Promise<Reply> =>
  new Promise((done, fail) => {
    const text = new URLSearchParams(
      Object.entries(form).map(([k, v]): [string, string] => [k, String(v)])
    ).toString()
    const url = `${simulator.http.url}/v0/${path}${method === "GET" && text !== "" ? `?${text}` : ""}`
    const request = (url.startsWith("https") ? https : http).request(url, {
      method,
      auth: `${simulator.key}:`,
      agent: false,
      ...(method === "POST" ? { headers: { "content-type": "application/x-www-form-urlencoded" } } : {}),
      ...options
    })
    request.on("error", fail)
    request.on("response", (response) => {
      const chunks: Array<Buffer> = []
      const end = (isCut: boolean): void =>
        done({
          status: response.statusCode ?? 0,
          headers: response.headers,
          body: Buffer.concat(chunks),
          isCut
        })
      response.on("data", (chunk: Buffer) => chunks.push(chunk))
      response.on("end", () => end(false))
      response.on("error", () => end(true))
    })
    request.end(method === "POST" ? text : undefined)
  })

const jsonOf = (reply: Reply): unknown => JSON.parse(reply.body.toString())

/** A simulator for a group of tests. */
const simulatorFor = (options: Partial<SimulatorOptions> & { catalogue?: Catalogue } = {}) => {
  const held: { simulator?: Simulator } = {}
  let stop = (): void => {}
  let ended: Promise<void> = Promise.resolve()
  beforeAll(
    () =>
      new Promise<void>((ready) => {
        const stopped = new Promise<void>((resolve) => {
          stop = resolve
        })
        ended = Effect.runPromise(
          Effect.scoped(
            Effect.gen(function* () {
              held.simulator = yield* DatabentoSimulator.make({ catalogue: syntheticCatalogue, ...options })
              ready()
              yield* Effect.promise(() => stopped)
            })
          )
        )
      })
  )
  afterAll(async () => {
    stop()
    await ended
  })
  return (): Simulator => held.simulator as Simulator
}

const day = { start: "2026-01-05", end: "2026-01-06" }

describe("timeseries.get_range", () => {
  const simulator = simulatorFor()
  const getRange = (form: { readonly [name: string]: string | number | boolean }) =>
    call(simulator(), "POST", "timeseries.get_range", { dataset: DATASET, ...day, encoding: "dbn", ...form })

  it("gives every record, in chunks, as zstd or plain", async () => {
    for (const compression of ["zstd", "none"]) {
      const reply = await getRange({ compression })
      assert.equal(reply.status, 200)
      assert.equal(reply.headers["transfer-encoding"], "chunked")
      assert.match(String(reply.headers["request-id"]), /^[0-9a-f]{32}$/)
      assert.deepEqual(recordsOf([reply.body]), trades)
    }
  })

  it("says in the header what was asked for and how symbols are mapped", async () => {
    const reply = await getRange({ symbols: "AB,AC", limit: 5 })
    const [block] = decodeBlocks([reply.body])
    const { metadata } = block!
    assert.deepEqual(metadata?.symbols, ["AB", "AC"])
    assert.equal(metadata?.schema, "trades")
    assert.equal(metadata?.limit, 5n)
    assert.equal(metadata?.start, DAY)
    assert.equal(metadata?.end, DAY + 86_400n * SECOND)
    assert.deepEqual(metadata?.mappings[0], {
      rawSymbol: "AB",
      intervals: [{ startDate: 20260105, endDate: 20260106, symbol: String(idOf("AB")) }]
    })
    const wanted = new Set([idOf("AB"), idOf("AC")])
    assert.deepEqual(recordsOf([reply.body]), trades.filter((it) => wanted.has(it.instrumentId)).slice(0, 5))
  })

  it("carries no mappings for everything", async () => {
    const [block] = decodeBlocks([(await getRange({ symbols: "ALL_SYMBOLS" })).body])
    assert.deepEqual(block!.metadata?.symbols, ["ALL_SYMBOLS"])
    assert.deepEqual(block!.metadata?.mappings, [])
  })

  it("cuts ranges by index time, start inclusive, end exclusive, in nanoseconds too", async () => {
    const times = trades.map((it) => (it.type === "trade" ? it.tsRecv : 0n))
    const start = times[100]!
    const end = times[300]!
    const reply = await getRange({ start: String(start), end: String(end) })
    assert.deepEqual(
      recordsOf([reply.body]),
      trades.filter((_, i) => times[i]! >= start && times[i]! < end)
    )
    const hour = await getRange({ start: "2026-01-05T15", end: "" })
    const from = DAY + 15n * 3600n * SECOND
    assert.deepEqual(
      recordsOf([hour.body]),
      trades.filter((_, i) => times[i]! >= from && times[i]! < from + 3600n * SECOND)
    )
  })

  it("writes CSV and JSON as the vendor does", async () => {
    const csv = await getRange({
      encoding: "csv",
      limit: 2,
      pretty_px: true,
      pretty_ts: true,
      map_symbols: true
    })
    const [header, first] = csv.body.toString().split("\n")
    assert.equal(
      header,
      "ts_recv,ts_event,rtype,publisher_id,instrument_id,action,side,depth,price,size,flags,ts_in_delta,sequence,symbol"
    )
    const symbol = market.instruments.find((it) => it.id === trades[0]!.instrumentId)!.symbol
    assert.match(first ?? "", new RegExp(`^2026-01-05T14:30:\\d\\d\\.\\d{9}Z,.*\\.\\d{9},.*,${symbol}$`))
    const json = await getRange({ encoding: "json", compression: "zstd", limit: 2 })
    const lines = zstdDecompressSync(json.body).toString().trim().split("\n")
    assert.equal(lines.length, 2)
    assert.equal(JSON.parse(lines[0] ?? "").hd.instrument_id, trades[0]!.instrumentId)
    const all = await getRange({ encoding: "csv", symbols: "AB,AC" })
    const wanted = new Set([idOf("AB"), idOf("AC")])
    const rows = trades.filter((it) => wanted.has(it.instrumentId)).length
    assert.equal(all.body.toString().trim().split("\n").length, rows + 1)
    const nothing = await getRange({ encoding: "csv", schema: "mbo" })
    assert.match(nothing.body.toString(), /^ts_recv,ts_event,.*\n$/)
  })

  it("answers 206 where symbols were resolved in part, 422 where none was", async () => {
    const reply = await getRange({ symbols: "AB,NOPE" })
    assert.equal(reply.status, 206)
    const [block] = decodeBlocks([reply.body])
    assert.deepEqual(block!.metadata?.notFound, ["NOPE"])
    const none = await getRange({ symbols: "NOPE" })
    assert.equal(none.status, 422)
    assert.equal((jsonOf(none) as { detail: { case: string } }).detail.case, "symbology_invalid_request")
  })

  it.each([
    [{ dataset: "NO.SUCH" }, "data_no_data_found_for_request"],
    [{ start: "2026-01-04" }, "data_start_before_available_start"],
    [{ end: "2026-01-07" }, "data_end_after_available_end"],
    [{ start: "2026-01-05T12", end: "2026-01-05T11" }, "data_time_range_start_on_or_after_end"],
    [{ symbols: Array.from({ length: 2001 }, (_, i) => `S${i}`).join(",") }, "symbology_too_many_symbols"]
  ] as const)("refuses %o", async (form, name) => {
    const reply = await getRange(form as { readonly [name: string]: string })
    assert.equal(reply.status, 422)
    assert.equal((jsonOf(reply) as { detail: { case: string } }).detail.case, name)
  })

  it.each([
    [{ schema: "nonsense" }, "schema"],
    [{ start: "soon" }, "start"],
    [{ limit: "-1" }, "limit"],
    [{ pretty_px: "maybe" }, "pretty_px"],
    [{ encoding: "xml" }, "encoding"],
    [{ dataset: "" }, "dataset"],
    [{ symbols: "AB,\u00e4" }, "symbols"],
    [{ symbols: "A".repeat(71) }, "symbols"]
  ] as const)("says which parameter of %o is wrong", async (form, name) => {
    const reply = await getRange(form as { readonly [name: string]: string })
    assert.equal(reply.status, 422)
    assert.deepEqual((jsonOf(reply) as { detail: Array<{ loc: unknown }> }).detail[0]?.loc, ["body", name])
  })

  it("lets nobody in without the key, and has no other endpoints", async () => {
    const wrong = await call(simulator(), "GET", "metadata.list_datasets", {}, { auth: "db-wrong:" })
    assert.equal(wrong.status, 401)
    assert.equal((await call(simulator(), "GET", "metadata.nothing")).status, 404)
    assert.equal((await call(simulator(), "GET", "nothing")).status, 404)
    assert.equal((await call(simulator(), "GET", "", {}, { method: "PUT" })).status, 405)
  })
})

describe("anything a client may send", () => {
  const simulator = simulatorFor()
  const raw = (text: string): Promise<string> =>
    new Promise((done) => {
      const socket = net.connect(simulator().http.port, "127.0.0.1", () => socket.end(text))
      let reply = ""
      socket.on("data", (chunk) => {
        reply += chunk.toString("latin1")
      })
      socket.on("close", () => done(reply.split("\r\n")[0] ?? ""))
      socket.on("error", () => {})
    })

  it("is answered by an error", async () => {
    const authorization = `Authorization: Basic ${btoa(`${simulator().key}:`)}`
    const headers = `Host: localhost\r\n${authorization}\r\nConnection: close\r\n`
    assert.match(await raw(`GET // HTTP/1.1\r\n${headers}\r\n`), /404/)
    assert.match(await raw(`GET /v0/batch/download/%E0%A4%A/x HTTP/1.1\r\n${headers}\r\n`), /404/)
    assert.match(await raw(`GET /v0/metadata.constructor HTTP/1.1\r\n${headers}\r\n`), /404/)
    assert.match(await raw(`GET /v0/constructor.name HTTP/1.1\r\n${headers}\r\n`), /404/)
    const long = `POST /v0/metadata.get_cost HTTP/1.1\r\n${headers}Content-Length: 2000000\r\n\r\n`
    assert.match(await raw(`${long}${"a".repeat(2_000_000)}`), /413/)
    assert.match(await raw("nonsense\r\n\r\n"), /400/)
    assert.equal((await call(simulator(), "GET", "metadata.list_datasets")).status, 200)
  })
})

describe("metadata and symbology", () => {
  const simulator = simulatorFor({ catalogue: futuresCatalogue })
  const get = async (path: string, form: { readonly [name: string]: string } = {}) =>
    jsonOf(await call(simulator(), "GET", path, { dataset: "GLBX.MDP3", ...form }))
  const post = (path: string, form: { readonly [name: string]: string }) =>
    call(simulator(), "POST", path, { dataset: "GLBX.MDP3", ...form })

  it("tells what there is", async () => {
    assert.deepEqual(await get("metadata.list_datasets"), ["GLBX.MDP3"])
    assert.deepEqual(await get("metadata.list_datasets", { start_date: "2026-01-07" }), [])
    assert.deepEqual(await get("metadata.list_schemas"), [
      "trades",
      "ohlcv-1s",
      "ohlcv-1m",
      "ohlcv-1h",
      "ohlcv-1d"
    ])
    const range = { start: "2026-01-05T00:00:00.000000000Z", end: "2026-01-07T00:00:00.000000000Z" }
    const told = (await get("metadata.get_dataset_range")) as { schema: { trades: unknown } }
    assert.deepInclude(told as object, range)
    assert.deepEqual(told.schema.trades, range)
    assert.deepEqual(
      await get("metadata.get_dataset_condition", { start_date: "2026-01-06", end_date: "2026-01-07" }),
      [
        { date: "2026-01-06", condition: "available", last_modified_date: "2026-01-06" },
        { date: "2026-01-07", condition: "missing", last_modified_date: null }
      ]
    )
    const fields = (await get("metadata.list_fields", { schema: "mbp-1", encoding: "csv" })) as Array<unknown>
    assert.deepInclude(fields, { name: "bid_px_00", type: "int64_t" })
    const publishers = (await get("metadata.list_publishers")) as Array<unknown>
    assert.deepEqual(publishers[0], {
      publisher_id: 1,
      dataset: "GLBX.MDP3",
      venue: "GLBX",
      description: "GLBX.MDP3 GLBX"
    })
  })

  it("counts and prices", async () => {
    const form = { schema: "trades", symbols: "ESM6", start: "2026-01-05", end: "2026-01-07" }
    assert.equal(jsonOf(await post("metadata.get_record_count", form)), 2)
    assert.equal(jsonOf(await post("metadata.get_billable_size", form)), 96)
    assert.closeTo(jsonOf(await post("metadata.get_cost", form)) as number, (96 / 2 ** 30) * 0.5, 1e-12)
  })

  it("resolves symbols day by day", async () => {
    const form = {
      stype_in: "continuous",
      stype_out: "instrument_id",
      start_date: "2026-01-05",
      end_date: "2026-01-07"
    }
    const reply = await post("symbology.resolve", { ...form, symbols: "ES.c.0,ES.d.0" })
    assert.equal(reply.status, 206)
    assert.deepEqual(jsonOf(reply), {
      result: {
        "ES.c.0": [
          { d0: "2026-01-05", d1: "2026-01-06", s: "1" },
          { d0: "2026-01-06", d1: "2026-01-07", s: "2" }
        ]
      },
      symbols: ["ES.c.0", "ES.d.0"],
      stype_in: "continuous",
      stype_out: "instrument_id",
      start_date: "2026-01-05",
      end_date: "2026-01-07",
      partial: [],
      not_found: ["ES.d.0"],
      message: "Partially resolved",
      status: 1
    })
    const names = await post("symbology.resolve", { ...form, symbols: "ES.c.0", stype_out: "raw_symbol" })
    const { result } = jsonOf(names) as { result: { [symbol: string]: Array<{ s: string }> } }
    assert.deepEqual(
      result["ES.c.0"]?.map((it) => it.s),
      ["ESH6", "ESM6"]
    )
    const partial = await post("symbology.resolve", { ...form, stype_in: "raw_symbol", symbols: "ESM6" })
    assert.deepEqual((jsonOf(partial) as { partial: unknown }).partial, ["ESM6"])
    const ids = { ...form, stype_in: "instrument_id", stype_out: "raw_symbol", symbols: "2", end_date: "" }
    assert.equal((await post("symbology.resolve", { ...ids, start_date: "2026-01-06" })).status, 200)
    assert.equal((await post("symbology.resolve", { ...form, symbols: "" })).status, 422)
  })

  it("selects by parent and continuous symbol", async () => {
    const form = { start: "2026-01-05", end: "2026-01-07", encoding: "dbn" }
    const parent = await post("timeseries.get_range", { ...form, stype_in: "parent", symbols: "ES.FUT" })
    assert.equal(recordsOf([parent.body]).length, 7)
    const rolled = await post("timeseries.get_range", { ...form, stype_in: "continuous", symbols: "ES.c.0" })
    assert.deepEqual(
      recordsOf([rolled.body]).map((it) => it.instrumentId),
      [1, 1, 1, 2, 2]
    )
  })

  it("prints the symbols that were asked for", async () => {
    const form = { start: "2026-01-05", end: "2026-01-07", encoding: "csv", map_symbols: "true" }
    const symbolsOf = async (more: { readonly [name: string]: string }) => {
      const { body } = await post("timeseries.get_range", { ...form, ...more })
      return body
        .toString()
        .trim()
        .split("\n")
        .slice(1)
        .map((line) => line.split(",").at(-1))
    }
    const continuous = await symbolsOf({ stype_in: "continuous", symbols: "ES.c.0" })
    assert.deepEqual([...new Set(continuous)], ["ES.c.0"])
    const ids = await symbolsOf({ stype_in: "product_id", stype_out: "native", symbols: "2" })
    assert.deepEqual(ids, ["ESM6", "ESM6"])
    const rolled = await symbolsOf({ stype_in: "continuous", stype_out: "raw_symbol", symbols: "ES.c.0" })
    assert.deepEqual(rolled, ["ESH6", "ESH6", "ESH6", "ESM6", "ESM6"])
  })

  it("makes bars from trades", async () => {
    const bars = await post("timeseries.get_range", {
      schema: "ohlcv-1d",
      symbols: "ESH6",
      start: "2026-01-05",
      end: "2026-01-07",
      encoding: "dbn"
    })
    assert.deepEqual(
      recordsOf([bars.body]).map((it) => (it.type === "ohlcv" ? [it.tsEvent, it.volume] : it.type)),
      [
        [DAY, 3n],
        [DAY + 86_400n * SECOND, 2n]
      ]
    )
  })
})

describe("batch", () => {
  const simulator = simulatorFor({ catalogue: futuresCatalogue })
  const submit = async (form: { readonly [name: string]: string | number | boolean }) => {
    const all = { dataset: "GLBX.MDP3", schema: "trades", start: "2026-01-05", end: "2026-01-07", ...form }
    return call(simulator(), "POST", "batch.submit_job", all)
  }
  const filesOf = async (id: string) =>
    jsonOf(await call(simulator(), "GET", "batch.list_files", { job_id: id })) as Array<{
      filename: string
      size: number
      hash: string
      urls: { https: string }
    }>
  const download = (url: string, range?: string) =>
    call(
      simulator(),
      "GET",
      url.replace(/^.*\/v0\//, ""),
      {},
      range === undefined ? {} : { headers: { range } }
    )

  it("takes a job, does it and delivers files with their checksums", async () => {
    const job = jsonOf(await submit({ symbols: "ESH6,ESM6", encoding: "dbn", compression: "zstd" })) as {
      id: string
    }
    assert.include(job as object, {
      state: "queued",
      symbols: "ESH6,ESM6",
      compression: "zstd",
      split_duration: "day"
    })
    const details = jsonOf(await call(simulator(), "GET", "batch.get_job_details", { job_id: job.id }))
    assert.isAbove((details as { actual_size: number }).actual_size, 1000)
    assert.include(details as object, { state: "done", record_count: 7, billed_size: 336, progress: 100 })
    const files = await filesOf(job.id)
    assert.deepEqual(
      files.map((it) => it.filename),
      [
        "glbx-mdp3-20260105.trades.dbn.zst",
        "glbx-mdp3-20260106.trades.dbn.zst",
        "metadata.json",
        "symbology.json",
        "condition.json",
        "manifest.json"
      ]
    )
    for (const file of files) {
      const { body, status, headers } = await download(file.urls.https)
      assert.equal(status, 200)
      assert.equal(headers["content-length"], String(file.size))
      assert.equal(`sha256:${createHash("sha256").update(body).digest("hex")}`, file.hash)
    }
    assert.equal(recordsOf([(await download(files[1]!.urls.https)).body]).length, 4)
  })

  it("resumes downloads by range", async () => {
    const job = jsonOf(await submit({ symbols: "ESH6", encoding: "dbn", split_duration: "none" })) as {
      id: string
    }
    const [file] = await filesOf(job.id)
    assert.equal(file?.filename, "glbx-mdp3-20260105-20260106.trades.dbn")
    const whole = (await download(file!.urls.https)).body
    const rest = await download(file!.urls.https, "bytes=100-")
    assert.equal(rest.status, 206)
    assert.equal(rest.headers["content-range"], `bytes 100-${whole.length - 1}/${whole.length}`)
    assert.deepEqual(rest.body, whole.subarray(100))
    assert.deepEqual((await download(file!.urls.https, "bytes=10-19")).body, whole.subarray(10, 20))
    assert.equal((await download(file!.urls.https, `bytes=${whole.length}-`)).status, 416)
  })

  it("splits by symbol, week and month", async () => {
    const bySymbol = jsonOf(
      await submit({
        symbols: "ES.FUT",
        stype_in: "parent",
        split_symbols: true,
        split_duration: "week",
        encoding: "csv"
      })
    ) as { id: string }
    assert.deepEqual(
      (await filesOf(bySymbol.id)).map((it) => it.filename).filter((name) => name.endsWith(".csv")),
      ["glbx-mdp3-20260105-20260106.trades.ESH6.csv", "glbx-mdp3-20260105-20260106.trades.ESM6.csv"]
    )
    const refused = await submit({ symbols: "ALL_SYMBOLS", split_symbols: true })
    assert.equal(refused.status, 422)
    assert.equal((await submit({ symbols: "ESH6", split_size: 5 })).status, 422)
  })

  it("delivers a job as one ZIP archive", async () => {
    const job = jsonOf(await submit({ symbols: "ESH6" })) as { id: string }
    const { body } = await call(simulator(), "GET", "batch.download", { job_id: job.id })
    const entries = unzip(body)
    const files = await filesOf(job.id)
    assert.deepEqual(
      [...entries.keys()],
      files.map((it) => it.filename)
    )
    for (const file of files) assert.equal(entries.get(file.filename)?.length, file.size)
  })

  it("lists jobs by state and forgets the files of expired ones", async () => {
    const job = jsonOf(await submit({ symbols: "ESH6" })) as { id: string }
    const list = async (states: string) =>
      (jsonOf(await call(simulator(), "GET", "batch.list_jobs", { states })) as Array<{ id: string }>).map(
        (it) => it.id
      )
    assert.include(await list("done"), job.id)
    assert.notInclude(await list("queued,processing"), job.id)
    simulator().http.jobs.expire(job.id)
    assert.include(await list("expired"), job.id)
    assert.equal((await call(simulator(), "GET", "batch.list_files", { job_id: job.id })).status, 404)
    assert.equal((await call(simulator(), "GET", "batch.get_job_details", { job_id: "NO" })).status, 404)
    assert.equal((await call(simulator(), "GET", "batch.list_jobs", { states: "lost" })).status, 422)
  })
})

/** Files of a stored ZIP archive, read by its central directory, checksums checked. */
const unzip = (bytes: Buffer): Map<string, Buffer> => {
  const end = bytes.length - 22
  assert.equal(bytes.readUInt32LE(end), 0x06054b50)
  const entries = new Map<string, Buffer>()
  let at = bytes.readUInt32LE(end + 16)
  for (let i = 0; i < bytes.readUInt16LE(end + 10); i++) {
    assert.equal(bytes.readUInt32LE(at), 0x02014b50)
    const size = bytes.readUInt32LE(at + 24)
    const nameLength = bytes.readUInt16LE(at + 28)
    const local = bytes.readUInt32LE(at + 42)
    assert.equal(bytes.readUInt32LE(local), 0x04034b50)
    const from = local + 30 + bytes.readUInt16LE(local + 26)
    const content = bytes.subarray(from, from + size)
    assert.equal(crc32(content), bytes.readUInt32LE(at + 16))
    entries.set(bytes.subarray(at + 46, at + 46 + nameLength).toString(), content)
    at += 46 + nameLength
  }
  return entries
}

describe("http faults", () => {
  const simulator = simulatorFor()
  const form = { dataset: DATASET, ...day, encoding: "dbn" }
  const getRange = () => call(simulator(), "POST", "timeseries.get_range", form)

  it("answer errors in every form, so often as asked", async () => {
    const { faults } = simulator().http
    faults.next("get_range", { type: "status", status: 429, retryAfter: 3 }, 2)
    faults.next("get_range", { type: "status", status: 502, body: "<html>Bad Gateway</html>" })
    faults.next("get_range", { type: "status", status: 500, body: "" })
    for (const _ of [1, 2]) {
      const limited = await getRange()
      assert.equal(limited.status, 429)
      assert.equal(limited.headers["retry-after"], "3")
    }
    const page = await getRange()
    assert.equal(page.headers["content-type"], "text/html")
    assert.equal(page.body.toString(), "<html>Bad Gateway</html>")
    assert.equal((await getRange()).body.length, 0)
    assert.equal((await getRange()).status, 200)
    assert.equal(simulator().http.requests("get_range"), 5)
  })

  it("cut, shorten and reset bodies", async () => {
    const { faults } = simulator().http
    const whole = (await getRange()).body
    faults.next("get_range", { type: "cut", afterBytes: 1000 })
    const cut = await getRange()
    assert.isTrue(cut.isCut)
    faults.next("get_range", { type: "reset", afterBytes: 1000 })
    // A reset may overtake what was sent before it.
    const reset = await getRange().then(
      (reply) => reply.isCut,
      (error) => error.code === "ECONNRESET"
    )
    assert.isTrue(reset)
    faults.next("get_range", { type: "shortBody", afterBytes: 1000 })
    const short = await getRange()
    assert.isFalse(short.isCut)
    assert.deepEqual(short.body, whole.subarray(0, 1000))
    faults.next("get_range", { type: "split", bytes: 999 })
    assert.deepEqual((await getRange()).body, whole)
  })

  it("stall with the connection open", async () => {
    simulator().http.faults.next("get_range", { type: "stall", afterBytes: 1000 })
    const stalled = await Promise.race([
      getRange(),
      new Promise((wait) => setTimeout(() => wait("open"), 200))
    ])
    assert.equal(stalled, "open")
  })

  it("delay and warn", async () => {
    simulator().http.faults.next("get_range", [
      { type: "delay", millis: 60 },
      { type: "warning", warnings: ["DeprecationWarning: old"] }
    ])
    const started = performance.now()
    const reply = await getRange()
    assert.isAbove(performance.now() - started, 55)
    assert.equal(reply.headers["x-warning"], '["DeprecationWarning: old"]')
  })
})

describe("https", () => {
  const simulator = simulatorFor({ tls: true })

  it("has a certificate that its authority vouches for, and nobody else", async () => {
    const authority = simulator().authority as string
    const ca = { ca: authority, rejectUnauthorized: true }
    assert.deepEqual(jsonOf(await call(simulator(), "GET", "metadata.list_datasets", {}, ca)), [DATASET])
    const strict = { ...ca, servername: "localhost" }
    assert.equal((await call(simulator(), "GET", "metadata.list_datasets", {}, strict)).status, 200)
    const stranger = await call(simulator(), "GET", "metadata.list_datasets").catch((error) => error.code)
    assert.equal(stranger, "UNABLE_TO_VERIFY_LEAF_SIGNATURE")
    const certificate = new X509Certificate(authority)
    assert.isTrue(certificate.ca)
    assert.isTrue(certificate.verify(certificate.publicKey))
  })
})
