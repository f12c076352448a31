import { createHash } from "node:crypto"
import { readFileSync } from "node:fs"
import { assert, describe, it } from "vitest"
import {
  CsvLines,
  DbnDecoder,
  DbnError,
  JsonLines,
  metadataToJson,
  PitSymbolMap,
  type RecordBlock,
  TsSymbolMap
} from "../../src/dbn/index.ts"
import { decode, decodeText, drain, skipReason, type VendorFile, vendorFiles } from "./VendorFile.ts"

const sha256 = (text: string): string => createHash("sha256").update(text, "latin1").digest("hex")

const lines = (text: string): Array<unknown> =>
  text
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line))

/** Runs a check on every file; with a file's name in the failure. */
const everyFile = (check: (file: VendorFile) => void): void => {
  for (const file of vendorFiles) {
    try {
      check(file)
    } catch (error) {
      throw new Error(`${file.name}: ${error instanceof Error ? error.message : String(error)}`, {
        cause: error
      })
    }
  }
}

/** Tens of thousands of decodings take seconds; on a machine that does other things as well, many. */
const patience = 180_000

const onFiles = (name: string, check: (file: VendorFile) => void): void =>
  it(name, { timeout: patience }, (context) => {
    if (skipReason !== undefined) return context.skip(skipReason)
    everyFile(check)
  })

describe("vendor files", () => {
  it("are all there", (context) => {
    if (skipReason !== undefined) return context.skip(skipReason)
    assert.isAtLeast(vendorFiles.length, 54)
  })

  onFiles("give the expected records and hash as stored", ({ bytes, expected, options }) => {
    const { text, error } = decodeText([bytes], options)
    assert.isUndefined(error)
    const records = lines(text)
    assert.strictEqual(records.length, expected.record_count)
    assert.deepStrictEqual(records[0] ?? null, expected.first_record)
    assert.deepStrictEqual(records.at(-1) ?? null, expected.last_record)
    const rtypes = new Set(records.map((record) => (record as { readonly rtype: number }).rtype))
    assert.deepStrictEqual(
      [...rtypes].sort((a, b) => a - b),
      expected.rtypes
    )
    assert.strictEqual(sha256(text), expected.sha256_jsonl)
  })

  onFiles("give the expected records and hash upgraded to version 3", ({ bytes, expected, options }) => {
    const { text, error } = decodeText([bytes], { ...options, upgrade: 3 })
    assert.isUndefined(error)
    assert.strictEqual(sha256(text), expected.sha256_jsonl_upgraded_to_v3)
    if (expected.first_record_upgraded_to_v3 !== null)
      assert.deepStrictEqual(lines(text)[0], expected.first_record_upgraded_to_v3)
  })

  onFiles("give the expected metadata, container and version", ({ bytes, expected, options }) => {
    const decoder = new DbnDecoder(options)
    decoder.push(bytes)
    decoder.end()
    let version = 0
    drain(decoder, (block) => {
      version = block.version
    })
    const metadata = decoder.metadata === undefined ? null : metadataToJson(decoder.metadata)
    assert.strictEqual(JSON.stringify(metadata), JSON.stringify(expected.metadata))
    assert.strictEqual(decoder.container, expected.container)
    // Records of DBZ are laid out as version 1.
    assert.strictEqual(version, expected.dbn_version === 0 ? 1 : expected.dbn_version)
  })

  onFiles("are refused as fragments only where nobody said that they are", ({ bytes, expected }) => {
    if (!expected.fragment) return
    const { text, error } = decodeText([bytes], {})
    assert.strictEqual(text, "")
    assert.instanceOf(error, DbnError)
    assert.strictEqual((error as DbnError).reason, "not-dbn")
    assert.include((error as DbnError).message, "fragment")
  })
})

describe("vendor files, split", () => {
  onFiles("in two at every byte give the same records", ({ bytes, options }) => {
    const whole = decodeText([bytes], options).text
    for (let at = 0; at <= bytes.length; at++) {
      const { text, error } = decodeText([bytes.subarray(0, at), bytes.subarray(at)], options)
      if (error !== undefined) throw new Error(`split at ${at}`, { cause: error })
      if (text !== whole) assert.fail(`split at ${at}: other records`)
    }
  })

  onFiles("into single bytes give the same records, upgraded or not", ({ bytes, expected, options }) => {
    const single = Array.from(bytes, (byte) => Uint8Array.of(byte))
    assert.strictEqual(sha256(decodeText(single, options).text), expected.sha256_jsonl)
    const upgraded = decodeText(single, { ...options, upgrade: 3 })
    assert.strictEqual(sha256(upgraded.text), expected.sha256_jsonl_upgraded_to_v3)
  })
})

