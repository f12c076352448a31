/** Databento for Data Manager. The DBN codec itself is `@data-manager/providers-databento/dbn`. */
export * from "./DbnBatches.ts"
export * from "./DbnFileSource.ts"
export * from "./live/index.ts"
export { PROVIDER_ID } from "./MappingClaim.ts"
