/**
 * The DBN codec: decoding, encoding and text of Databento's binary format, versions 1 to 3, fragments and legacy DBZ,
 * raw and zstd. Plain synchronous classes and functions; does not use Effect.
 */
export * from "./DbnDecoder.ts"
export * from "./DbnError.ts"
export * from "./DbnMetadata.ts"
export * from "./DbnRecord.ts"
export { type DbnSchema, type KnownSchema, schemaCode, schemaFromCode, schemas } from "./DbnSchema.ts"
export * as Flag from "./Flag.ts"
export * from "./IsoDate.ts"
export * from "./Layout.ts"
export * from "./MboColumns.ts"
export * from "./Publisher.ts"
export * from "./RecordBlock.ts"
export * from "./RecordEncoder.ts"
export * as RecordEnum from "./RecordEnum.ts"
export * from "./RecordText.ts"
export * from "./Rtype.ts"
export * from "./Sentinel.ts"
export { type KnownSType, knownStype, type SType, stypeCode, stypeFromCode, stypes } from "./SType.ts"
export { type DecoderOptions, type FragmentOptions, StreamDecoder } from "./StreamDecoder.ts"
export * from "./SymbolMap.ts"
export * from "./ZstdEncoder.ts"
