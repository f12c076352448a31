/**
 * Settings of the embedded server. They go on its command line, so that an existing cluster follows the release of Data
 * Manager that starts it, not the one that made it.
 */
import { statfsSync } from "node:fs"
import { totalmem } from "node:os"

/** PostgreSQL settings by name, as text. */
export type Settings = Readonly<Record<string, string>>

/** What the settings depend on. Sizes in bytes. */
export interface SettingsInput {
  /** Memory the server may use. */
  readonly memoryBytes: number
  /** Free space on the disk of the data directory. */
  readonly diskBytes: number
  /** Idle time before the watchdog stops the server. Milliseconds. */
  readonly lingerMillis: number
  /** Where the server listens. */
  readonly listen: Listen
  /** Data may be lost in a crash: no fsync. For tests only. */
  readonly unsafe: boolean
  /** Settings of the caller; they win over everything but the ones that the supervisor needs. */
  readonly overrides: Settings
}

/** Where a server listens: a unix socket in a directory, or without one a port of the loopback interface. */
export interface Listen {
  readonly socketDirectory?: string
  readonly port: number
}

const mebibyte = 1024 * 1024

/** Memory this process may use: the machine's, or the limit of its control group where that is lower. Bytes. */
export const usableMemory = (): number => {
  const constrained = process.constrainedMemory()
  return constrained > 0 ? Math.min(totalmem(), constrained) : totalmem()
}

/** Free space on the disk that holds `path`. Bytes. */
export const freeDisk = (path: string): number => {
  const { bavail, bsize } = statfsSync(path)
  return bavail * bsize
}

/** A container's /dev/shm of 64 MB ends parallel queries with "could not resize shared memory segment". */
const sharedMemory = (): Settings => {
  if (process.platform !== "linux") return {}
  try {
    const { bsize, blocks } = statfsSync("/dev/shm")
    return bsize * blocks < 256 * mebibyte ? { dynamic_shared_memory_type: "sysv" } : {}
  } catch {
    return { dynamic_shared_memory_type: "sysv" }
  }
}

const megabytes = (bytes: number, least: number, most: number): string =>
  `${Math.min(Math.max(Math.floor(bytes / mebibyte), least), most)}MB`

/** Sized for bulk loads with a unique key and for reads over thousands of partitions. */
const tuning = ({ memoryBytes, diskBytes }: SettingsInput): Settings => ({
  shared_buffers: megabytes(memoryBytes / 4, 32, 1024),
  effective_cache_size: megabytes(memoryBytes / 2, 64, 1024 * 1024),
  work_mem: megabytes(memoryBytes / 128, 4, 64),
  maintenance_work_mem: megabytes(memoryBytes / 16, 32, 256),
  // A read over 15 years of daily partitions locks some 16,000 relations.
  max_locks_per_transaction: "4096",
  max_connections: "64",
  max_wal_senders: "2",
  autovacuum_worker_slots: "4",
  // Fewer checkpoints: each makes the pages touched next be written whole into the WAL.
  max_wal_size: megabytes(diskBytes / 8, 256, 4096),
  min_wal_size: "128MB",
  checkpoint_timeout: "15min",
  // The binaries have pglz alone. Inserting 300,000 rows in random order after a checkpoint took 8.0 s with it and 3.5 s
  // without (measured, two cores), for 22 % less WAL.
  wal_compression: "off",
  random_page_cost: "1.1",
  jit: "off"
})

const meaning: Settings = {
  timezone: "UTC",
  log_timezone: "UTC",
  lc_messages: "C",
  password_encryption: "scram-sha-256",
  // A failed statement may hold data; its text stays out of the log.
  log_min_error_statement: "panic",
  log_line_prefix: "%m [%p] ",
  logging_collector: "off",
  log_destination: "stderr"
}

/** Without fsync a committed transaction still survives a killed server, not a crash of the machine. */
const durability = (unsafe: boolean): Settings =>
  unsafe
    ? { fsync: "off", synchronous_commit: "on", full_page_writes: "off" }
    : { fsync: "on", synchronous_commit: "on", full_page_writes: "on" }

/** The supervisor depends on these. */
const fixed = ({ listen, lingerMillis }: SettingsInput): Settings => ({
  ...(listen.socketDirectory === undefined
    ? { listen_addresses: "127.0.0.1", unix_socket_directories: "" }
    : {
        listen_addresses: "",
        unix_socket_directories: quoted(listen.socketDirectory),
        unix_socket_permissions: "0700"
      }),
  port: String(listen.port),
  // After a crash the sessions that keep the server running are gone: it ends, and whoever needs it starts it again.
  restart_after_crash: "off",
  "data_manager.linger_ms": String(lingerMillis)
})

/** The setting is a list: a comma or space in the path would end an item. */
const quoted = (path: string): string => `"${path.replaceAll('"', '""')}"`

/** All settings, in the order of who wins. */
export const make = (input: SettingsInput): Settings => ({
  ...tuning(input),
  ...sharedMemory(),
  ...meaning,
  ...durability(input.unsafe),
  ...input.overrides,
  ...fixed(input)
})

/** The settings as command line arguments of `postgres`. */
export const toArguments = (settings: Settings): ReadonlyArray<string> =>
  Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`])
