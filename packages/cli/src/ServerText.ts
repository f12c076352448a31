/** What a database server is, in words. */
import type { StoreCapabilities } from "@data-manager/core"

const editions = {
  postgresql: "plain PostgreSQL",
  "timescaledb-apache": "TimescaleDB, Apache edition",
  "timescaledb-community": "TimescaleDB, community edition"
} as const

/** What the server is, for people. */
export const serverText = ({ edition, extensionVersion, serverVersion }: StoreCapabilities): string =>
  `PostgreSQL ${serverVersion}, ${editions[edition]}${extensionVersion === undefined ? "" : ` ${extensionVersion}`}`
