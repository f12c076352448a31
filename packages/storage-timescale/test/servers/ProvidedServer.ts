/**
 * Servers that somebody provides: plain PostgreSQL, TimescaleDB of either licence. The tests in this folder run on each
 * of them, and `npm run test:timescale` runs this folder on a TimescaleDB server of its own.
 */
interface ProvidedServer {
  /** The environment variable that names it. */
  readonly name: string
  readonly url: string
  /** What a new database on it gets first; the test fails when the server cannot do it. */
  readonly extension?: string
}

const variables = [
  { name: "DM_TEST_DATABASE_URL" },
  { name: "DM_TEST_TIMESCALE_URL", extension: "timescaledb" }
]

export const providedServers: ReadonlyArray<ProvidedServer> = variables.flatMap((variable) => {
  const url = process.env[variable.name] ?? ""
  return url === "" ? [] : [{ ...variable, url }]
})

/** For `context.skip` where there is none. */
export const noServer = `no server is named by ${variables.map(({ name }) => name).join(" or ")}`