describe("vendor files, cut short", () => {
  onFiles("at every byte give the whole records, then a typed error", ({ bytes, expected, options }) => {
    const whole = decodeText([bytes], options).text
    const count = expected.record_count
    for (let at = 0; at < bytes.length; at++) {
      const { text, error } = decodeText([bytes.subarray(0, at)], options)
      assert.isTrue(
        whole.startsWith(text) && (text === "" || text.endsWith("\n")),
        `cut at ${at}: other records`
      )
      if (error === undefined) {
        // Complete all the same: cut between records of raw data, or between frames.
        assert.isTrue(isCleanCut(bytes, at, expected, text), `cut at ${at}: taken for complete`)
        continue
      }
      assert.instanceOf(error, DbnError)
      const { reason } = error as DbnError
      const early =
        at === 0
          ? "empty"
          : at < 2 && expected.container !== "raw" && !expected.fragment
            ? "not-dbn"
            : "truncated"
      assert.strictEqual(reason, early, `cut at ${at}: ${(error as DbnError).message}`)
      if (expected.container === "raw")
        assert.strictEqual(text, wholeRecords(whole, error as DbnError, bytes, count))
    }
  })
})

/** The lines of the records that end at or before the offset of the error. */
const wholeRecords = (whole: string, error: DbnError, bytes: Uint8Array, count: number): string => {
  const list = whole.split("\n").slice(0, -1)
  const lengths = list.map((line) => (JSON.parse(line) as { readonly length: number }).length * 4)
  let end = bytes.length - lengths.reduce((sum, length) => sum + length, 0)
  let n = 0
  while (n < count && end + lengths[n]! <= error.offset!) end += lengths[n++]!
  return list
    .slice(0, n)
    .map((line) => `${line}\n`)
    .join("")
}

const isCleanCut = (bytes: Uint8Array, at: number, expected: Expected, text: string): boolean => {
  if (at === 0) return expected.fragment
  if (expected.container !== "raw") return true
  const lengths =
    text === "" ? [] : lines(text).map((record) => (record as { readonly length: number }).length * 4)
  const header = expected.metadata === null ? 0 : 8 + (expected.metadata.metadata_length as number)
  return at === header + lengths.reduce((sum, length) => sum + length, 0) && at <= bytes.length
}

type Expected = VendorFile["expected"]

const goldens = JSON.parse(readFileSync(new URL("./golden/vendor-text.json", import.meta.url), "utf8")) as {
  readonly [key: string]: string
}

/** Text of a whole file in the vendor's shape, symbols mapped where it is pretty. */
const vendorText = ({ bytes, options }: VendorFile, format: string, style: string): string => {
  const pretty = style === "pretty"
  let render: ((block: RecordBlock) => Uint8Array) | undefined
  let text = ""
  decode([bytes], options, (block) => {
    if (render === undefined) {
      const metadata = block.metadata!
      const symbols = metadata.schema === null ? new PitSymbolMap() : TsSymbolMap.fromMetadata(metadata)
      const shared = { prettyPx: pretty, prettyTs: pretty, symbols: pretty ? symbols : undefined }
      const writer = format === "csv" ? new CsvLines(shared) : new JsonLines({ ...shared, shape: "vendor" })
      render = (b) => writer.render(b)
    }
    text += Buffer.from(render(block)).toString("latin1")
  })
  return text
}

describe("text as the vendor prints it", () => {
  it("equals the vendor's transcoder, CSV and JSON, raw and pretty, symbols included", (context) => {
    if (skipReason !== undefined) return context.skip(skipReason)
    const byName = new Map(vendorFiles.map((file) => [file.name, file] as const))
    for (const [key, golden] of Object.entries(goldens)) {
      const [name, format, style] = key.split(" ") as [string, string, string]
      assert.strictEqual(sha256(vendorText(byName.get(name)!, format, style)), golden, key)
    }
    assert.isAtLeast(Object.keys(goldens).length, 150)
  })
})
