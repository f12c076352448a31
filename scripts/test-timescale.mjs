// usage: npm run test:timescale [-- vitest arguments]
// Runs the tests of `packages/storage-timescale/test/servers` on a TimescaleDB server that it fetches from Debian, starts
// and ends; see timescale-server.mjs. Other files can be added by name, `-t NAME` chooses tests.
//
// On a machine that cannot have this server (not Debian, not root, no network) it says why and ends with exit code 0, or
// with 77 where CI is set, so that nobody takes it for passed. The reason goes into the file of DM_TEST_REPORT, too.
import { writeFileSync } from "node:fs"
import { constants } from "node:os"
import { prepare, run } from "./toolchain.mjs"

const SKIPPED = 77

/** Runs `tests` with the URL of a new server and answers with the exit code of the whole. `settings` go to the server. */
export const onServer = async (
  timescale,
  tests,
  { ci, report, settings, name = "test:timescale", say = console.log }
) => {
  const skip = (reason) => {
    say(`${name}: skipped, ${reason}`)
    if (report !== undefined) writeFileSync(report, JSON.stringify({ skipped: reason }))
    return ci ? SKIPPED : 0
  }
  const reason = timescale.whyNot(timescale.thisMachine())
  if (reason !== undefined) return skip(reason)
  const stopping = new AbortController()
  let code
  const stop = (signal) => {
    code ??= 128 + constants.signals[signal]
    stopping.abort()
  }
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"]
  for (const signal of signals) process.on(signal, stop)
  let server
  try {
    const options = { signal: stopping.signal }
    const folder = await timescale.provideFolder(options)
    server = await timescale.startServer(folder, { ...options, settings })
    say(`${name}: ${timescale.describeFolder(folder)}, process ${server.pid}`)
    const ended = await tests(server.url)
    return code ?? ended
  } catch (error) {
    if (code !== undefined) return code
    if (error instanceof timescale.NotHere) return skip(error.message)
    throw error
  } finally {
    await server?.stop()
    for (const signal of signals) process.removeListener(signal, stop)
  }
}

const main = async () => {
  const { env } = await prepare()
  const { DM_TEST_DATABASE_URL: _, ...others } = env
  const argv = ["run", "packages/storage-timescale/test/servers", ...process.argv.slice(2)]
  const tests = (url) => run("vitest", argv, { env: { ...others, DM_TEST_TIMESCALE_URL: url } })
  const ci = (process.env.CI ?? "") !== ""
  const options = { ci, report: process.env.DM_TEST_REPORT }
  process.exit(await onServer(await import("./timescale-server.mjs"), tests, options))
}

if (process.argv[1] === import.meta.filename) await main()
