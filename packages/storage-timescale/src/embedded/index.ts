/** The embedded PostgreSQL of Data Manager: real binaries from npm under a small supervisor. */
export type { Binaries, BinaryPackage } from "./Binaries.ts"
export { defaultDataDirectory } from "./DataDirectory.ts"
export * as EmbeddedServer from "./EmbeddedServer.ts"
export type { Settings } from "./Settings.ts"
