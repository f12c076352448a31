/** Logins that are refused, and TLS as libpq's `sslmode` means it, on a real server with certificates made for it. */
import { execFileSync } from "node:child_process"
import { createServer, type Socket } from "node:net"
import { Effect } from "effect"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import * as PgPool from "../../src/PgPool.ts"
import * as PgServer from "../../src/PgServer.ts"
import { missing } from "../embedded/Fixture.ts"
import * as Certificates from "./Certificates.ts"
import { admin, type Cluster, Clusters } from "./Cluster.ts"
import { assertSays, failureOf } from "./Refusal.ts"

const whyNot = missing ?? (Certificates.canMake() ? undefined : "openssl is not installed")
const clusters = new Clusters()
afterAll(() => clusters.clear())
if (whyNot !== undefined) it("logins that are refused, and TLS", (context) => context.skip(whyNot))

describe.skipIf(whyNot !== undefined)("a server", () => {
  let server: Cluster
  let authority: Certificates.Certificate
  let stranger: Certificates.Certificate
  let client: Certificates.Certificate
  let foreignClient: Certificates.Certificate
  let login: string

  /** The URL of a database of the server, by any of its names. */
  const url = (parts: {
    user?: string
    password?: string
    host?: string
    database?: string
    query?: string
  }) => {
    const { database = "postgres", host = "127.0.0.1", password = admin.password, user = admin.user } = parts
    return `postgresql://${user}:${password}@${host}:${server.port}/${database}?${parts.query ?? "sslmode=disable"}`
  }

  /** How the session of a URL is protected: the version of TLS, or nothing. */
  const connect = (of: string) =>
    PgServer.parse(of).pipe(
      Effect.flatMap(PgServer.negotiate),
      Effect.flatMap((address) => PgPool.make({ client: PgServer.clientConfig(address), maxConnections: 1 })),
      Effect.flatMap((pool) =>
        pool.query<{ readonly version: string | null; readonly dn: string | null }>(
          "SELECT version, client_dn AS dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        )
      ),
      Effect.map(([row]) => row!),
      Effect.scoped
    )
  const refusal = (of: string) => failureOf(connect(of))

  beforeAll(async () => {
    const folder = clusters.newFolder()
    authority = Certificates.authority(folder, "authority")
    stranger = Certificates.authority(folder, "stranger")
    client = Certificates.signed(folder, authority, "byname", undefined)
    foreignClient = Certificates.signed(folder, stranger, "byname", undefined)
    const own = Certificates.signed(folder, authority, "db", "DNS:localhost")
    server = await clusters.create({
      access: [
        "host all unwelcome all reject",
        "hostssl all byname all cert",
        "hostnossl all onlytls all reject"
      ]
    })
    server.write("server.crt", Certificates.text(own.cert))
    server.write("server.key", Certificates.text(own.key))
    server.write("root.crt", Certificates.text(authority.cert))
    await server.start({ ssl: "on", ssl_ca_file: "root.crt", max_connections: "10" })
    await server.sql([
      "CREATE ROLE unwelcome LOGIN PASSWORD 'x'",
      "CREATE ROLE byname LOGIN",
      "CREATE ROLE onlytls LOGIN PASSWORD 'x'",
      "CREATE ROLE asleep NOLOGIN PASSWORD 'x'",
      "CREATE ROLE few LOGIN PASSWORD 'x' CONNECTION LIMIT 0",
      "CREATE DATABASE closed",
      "REVOKE CONNECT ON DATABASE closed FROM PUBLIC"
    ])
    login = `sslcert=${client.cert}&sslkey=${client.key}`
  }, 60_000)

  const where = () => new RegExp(`127\\.0\\.0\\.1:${server.port}`)

  it("says which login it refuses, and what to do about it", async () => {
    assertSays(
      await refusal(url({ password: "wrong" })),
      "StoreAccessDenied",
      /^connect: database "postgres" at 127.0.0.1:\d+: password authentication failed for user "postgres"; check user and password in \[database\] url .*%xx/
    )
    assertSays(
      await refusal(url({ user: "nobody_here" })),
      "StoreAccessDenied",
      /"nobody_here"/,
      /not there is told/
    )
    assertSays(
      await refusal(`postgresql://postgres@127.0.0.1:${server.port}/postgres?sslmode=disable`),
      "StoreAccessDenied",
      where(),
      /asks "postgres" for a password, and there is none; write it into .*PGPASSWORD/
    )
    assertSays(
      await refusal(url({ user: "unwelcome", password: "x" })),
      "StoreAccessDenied",
      where(),
      /pg_hba\.conf rejects connection .*"unwelcome".*; have a line for this user, database and address added/
    )
    assertSays(
      await refusal(url({ user: "onlytls", password: "x" })),
      "StoreAccessDenied",
      /pg_hba\.conf rejects .*it may want TLS: sslmode=require/
    )
    assertSays(
      await refusal(url({ user: "asleep", password: "x" })),
      "StoreAccessDenied",
      /"asleep" is not permitted to log in; ALTER ROLE "asleep" LOGIN/
    )
    assertSays(
      await refusal(url({ database: "nowhere" })),
      "StoreAccessDenied",
      where(),
      /database "nowhere" does not exist; make it \(CREATE DATABASE .*UTF8/
    )
    assertSays(
      await refusal(url({ user: "onlytls", password: "x", database: "closed", query: "sslmode=require" })),
      "StoreAccessDenied",
      /database "closed" at .*permission denied.*; GRANT CONNECT ON DATABASE "closed" TO "onlytls"/
    )
    assertSays(
      await refusal(url({ user: "few", password: "x" })),
      "StoreExhausted",
      /too many connections for role "few".*; lower \[database\] max_connections, or raise/
    )
  })

  it("takes the password of PGPASSWORD where the URL has none", async () => {
    const { PGPASSWORD } = process.env
    process.env.PGPASSWORD = admin.password
    try {
      const of = `postgresql://postgres@127.0.0.1:${server.port}/postgres?sslmode=require`
      assert.match(String((await Effect.runPromise(connect(of))).version), /^TLSv1/)
    } finally {
      if (PGPASSWORD === undefined) delete process.env.PGPASSWORD
      else process.env.PGPASSWORD = PGPASSWORD
    }
  })

  it("that cannot be reached is named, with what to look at", async () => {
    assertSays(
      await refusal("postgresql://u:p@db.invalid/d?sslmode=disable"),
      "StoreUnavailable",
      /the host name db\.invalid is not known here \(E\w+\); correct the host in \[database\] url/
    )
    const closed =
      /no server listens at 127\.0\.0\.1:1 \(ECONNREFUSED\); start it, or correct host and port in .*DM_DATABASE_URL/
    for (const mode of ["disable", "prefer", "verify-full&sslrootcert=system"])
      assertSays(await refusal(`postgresql://u:p@127.0.0.1:1/d?sslmode=${mode}`), "StoreUnavailable", closed)
    assertSays(
      await refusal("postgresql://u:p@/d?host=/nowhere"),
      "StoreUnavailable",
      /no server listens at the socket \/nowhere\/\.s\.PGSQL\.5432 \(ENOENT\); start it/
    )
  })

  /** Listens, and does this with every connection. */
  const listening = async (answer: (socket: Socket) => void, use: (port: number) => Promise<void>) => {
    const listener = createServer((socket) => answer(socket.on("error", () => {})))
    await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve))
    try {
      await use((listener.address() as { readonly port: number }).port)
    } finally {
      listener.close()
    }
  }

  it("that takes connections and says nothing is given up in time", async () => {
    await listening(
      () => {},
      async (port) => {
        const urls = ["disable", "prefer", "require"].map(
          (mode) => `postgresql://u:p@127.0.0.1:${port}/d?connect_timeout=1&sslmode=${mode}`
        )
        for (const error of await Promise.all(urls.map(refusal)))
          assertSays(
            error,
            "StoreUnavailable",
            /no answer from 127\.0\.0\.1:\d+ within 1 s; check host and port .*firewalls/
          )
      }
    )
  })

  it("that is a pooler is told from PostgreSQL", async () => {
    // What PgBouncer answers to a setting that it does not hand on.
    const fields = "SFATAL\0C08P01\0Munsupported startup parameter: options\0\0"
    const length = Buffer.alloc(4)
    length.writeInt32BE(fields.length + 4)
    const answer = Buffer.concat([Buffer.from("E"), length, Buffer.from(fields)])
    await listening(
      (socket) => socket.once("data", () => socket.end(answer)),
      async (port) => {
        assertSays(
          await refusal(`postgresql://u:p@127.0.0.1:${port}/d?sslmode=disable`),
          "StoreIncompatible",
          /127\.0\.0\.1:\d+ is a connection pooler, not PostgreSQL itself .*; name the server itself in/
        )
      }
    )
  })

  it("refuses sessions beyond its max_connections in words", async () => {
    const held = await Effect.runPromise(
      Effect.scoped(
        Effect.gen(function* () {
          const pool = yield* PgPool.make({
            client: PgServer.clientConfig(server.address({ user: "postgres" })),
            maxConnections: 20
          })
          return yield* Effect.flip(
            Effect.forEach(Array.from({ length: 12 }), () => pool.connection("hold"), { concurrency: 1 })
          )
        })
      )
    )
    assertSays(
      held,
      "StoreExhausted",
      /^hold: database "postgres" at .*too many clients already; lower \[database\] max_connections/
    )
    assert.isTrue(held.isRetryable)
  })

  it("accepts TLS as sslmode says", async () => {
    const ca = `sslrootcert=${authority.cert}`
    const protect = async (query: string, host = "localhost") =>
      (await Effect.runPromise(connect(url({ host, query })))).version
    assert.isNull(await protect("sslmode=disable"))
    for (const query of [
      "sslmode=prefer",
      "",
      "sslmode=require",
      `sslmode=require&${ca}`,
      `sslmode=verify-ca&${ca}`,
      `sslmode=verify-full&${ca}`
    ])
      assert.match(String(await protect(query)), /^TLSv1/, query)
    // The certificate is localhost's alone.
    assert.match(String(await protect(`sslmode=verify-ca&${ca}`, "127.0.0.1")), /^TLSv1/)
    assert.match(String(await protect(`sslmode=prefer&sslrootcert=${stranger.cert}`)), /^TLSv1/)
  })

  it("is refused where its certificate is not of the authority, or for another name", async () => {
    const wrong =
      /the certificate of localhost:\d+ is not of a trusted authority \(\w+\); give the file of the server's authority as sslrootcert/
    for (const mode of ["require", "verify-ca", "verify-full"]) {
      const query = `sslmode=${mode}&sslrootcert=${stranger.cert}`
      assertSays(await refusal(url({ host: "localhost", query })), "StoreAccessDenied", wrong)
    }
    const system = "sslmode=verify-full&sslrootcert=system"
    assertSays(await refusal(url({ host: "localhost", query: system })), "StoreAccessDenied", wrong)
    assertSays(
      await refusal(url({ query: `sslmode=verify-full&sslrootcert=${authority.cert}` })),
      "StoreAccessDenied",
      /the certificate of 127\.0\.0\.1:\d+ is for other names, not for 127\.0\.0\.1; use a host name that stands in it.*verify-ca/
    )
  })

  it("is trusted by sslrootcert=system when the machine trusts its authority", () => {
    const program = `
      import { Effect } from "effect"
      import * as PgPool from ${JSON.stringify(new URL("../../src/PgPool.ts", import.meta.url).href)}
      import * as PgServer from ${JSON.stringify(new URL("../../src/PgServer.ts", import.meta.url).href)}
      const pool = (client) => PgPool.make({ client, maxConnections: 1 })
      const address = await Effect.runPromise(PgServer.parse(process.env.DM_URL))
      await Effect.runPromise(Effect.scoped(pool(PgServer.clientConfig(address))))
      console.log("connected")`
    const args = [
      "--conditions=source",
      "--disable-warning=ExperimentalWarning",
      "--input-type=module",
      "-e",
      program
    ]
    const environment = {
      ...process.env,
      DM_URL: url({ host: "localhost", query: "sslrootcert=system" }),
      SSL_CERT_FILE: authority.cert
    }
    const said = execFileSync(process.execPath, args, {
      env: environment,
      encoding: "utf8",
      cwd: import.meta.dirname
    })
    assert.strictEqual(said.trim(), "connected")
  })

  it("lets a client in by its certificate, and refuses others", async () => {
    const as = (query: string) =>
      `postgresql://byname@localhost:${server.port}/postgres?sslmode=verify-full&sslrootcert=${authority.cert}${query}`
    const session = await Effect.runPromise(connect(as(`&${login}`)))
    assert.strictEqual(session.dn, "/CN=byname")
    assertSays(
      await refusal(as("")),
      "StoreAccessDenied",
      /client certificate.*; give a client certificate as sslcert and sslkey/
    )
    assertSays(
      await refusal(as(`&sslcert=${foreignClient.cert}&sslkey=${foreignClient.key}`)),
      "StoreAccessDenied",
      /localhost:\d+ refuses the certificate of this client \(\w+\); give one as sslcert and sslkey/
    )
    const other = `postgresql://onlytls@localhost:${server.port}/postgres?sslmode=require&${login}`
    assertSays(await refusal(other), "StoreAccessDenied", /for a password/)
  })

  it("without TLS is refused under require, and used under prefer", async () => {
    await server.stop()
    await server.start({ ssl: "off" })
    for (const mode of ["require", `verify-full&sslrootcert=${authority.cert}`])
      assertSays(
        await refusal(url({ host: "localhost", query: `sslmode=${mode}` })),
        "StoreIncompatible",
        /localhost:\d+ offers no TLS, and sslmode demands it; switch it on in the server \(ssl = on\), or use sslmode=prefer/
      )
    assert.isNull((await Effect.runPromise(connect(url({ query: "sslmode=prefer" })))).version)
  })

  it("that stops while nobody looks is an unreachable one, and the pool goes on when it is back", async () => {
    await Effect.runPromise(
      Effect.scoped(
        Effect.gen(function* () {
          const pool = yield* PgPool.make({
            client: PgServer.clientConfig(server.address()),
            maxConnections: 2
          })
          yield* Effect.promise(() => server.stop())
          const error = yield* Effect.flip(
            // The first session may still be told to be there: its end is on the way.
            Effect.forEach([1, 2, 3], () => Effect.andThen(Effect.sleep("20 millis"), pool.query("SELECT 1")))
          )
          assert.isTrue(error.isRetryable, error.message)
          assertSays(yield* Effect.flip(pool.query("SELECT 1")), "StoreUnavailable", /no server listens at/)
          yield* Effect.promise(() => server.start())
          assert.strictEqual((yield* pool.query("SELECT 1 AS one"))[0]!.one, 1)
        })
      )
    )
  })
})
