import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { createServer, type Server } from "node:net"
import { homedir, tmpdir, userInfo } from "node:os"
import { join } from "node:path"
import type { StoreError } from "@data-manager/core"
import { Effect, Redacted } from "effect"
import { afterAll, assert, describe, it } from "vitest"
import { defaultDataDirectory } from "../src/embedded/index.ts"
import * as PgServer from "../src/PgServer.ts"

const parse = (url: string) => Effect.runPromise(PgServer.parse(Redacted.make(url)))
const refusal = (url: string): Promise<StoreError> => Effect.runPromise(Effect.flip(PgServer.parse(url)))
const secret = (address: PgServer.ServerAddress) =>
  address.password === undefined ? undefined : Redacted.value(address.password)

const folder = mkdtempSync(join(tmpdir(), "dm-pgserver-"))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const pem = join(folder, "some.pem")
writeFileSync(pem, "PEM")

describe("a database url", () => {
  it("has all its parts", async () => {
    const address = await parse(
      "postgresql://me:p%40ss@db.example:6432/market?sslmode=verify-full&application_name=x%20y&options=-c%20a%3Db&connect_timeout=3&channel_binding=require"
    )
    assert.strictEqual(secret(address), "p@ss")
    assert.deepStrictEqual(
      { ...address, password: undefined },
      {
        host: "db.example",
        port: 6432,
        database: "market",
        user: "me",
        password: undefined,
        ssl: { mode: "verify-full" },
        applicationName: "x y",
        options: "-c a=b",
        connectTimeoutSeconds: 3,
        channelBinding: true
      }
    )
    assert.strictEqual(
      PgServer.describe(address),
      'database "market" as "me" at db.example:6432 (sslmode verify-full)'
    )
  })

  it("has the defaults of libpq", async () => {
    const { username } = userInfo()
    assert.deepStrictEqual(await parse("postgres://"), {
      host: "localhost",
      port: 5432,
      database: username,
      user: username,
      ssl: { mode: "prefer" }
    })
    assert.strictEqual((await parse("postgres://me@h")).database, "me")
  })

  const hosts: ReadonlyArray<readonly [string, string, number]> = [
    ["postgres://me@[::1]:6000/d", "::1", 6000],
    ["postgres://me@[fe80::1]/d", "fe80::1", 5432],
    ["postgresql:///d?host=/run/postgresql&port=5433", "/run/postgresql", 5433],
    ["postgresql://%2Frun%2Fpostgresql/d", "/run/postgresql", 5432],
    ["POSTGRESQL://me@h/d?host=other", "other", 5432]
  ]
  for (const [url, host, port] of hosts) {
    it(`names the host: ${url}`, async () => {
      const address = await parse(url)
      assert.deepStrictEqual([address.host, address.port, address.database], [host, port, "d"])
    })
  }

  it("may hold an unescaped @ in the password, and parameters that win over its parts", async () => {
    assert.strictEqual(secret(await parse("postgres://me:a@b@h/d")), "a@b")
    assert.strictEqual(secret(await parse("postgres://me:a:b%25@h/d")), "a:b%")
    const other = await parse("postgres://me:x@h/d?user=you&password=y&dbname=e")
    assert.deepStrictEqual([other.user, secret(other), other.database], ["you", "y", "e"])
  })

  it("never shows the password, whatever is wrong", async () => {
    const password = "s3cretWord"
    const wrong = [
      `http://me:${password}@h/d`,
      `${password}`,
      `postgres://me:${password}@h:port/d`,
      `postgres://me:${password}@h:0/d`,
      `postgres://me:${password}@h:99999/d`,
      `postgres://me:${password}/x@h/d`,
      `postgres://me:${password}?x@h/d`,
      `postgres://me:x?${password}=1@h/d`,
      `postgres://me:x?${password}`,
      `postgres://me:${password}%zz@h/d`,
      `postgres://me:${password}%00@h/d`,
      `postgres://me:${password}@h1,h2/d`,
      `postgres://me:${password}@h/d?sslmode=allow`,
      `postgres://me:${password}@h/d?sslmode=${password}`,
      `postgres://me:${password}@h/d?sslcert=${pem}`,
      `postgres://me:${password}@h/d?sslmode=verify-ca&sslrootcert=/not/there`,
      `postgres://me:${password}@h/d?connect_timeout=soon`,
      `postgres://me:${password}@::1/d`
    ]
    for (const url of wrong) {
      const error = await refusal(url)
      assert.strictEqual(error.reason._tag, "StoreBadRequest", url)
      const shown = [error.message, String(error), JSON.stringify(error), String(error.cause ?? "")].join(
        "\n"
      )
      assert.notInclude(shown, password)
    }
    const good = await parse(`postgres://me:${password}@h/d`)
    assert.notInclude(`${JSON.stringify(good)} ${PgServer.describe(good)} ${PgServer.toUrl(good)}`, password)
  })

  it("says what is allowed", async () => {
    assert.match(
      (await refusal("postgres://h/d?sslmode=allow")).message,
      /disable, prefer, require, verify-ca, verify-full/
    )
    assert.match(
      (await refusal("postgres://h/d?pool=3")).message,
      /unknown parameter "pool".*application_name/
    )
    assert.match(
      (await refusal("postgres://h/d?sslrootcert=/not/there")).message,
      /sslrootcert.*\/not\/there \(ENOENT\)/
    )
  })

  it("goes there and back", async () => {
    const texts = ["plain", "sp ace", "a+b", "100%", "ü€😀", "a/b?c#d", "p@:[]", "'\";\\"]
    for (const text of texts) {
      for (const host of ["h", "::1", "/run/pg sql"]) {
        const address: PgServer.ServerAddress = {
          host,
          port: 1234,
          database: text,
          user: text,
          password: Redacted.make(text),
          ssl: { mode: host.startsWith("/") ? "disable" : "require" },
          applicationName: text,
          options: text
        }
        const back = await parse(Redacted.value(PgServer.toUrl(address)))
        assert.strictEqual(secret(back), text)
        assert.deepStrictEqual({ ...back, password: undefined }, { ...address, password: undefined })
      }
    }
  })
})

