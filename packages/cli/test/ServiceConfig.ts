/** The configuration of a service that collects from a simulator. */
import { writeFileSync } from "node:fs"
import { join } from "node:path"

/** Lines by section. */
export type Sections = { readonly [section: string]: ReadonlyArray<string> }

/** What is in it. */
export interface ServiceConfig {
  readonly dataset: string
  /** Ports of the simulator. */
  readonly httpPort: number
  readonly livePort: number
  readonly ring: { readonly name: string; readonly dir: string; readonly capacity?: number | undefined }
  /** Further sections, or other ones in the place of those here. */
  readonly sections?: Sections | undefined
}

/** Writes it into a folder: every symbol of the dataset, without a port; the control socket is in the data folder. */
export const writeServiceConfig = (folder: string, config: ServiceConfig): void => {
  const { dataset, httpPort, livePort, ring } = config
  const sections: Sections = {
    "providers.databento": [
      `historical_url = "http://127.0.0.1:${httpPort}"`,
      `live_address = "127.0.0.1:${livePort}"`,
      `datasets = ["${dataset}"]`
    ],
    symbols: ['config_file = "symbols.toml"'],
    "realtime.shm": [
      `name = "${ring.name}"`,
      `dir = "${ring.dir}"`,
      `ring_buffer_capacity = ${ring.capacity ?? 65_536}`
    ],
    backfill: ["enabled = false"],
    spool: ["disk_floor_gb = 0"],
    control: ["port = 0"],
    ...config.sections
  }
  const text = Object.entries(sections).map(([name, lines]) => `[${name}]\n${lines.join("\n")}\n`)
  writeFileSync(join(folder, "data-manager.toml"), text.join("\n"))
  writeFileSync(
    join(folder, "symbols.toml"),
    `[[symbols]]\nsymbol = "${dataset}:ALL_SYMBOLS"\nprovider = "databento"\n`
  )
}
