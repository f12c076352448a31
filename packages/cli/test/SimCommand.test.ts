/** `dm sim databento` as another process. */
import { existsSync, readFileSync, writeFileSync } from "node:fs"
import * as https from "node:https"
import * as net from "node:net"
import { SyntheticMarket } from "@data-manager/providers-databento/simulator"
import { afterAll, assert, describe, it } from "vitest"
import { outcome, Workplace } from "./Dm.ts"

const place = new Workplace()
afterAll(() => place.close())

interface Ready {
  readonly live_port: number
  readonly http_port: number
  readonly key: string
  readonly ca_file: string | null
}

/** Starts the simulator, hands over its line, and stops it by a signal. */
const simulated = async (
  args: ReadonlyArray<string>,
  signal: NodeJS.Signals,
  use: (ready: Ready) => Promise<void>
) => {
  const child = place.start(["sim", "databento", ...args])
  const line = new Promise<string>((done) => {
    let text = ""
    child.stdout.on("data", (chunk: Buffer) => {
      text += chunk.toString()
      if (text.includes("\n")) done(text)
    })
    child.once("close", () => done(text))
  })
  const ended = outcome(child)
  try {
    await use(JSON.parse(await line))
  } finally {
    child.kill(signal)
  }
  return ended
}

const greeting = (port: number): Promise<string> =>
  new Promise((done, fail) => {
    const socket = net.connect(port, "127.0.0.1")
    socket.once("data", (chunk) => {
      done(chunk.toString())
      socket.destroy()
    })
    socket.once("error", fail)
  })

const datasets = (ready: Ready): Promise<string> =>
  new Promise((done, fail) => {
    const url = `https://127.0.0.1:${ready.http_port}/v0/metadata.list_datasets`
    const request = https.get(url, { ca: readFileSync(ready.ca_file as string), auth: `${ready.key}:` })
    request.on("error", fail)
    request.on("response", (response) => {
      let text = ""
      response.on("data", (chunk: Buffer) => {
        text += chunk.toString()
      })
      response.on("end", () => done(text))
    })
  })

describe("dm sim databento", () => {
  it("serves a synthetic day by https and live, and leaves nothing behind", async () => {
    let file = ""
    const { code, stdout, stderr } = await simulated(
      ["--synthetic", "--trades", "500", "--tls"],
      "SIGTERM",
      async (ready) => {
        file = ready.ca_file as string
        assert.strictEqual(await datasets(ready), '["DBEQ.BASIC"]')
        assert.match(await greeting(ready.live_port), /^lsg_version=\S+\ncram=\S{32}\n$/)
      }
    )
    assert.strictEqual(code, 130)
    assert.strictEqual(stdout.trimEnd().split("\n").length, 1)
    assert.match(stderr, /DBEQ\.BASIC: 200 symbols; 250 mbp-1, 500 trades/)
    assert.isFalse(existsSync(file))
  })

  it("serves files, with a key and ports of one's choice", async () => {
    const day = place.path("day.dbn")
    writeFileSync(day, Buffer.concat([...new SyntheticMarket({ trades: 100, symbols: 3 }).tradeFile()]))
    const { stderr } = await simulated(["--data", day, "--key", "db-mine"], "SIGINT", async (ready) => {
      assert.strictEqual(ready.key, "db-mine")
      assert.isNull(ready.ca_file)
      const busy = await place.run([
        ...["sim", "databento", "--trades", "10", "--live-port", String(ready.live_port)]
      ])
      assert.strictEqual(busy.code, 1)
      assert.match(busy.stderr, /dm: databento simulator: live gateway on port \d+: .*EADDRINUSE/)
    })
    assert.match(stderr, /DBEQ\.BASIC: 3 symbols; 100 trades/)
  })

  it("goes on with an endless market where another process has left it, and records what it sends", async () => {
    const flags = [
      "--endless",
      "--symbols",
      "20",
      "--rate",
      "5000",
      "--since",
      "2026-01-05T15:00:00.123456789Z"
    ]
    const record = place.path("sent.txt")
    const { stderr } = await simulated([...flags, "--record", record], "SIGTERM", async (ready) => {
      const { dataset, rate, seed, since, symbols } = ready as unknown as Record<string, unknown>
      assert.deepStrictEqual(
        { dataset, rate, seed, since, symbols },
        { dataset: "DBEQ.BASIC", rate: 5000, seed: 1, since: "2026-01-05T15:00:00.123456789Z", symbols: 20 }
      )
      assert.match(await greeting(ready.live_port), /^lsg_version=/)
    })
    assert.match(stderr, /DBEQ\.BASIC: 20 symbols; a trade every 200000 ns, for ever/)
    assert.isTrue(existsSync(record))
    for (const wrong of [
      ["--data", "."],
      ["--trades", "5"]
    ]) {
      const refused = await place.run(["sim", "databento", "--endless", ...wrong])
      assert.strictEqual(refused.code, 1)
      assert.match(refused.stderr, /--endless goes without --synthetic, --data, --trades and --live-from/)
    }
    const alone = await place.run(["sim", "databento", "--record", record])
    assert.match(alone.stderr, /--record and --since are for --endless/)
  })

  it("says what is wrong with files", async () => {
    const missing = await place.run(["sim", "databento", "--data", place.path("missing.dbn")])
    assert.strictEqual(missing.code, 1)
    assert.match(missing.stderr, /missing\.dbn: no such file/)
    writeFileSync(place.path("cut.dbn"), "DBN\u0003")
    const cut = await place.run(["sim", "databento", "--data", place.path("cut.dbn")])
    assert.strictEqual(cut.code, 1)
    assert.match(cut.stderr, /cut\.dbn: the input ends inside the metadata/)
  })
})
