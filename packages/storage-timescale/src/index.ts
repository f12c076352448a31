/** Market store for TimescaleDB, PostgreSQL and the embedded PostgreSQL (`@data-manager/storage-timescale/embedded`). */
export * as Partitions from "./Partitions.ts"
export * as PgPool from "./PgPool.ts"
export * as PgServer from "./PgServer.ts"
export * as ServerFacts from "./ServerFacts.ts"
export * as StoreLease from "./StoreLease.ts"
export * as TimescaleStore from "./TimescaleStore.ts"
