/** Parts of `dm` for other programs: reading `data-manager.toml` exactly as the command line does. */
export * as ConfigFile from "./ConfigFile.ts"