describe("TLS", () => {
  const ssl = async (query: string) => PgServer.clientConfig(await parse(`postgres://me@h/d?${query}`)).ssl

  it("follows sslmode", async () => {
    assert.strictEqual(await ssl("sslmode=disable"), false)
    assert.deepStrictEqual(await ssl("sslmode=require"), { rejectUnauthorized: false })
    assert.deepStrictEqual(await ssl("sslmode=verify-full&sslrootcert=system"), { rejectUnauthorized: true })
    assert.deepStrictEqual(await ssl(`sslmode=verify-full&sslrootcert=${pem}&sslcert=${pem}&sslkey=${pem}`), {
      rejectUnauthorized: true,
      ca: "PEM",
      cert: "PEM",
      key: "PEM"
    })
    const authority = (await ssl(`sslmode=verify-ca&sslrootcert=${pem}`)) as {
      checkServerIdentity: () => unknown
    }
    assert.isUndefined(authority.checkServerIdentity())
    const required = (await ssl(`sslmode=require&sslrootcert=${pem}`)) as { rejectUnauthorized: boolean }
    assert.isTrue(required.rejectUnauthorized, "as in libpq, a given authority is checked")
  })

  it("is not for unix sockets", async () => {
    const address = await parse("postgresql:///d?host=/run/postgresql&sslmode=require")
    assert.strictEqual(PgServer.clientConfig(address).ssl, false)
  })

  const answering = async (answer: string | undefined, use: (port: number) => Promise<void>) => {
    const server: Server = createServer((socket) =>
      socket
        .on("error", () => {})
        .once("data", (request) => {
          assert.strictEqual(request.toString("hex"), "0000000804d2162f")
          if (answer === undefined) socket.end()
          else socket.write(answer)
        })
    )
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
    try {
      await use((server.address() as { port: number }).port)
    } finally {
      server.close()
    }
  }
  const negotiate = async (port: number, mode = "prefer") =>
    PgServer.negotiate(await parse(`postgres://me@127.0.0.1:${port}/d?sslmode=${mode}`))

  it("is negotiated for prefer", async () => {
    await answering("S", async (port) => {
      assert.deepStrictEqual((await Effect.runPromise(await negotiate(port))).ssl, { mode: "require" })
    })
    await answering("N", async (port) => {
      assert.deepStrictEqual((await Effect.runPromise(await negotiate(port))).ssl, { mode: "disable" })
    })
    // Nothing listens there: other modes ask nobody.
    assert.deepStrictEqual((await Effect.runPromise(await negotiate(1, "verify-ca"))).ssl.mode, "verify-ca")
  })

  it("that cannot be negotiated is an unreachable server", async () => {
    await answering(undefined, async (port) => {
      const error = await Effect.runPromise(Effect.flip(await negotiate(port)))
      assert.strictEqual(error.reason._tag, "StoreUnavailable")
      assert.match(error.message, /closed the connection/)
    })
    const error = await Effect.runPromise(Effect.flip(await negotiate(1)))
    assert.strictEqual(error.reason._tag, "StoreUnavailable")
    assert.match(error.message, /ECONNREFUSED.*DM_DATABASE_URL/)
  })
})

describe("the data directory", () => {
  const at = (change: Partial<Parameters<typeof defaultDataDirectory>[0] & object>) =>
    defaultDataDirectory({ env: {}, platform: "linux", home: "/home/me", root: false, ...change })

  it("lies where the platform keeps data", () => {
    assert.strictEqual(at({}), "/home/me/.local/share/data-manager")
    assert.strictEqual(at({ env: { XDG_DATA_HOME: "/data" } }), "/data/data-manager")
    assert.strictEqual(at({ env: { XDG_DATA_HOME: "relative" } }), "/home/me/.local/share/data-manager")
    assert.strictEqual(at({ root: true, env: { XDG_DATA_HOME: "/root/x" } }), "/var/lib/data-manager")
    assert.strictEqual(at({ platform: "darwin" }), "/home/me/Library/Application Support/data-manager")
    assert.strictEqual(at({ platform: "darwin", root: true }), "/Library/Application Support/data-manager")
    assert.strictEqual(at({ root: true, env: { DM_DATA_DIR: "/elsewhere" } }), "/elsewhere")
    assert.isTrue(defaultDataDirectory().length > homedir().length || process.getuid?.() === 0)
  })
})
