/** The vendor's test files with their expectations, and ways to decode them. */
import { readFileSync } from "node:fs"
import { join } from "node:path"
import {
  DbnDecoder,
  type DbnRecord,
  type DbnVersion,
  type DecoderOptions,
  JsonLines,
  type RecordBlock
} from "../../src/dbn/index.ts"
import { testData } from "../TestData.ts"

/** What `expected.json` says about a file, as far as tests use it. */
export interface Expected {
  readonly container: string
  readonly fragment: boolean
  readonly dbn_version: 0 | DbnVersion
  readonly metadata: { readonly [key: string]: unknown } | null
  readonly record_count: number
  readonly rtypes: ReadonlyArray<number>
  readonly first_record: unknown
  readonly last_record: unknown
  readonly first_record_upgraded_to_v3: unknown
  readonly sha256_jsonl: string
  readonly sha256_jsonl_upgraded_to_v3: string
}

export interface VendorFile {
  readonly name: string
  readonly bytes: Uint8Array
  readonly expected: Expected
  /** Options with which the file decodes: fragments have to be announced. */
  readonly options: DecoderOptions
}

const load = (folder: string): ReadonlyArray<VendorFile> => {
  const all = JSON.parse(readFileSync(join(folder, "expected.json"), "utf8")) as { [name: string]: Expected }
  return Object.entries(all).map(([name, expected]) => ({
    name,
    bytes: new Uint8Array(readFileSync(join(folder, name))),
    expected,
    options: { bufferBytes: 4096, ...(expected.fragment ? { fragment: {} } : {}) }
  }))
}

/** Every file; empty where the folder is not there. */
export const vendorFiles: ReadonlyArray<VendorFile> =
  testData === undefined ? [] : load(join(testData, "dbn"))

/** Why tests on the files are skipped, undefined where they run. */
export const skipReason =
  vendorFiles.length > 0 ? undefined : "the folder ../shared/testdata is not here (see DM_TESTDATA)"

/** Takes every block that there is. */
export const drain = (decoder: DbnDecoder, use: (block: RecordBlock) => void): void => {
  for (let block = decoder.take(); block !== undefined; block = decoder.take()) use(block)
}

/** Decodes chunks; `use` sees every block. Gives the error that ended it, if one did. */
export const decode = (
  chunks: Iterable<Uint8Array>,
  options: DecoderOptions,
  use: (block: RecordBlock) => void
): unknown => {
  const decoder = new DbnDecoder(options)
  try {
    for (const chunk of chunks) {
      decoder.push(chunk)
      drain(decoder, use)
    }
    decoder.end()
    drain(decoder, use)
    return undefined
  } catch (error) {
    return error
  } finally {
    decoder.close()
  }
}

const lines = new JsonLines()

/** Canonical JSON lines of an input, and the error that ended it. */
export const decodeText = (
  chunks: Iterable<Uint8Array>,
  options: DecoderOptions
): { readonly text: string; readonly error: unknown } => {
  let text = ""
  const error = decode(chunks, options, (block) => {
    text += Buffer.from(lines.render(block)).toString("latin1")
  })
  return { text, error }
}

/** Records of a complete input as objects. */
export const decodeRecords = (bytes: Uint8Array, options: DecoderOptions = {}): Array<DbnRecord> => {
  const records: Array<DbnRecord> = []
  const error = decode([bytes], options, (block) => records.push(...block.records()))
  if (error !== undefined) throw error
  return records
}
