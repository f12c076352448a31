import { createPrivateKey, generateKeyPairSync } from "node:crypto"
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
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
/** A certificate of its own authority, and its key. */
const [pem, key, strange] = ["own.crt", "own.key", "strange.key"].map((name) => join(folder, name)) as [
  string,
  string,
  string
]
const certificate = `-----BEGIN CERTIFICATE-----
MIIBfDCCASGgAwIBAgIUfd20/9hx+YEXQLaiPEi6KF4HOXcwCgYIKoZIzj0EAwIw
EjEQMA4GA1UEAwwHZXhhbXBsZTAgFw0yNjExMjYwNDMyNDhaGA8yMTI2MTEwMjA0
MzI0OFowEjEQMA4GA1UEAwwHZXhhbXBsZTBZMBMGByqGSM49AgEGCCqGSM49AwEH
A0IABNQu4Stv4aZfN5anSqrTMDZfLpNOkmDAnQdjZs+yGzykRoHQ3vRiAeQ1MQKm
ohwSTfQjCZ/0mwjH/z9FauD0syWjUzBRMB0GA1UdDgQWBBRNO7y9r3k84W1cN+Fe
fh6N1asV2zAfBgNVHSMEGDAWgBRNO7y9r3k84W1cN+Fefh6N1asV2zAPBgNVHRMB
Af8EBTADAQH/MAoGCCqGSM49BAMCA0kAMEYCIQCWqxpOK6m1ORBypOXOTROpkZdK
XBB8lyF3mXYY++OSxgIhALIJmSU9QZEWgSNkyQIzvXe2KluTP1lwflHrlMWGT+Z9
-----END CERTIFICATE-----
`
const ownKey = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgH8glN9qMvXzqEnXb
+N1plJeJzBDdCkaRNbVamfF3POKhRANCAATULuErb+GmXzeWp0qq0zA2Xy6TTpJg
wJ0HY2bPshs8pEaB0N70YgHkNTECpqIcEk30Iwmf9JsIx/8/RWrg9LMl
-----END PRIVATE KEY-----
`
writeFileSync(pem, certificate)
writeFileSync(key, ownKey, { mode: 0o600 })
const { privateKey } = generateKeyPairSync("ec", {
  namedCurve: "P-256",
  privateKeyEncoding: { type: "pkcs8", format: "pem" },
  publicKeyEncoding: { type: "spki", format: "pem" }
})
writeFileSync(strange, privateKey, { mode: 0o600 })

describe("a database url", () => {
  it("has all its parts", async () => {
    const address = await parse(
      "postgresql://me:p%40ss@db.example:6432/market?sslmode=require&application_name=x%20y&options=-c%20a%3Db&connect_timeout=3&channel_binding=require"
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
        ssl: { mode: "require" },
        applicationName: "x y",
        options: "-c a=b",
        connectTimeoutSeconds: 3,
        channelBinding: true
      }
    )
    assert.strictEqual(
      PgServer.describe(address),
      'database "market" as "me" at db.example:6432 (sslmode require)'
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
    const system = (await ssl("sslrootcert=system")) as { readonly ca: ReadonlyArray<string> }
    assert.isAbove(system.ca.length, 50)
    assert.deepStrictEqual({ ...system, ca: [] }, { rejectUnauthorized: true, ca: [] })
    assert.deepStrictEqual(await ssl(`sslmode=verify-full&sslrootcert=${pem}&sslcert=${pem}&sslkey=${key}`), {
      rejectUnauthorized: true,
      ca: certificate,
      cert: certificate,
      key: ownKey
    })
    const authority = (await ssl(`sslmode=verify-ca&sslrootcert=${pem}`)) as {
      checkServerIdentity: () => unknown
    }
    assert.isUndefined(authority.checkServerIdentity())
    const required = (await ssl(`sslmode=require&sslrootcert=${pem}`)) as { rejectUnauthorized: boolean }
    assert.isTrue(required.rejectUnauthorized, "as in libpq, a given authority is checked")
  })

  it("refuses what cannot work, and names it", async () => {
    const open = join(folder, "open.key")
    writeFileSync(open, ownKey)
    chmodSync(open, 0o644)
    const locked = join(folder, "locked.key")
    writeFileSync(
      locked,
      createPrivateKey(ownKey).export({
        type: "pkcs8",
        format: "pem",
        cipher: "aes-256-cbc",
        passphrase: "x"
      }),
      { mode: 0o600 }
    )
    const wrong: ReadonlyArray<readonly [string, RegExp]> = [
      [
        "sslmode=verify-ca",
        /sslmode=verify-ca of the url needs .*sslrootcert=FILE.*root\.crt.*sslrootcert=system/
      ],
      ["sslmode=verify-full", /sslmode=verify-full of the url needs the certificate authority/],
      ["sslmode=require&sslrootcert=system", /goes with sslmode=verify-full alone/],
      [`sslmode=verify-ca&sslrootcert=${key}`, /sslrootcert of the url: .*own\.key holds no certificate/],
      [`sslcert=${pem}`, /belong together/],
      [`sslkey=${key}`, /belong together/],
      [`sslcert=${key}&sslkey=${key}`, /sslcert of the url: .* holds no certificate in PEM form/],
      [`sslcert=${pem}&sslkey=${pem}`, /others can read .*own\.crt; chmod 600/],
      [`sslcert=${pem}&sslkey=${open}`, /others can read .*open\.key; chmod 600/],
      [`sslcert=${pem}&sslkey=${locked}`, /locked\.key is encrypted; write it without a passphrase/],
      [`sslcert=${pem}&sslkey=${strange}`, /strange\.key is not the key of the certificate in .*own\.crt/]
    ]
    for (const [query, words] of wrong) {
      const error = await refusal(`postgres://me@h/d?${query}`)
      assert.strictEqual(error.reason._tag, "StoreBadRequest", query)
      assert.match(error.message, words)
    }
  })

  it("finds the files of libpq in the home folder", async () => {
    const home = join(folder, "home")
    mkdirSync(join(home, ".postgresql"), { recursive: true })
    const { HOME } = process.env
    process.env.HOME = home
    try {
      const at = async (query: string) => (await parse(`postgres://me@h/d?${query}`)).ssl
      assert.deepStrictEqual(await at("sslmode=require"), { mode: "require" })
      writeFileSync(join(home, ".postgresql", "root.crt"), certificate)
      assert.deepStrictEqual(await at("sslmode=require"), { mode: "require", ca: certificate })
      assert.deepStrictEqual(await at("sslmode=verify-ca"), { mode: "verify-ca", ca: certificate })
      assert.deepStrictEqual(await at("sslmode=prefer"), { mode: "prefer" })
      writeFileSync(join(home, ".postgresql", "postgresql.crt"), certificate)
      assert.match((await refusal("postgres://me@h/d")).message, /belong together/)
      writeFileSync(join(home, ".postgresql", "postgresql.key"), ownKey, { mode: 0o600 })
      const found = await at("sslmode=prefer")
      assert.strictEqual(found.cert, certificate)
      assert.strictEqual(Redacted.value(found.key!), ownKey)
      assert.deepStrictEqual(await at("sslmode=disable"), { mode: "disable" })
    } finally {
      process.env.HOME = HOME
    }
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
    assert.deepStrictEqual((await Effect.runPromise(await negotiate(1, "require"))).ssl.mode, "require")
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
