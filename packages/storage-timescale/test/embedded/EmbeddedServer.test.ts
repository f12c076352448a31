import { execFileSync, spawn } from "node:child_process"
import {
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync
} from "node:fs"
import { join } from "node:path"
import { StoreError } from "@data-manager/core"
import { Effect, Fiber, Redacted } from "effect"
import pg from "pg"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { EmbeddedServer } from "../../src/embedded/index.ts"
import { clientConfig } from "../../src/PgServer.ts"
import { fast } from "./FastServer.ts"
import {
  copyDirectory,
  failureOf,
  Ground,
  isAlive,
  isGone,
  isRoot,
  missing,
  nobody,
  pidFile,
  processesIn,
  refusalOf,
  root,
  run,
  serverPid,
  until
} from "./Fixture.ts"
import { delay, query } from "./Query.ts"

// Where the binaries are missing there is nothing to test; on CI they must be there.
const skipped = process.env.CI === undefined ? missing : undefined
const template = join(root, "template")

describe.concurrent("embedded server", () => {
  beforeAll(async () => {
    if (skipped !== undefined) return
    assert.isUndefined(missing, missing)
    const ground = new Ground()
    const made = ground.path()
    const { release } = await ground.acquire(made)
    await release()
    await run(EmbeddedServer.stop(made))
    renameSync(made, template)
  })

  afterAll(async () => {
    await until("every process of the tests ends", () => processesIn(root).length === 0)
    rmSync(root, { recursive: true, force: true })
  })

  const test = (name: string, body: (ground: Ground) => Promise<void>, unless?: string) =>
    it(name, { timeout: 120_000 }, async (context) => {
      const reason = skipped ?? unless
      if (reason !== undefined) return context.skip(reason)
      const ground = new Ground()
      try {
        await body(ground)
      } finally {
        await ground.clear()
      }
    })

  /** A data directory with a cluster in it, not running. */
  const prepared = async (ground: Ground): Promise<string> => {
    const path = ground.path()
    await copyDirectory(template, path)
    return path
  }

  test("first start: cluster, login, settings, permissions; later stops by itself", async (ground) => {
    const dataDir = ground.path()
    const { address, release } = await ground.acquire(dataDir, {
      unsafe: false,
      settings: {},
      linger: "1 second"
    })
    assert.strictEqual(address.host, join(dataDir, "postgres", "run"))
    assert.strictEqual(address.database, "data_manager")
    const [row] = await query(
      address,
      `SELECT current_user AS me, current_setting('server_encoding') AS encoding, current_setting('TimeZone') AS zone,
         current_setting('fsync') AS fsync, current_setting('synchronous_commit') AS sync,
         current_setting('max_locks_per_transaction') AS locks, current_setting('listen_addresses') AS tcp,
         current_setting('data_checksums') AS checksums, current_setting('jit') AS jit,
         (SELECT datlocprovider::text || datlocale FROM pg_database WHERE datname = 'data_manager') AS locale,
         (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS super`
    )
    assert.deepStrictEqual(row, {
      me: "data_manager",
      encoding: "UTF8",
      zone: "UTC",
      fsync: "on",
      sync: "on",
      locks: "4096",
      tcp: "",
      checksums: "on",
      jit: "off",
      locale: "bC.UTF-8",
      super: false
    })
    assert.strictEqual(statSync(join(dataDir, "postgres", "pgpass")).mode & 0o777, 0o600)
    assert.strictEqual(statSync(join(dataDir, "postgres", "run")).mode & 0o777, 0o700)
    assert.strictEqual(statSync(join(dataDir, "postgres", "data")).mode & 0o777, 0o700)
    const wrong = query({ ...address, password: Redacted.make("wrong") }, "SELECT 1")
    assert.strictEqual(await wrong.then(String, (error) => error.code), "28P01")
    if (isRoot) assert.strictEqual(statSync(`/proc/${serverPid(dataDir)}`).uid, nobody.uid)
    await release()
    const took = await until("the server stops by itself", () => isGone(dataDir))
    assert.isAbove(took, 500, "it lingers")
  })

  test("settings of the caller's environment change nothing", async (ground) => {
    const names = {
      PGOPTIONS: "-c timezone=Asia/Tokyo",
      PGSSLMODE: "require",
      PGPORT: "1",
      PGUSER: "x",
      PGDATA: "/"
    }
    const before = Object.fromEntries(Object.keys(names).map((name) => [name, process.env[name]]))
    Object.assign(process.env, names)
    try {
      const { address } = await ground.acquire(await prepared(ground))
      assert.deepStrictEqual(await query(address, "SHOW timezone"), [{ TimeZone: "UTC" }])
    } finally {
      for (const [name, value] of Object.entries(before))
        if (value === undefined) delete process.env[name]
        else process.env[name] = value
    }
  })

  test("a second process shares the server, which outlives the first and ends after the last", async (ground) => {
    const dataDir = await prepared(ground)
    const first = ground.start(dataDir)
    const { attached } = await first.next()
    const second = ground.start(dataDir)
    assert.deepStrictEqual(await second.next(), { attached })
    const { references } = await run(EmbeddedServer.status(dataDir))
    assert.deepStrictEqual(
      references?.map(({ pid }) => pid),
      [first.child.pid, second.child.pid]
    )
    await first.end()
    await delay(1200)
    assert.deepStrictEqual(await second.ask("SELECT 1 AS one"), { rows: [{ one: 1 }] })
    assert.strictEqual(serverPid(dataDir), attached)
    await second.end()
    await until("the server stops by itself", () => isGone(dataDir))
    assert.strictEqual((await run(EmbeddedServer.status(dataDir))).state, "stopped")
  })

  test("after kill -9 of the only process the server stops; who comes before that keeps it", async (ground) => {
    const dataDir = await prepared(ground)
    const first = ground.start(dataDir, { linger: "4 seconds" })
    const { attached } = await first.next()
    await first.kill()
    const { address, release } = await ground.acquire(dataDir)
    assert.strictEqual(serverPid(dataDir), attached, "the running server is used")
    await delay(5000)
    assert.deepStrictEqual(await query(address, "SELECT 1 AS one"), [{ one: 1 }])
    await release()
    await until("the server stops by itself", () => isGone(dataDir))
    assert.match(
      readFileSync((await run(EmbeddedServer.status(dataDir))).log ?? "", "utf8"),
      /fast shutdown request/
    )
  })

  test("processes that start at once on a new directory share one server", async (ground) => {
    const dataDir = ground.path()
    const processes = [ground.start(dataDir), ground.start(dataDir), ground.start(dataDir)]
    const answers = await Promise.all(processes.map(({ next }) => next()))
    assert.isNumber(answers[0]?.attached)
    assert.deepStrictEqual(new Set(answers.map(({ attached }) => attached)).size, 1)
    assert.sameMembers(readdirSync(dataDir), [".data-manager", "postgres"])
    for (const { ask } of processes)
      assert.deepStrictEqual(await ask("SELECT 1 AS one"), { rows: [{ one: 1 }] })
    const { references } = await run(EmbeddedServer.status(dataDir))
    assert.strictEqual(references?.length, 3)
  })

  test("coming and going around the moment of the stop never loses a server", async (ground) => {
    const dataDir = await prepared(ground)
    const visits = async (count: number) => {
      for (let visit = 0; visit < count; visit++) {
        const { address, release } = await ground.acquire(dataDir, { linger: 30 })
        const before = serverPid(dataDir)
        // Longer than the linger: without a reference the watchdog would end it.
        await query(address, "SELECT pg_sleep(0.12)")
        assert.strictEqual(serverPid(dataDir), before)
        await release()
        await delay(visit * 7)
      }
    }
    await Promise.all([visits(12), delay(50).then(() => visits(12))])
    const starts = readdirSync(join(dataDir, "postgres", "log")).length
    assert.isAbove(starts, 1, "the server was stopped in between")
  })

  test("a starter killed on the way leaves no server behind", async (ground) => {
    for (const wait of [0, 30, 80]) {
      const dataDir = await prepared(ground)
      const starter = ground.start(dataDir)
      await until("the server process exists", () => serverPid(dataDir) !== undefined, 60_000, 2)
      await delay(wait)
      await starter.kill()
      await until("the server stops", () => isGone(dataDir) && processesIn(dataDir).length === 0)
    }
  })

  test("a first start killed on the way is no obstacle, and its remains are removed", async (ground) => {
    const dataDir = ground.path()
    const starter = ground.start(dataDir)
    const remains = () =>
      (existsSync(dataDir) ? readdirSync(dataDir) : []).filter((name) => name.includes(".init-"))
    await until("initdb runs", () =>
      remains().some((name) => existsSync(join(dataDir, name, "data", "base")))
    )
    await starter.kill()
    const [left = ""] = remains()
    assert.notStrictEqual(left, "")
    await until("initdb notices", () => processesIn(dataDir).length === 0)
    utimesSync(join(dataDir, left), 0, 0)
    const { address } = await ground.acquire(dataDir)
    assert.deepStrictEqual(await query(address, "SELECT 1 AS one"), [{ one: 1 }])
    assert.deepStrictEqual(remains(), [])
  })

  test("a crashed server is started again while somebody holds it", async (ground) => {
    const dataDir = await prepared(ground)
    const { address } = await ground.acquire(dataDir)
    await query(address, "CREATE TABLE kept AS SELECT 7 AS seven")
    const before = serverPid(dataDir) ?? 0
    process.kill(before, "SIGKILL")
    await until("it runs again", () => {
      const pid = serverPid(dataDir)
      return pid !== undefined && pid !== before && readFileSync(pidFile(dataDir), "utf8").includes("ready")
    })
    assert.deepStrictEqual(await query(address, "SELECT seven FROM kept"), [{ seven: 7 }])
    let users: ReadonlyArray<number> = []
    while (users.length === 0) users = await usersOf(dataDir)
    assert.deepStrictEqual(users, [process.pid], "the new server is held, too")
  })

  test("a server that ends because one of its sessions crashed is started again", async (ground) => {
    const dataDir = await prepared(ground)
    const { address } = await ground.acquire(dataDir)
    const crash = async (which: string) => {
      const [row] = await query(address, `SELECT min(pid) AS pid FROM pg_stat_activity WHERE ${which}`)
      const before = serverPid(dataDir)
      process.kill(Number(row?.pid), "SIGKILL")
      await until("another one is ready", () => {
        const now = serverPid(dataDir)
        return now !== undefined && now !== before && readFileSync(pidFile(dataDir), "utf8").includes("ready")
      })
      let users: ReadonlyArray<number> = []
      while (users.length === 0) users = await usersOf(dataDir)
      assert.deepStrictEqual(users, [process.pid])
    }
    await crash("backend_type = 'checkpointer'")
    await crash("application_name LIKE 'dm-ref:%'")
  })

  test("a pid file left by a crash is no obstacle, also when its process id belongs to something else", async (ground) => {
    const dataDir = await prepared(ground)
    const first = ground.start(dataDir)
    const { attached } = await first.next()
    // Stopped first, so that the process does not start it again.
    first.child.kill("SIGSTOP")
    process.kill(Number(attached), "SIGKILL")
    await first.kill()
    await until("its sessions end", () => processesIn(dataDir).length === 0)
    assert.strictEqual(serverPid(dataDir), attached)
    const again = await ground.acquire(dataDir)
    assert.notStrictEqual(serverPid(dataDir), attached)
    const second = serverPid(dataDir) ?? 0
    await run(EmbeddedServer.stop(dataDir, { force: true }))
    await again.release()
    // Ids are given again: the one in the file is now of another process of the same user, which PostgreSQL alone
    // would take for a running server.
    const user = statSync(join(dataDir, "postgres", "data"))
    const other = spawn("sleep", ["60"], isRoot ? { uid: user.uid, gid: user.gid } : {})
    try {
      const text = [
        other.pid,
        join(dataDir, "postgres", "data"),
        1_700_000_000,
        5432,
        join(dataDir, "postgres", "run"),
        ""
      ]
      for (const path of [pidFile(dataDir), join(dataDir, "postgres", "run", ".s.PGSQL.5432.lock")]) {
        writeFileSync(path, text.join("\n"))
        chownSync(path, user.uid, user.gid)
      }
      const { address } = await ground.acquire(dataDir)
      assert.deepStrictEqual(await query(address, "SELECT 1 AS one"), [{ one: 1 }])
      assert.notStrictEqual(serverPid(dataDir), second)
      assert.isTrue(isAlive(other.pid ?? 0), "nothing was done to it")
    } finally {
      other.kill("SIGKILL")
    }
  })

  test("an empty pid file left by a power failure is removed, a new one is not", async (ground) => {
    const dataDir = await prepared(ground)
    const user = statSync(join(dataDir, "postgres", "data"))
    writeFileSync(pidFile(dataDir), "")
    chownSync(pidFile(dataDir), user.uid, user.gid)
    const error = await refusalOf({ dataDir, startTimeout: 100 })
    assert.strictEqual(error.reason._tag, "StoreUnavailable")
    assert.isTrue(existsSync(pidFile(dataDir)), "it may be of a server that is just starting")
    utimesSync(pidFile(dataDir), 0, 0)
    const { address } = await ground.acquire(dataDir)
    assert.deepStrictEqual(await query(address, "SELECT 1 AS one"), [{ one: 1 }])
  })

  const content = (path: string): ReadonlyArray<string> =>
    execFileSync("find", [path]).toString().split("\n").sort()

  test("a cluster of another major version is refused with the way out, and untouched", async (ground) => {
    const dataDir = await prepared(ground)
    writeFileSync(join(dataDir, "postgres", "data", "PG_VERSION"), "17\n")
    const before = content(dataDir)
    const error = await refusalOf({ dataDir })
    assert.strictEqual(error.reason._tag, "StoreIncompatible")
    assert.match(error.message, /PostgreSQL 17.*PostgreSQL 18.*dump.*restore.*DM_DATABASE_URL/s)
    assert.deepStrictEqual(content(dataDir), before)
    assert.strictEqual((await failureOf(EmbeddedServer.check(dataDir))).message, error.message)
  })

  test("a foreign directory, a bare cluster and a file are refused, and untouched", async (ground) => {
    const cases = [
      { name: "holiday.jpg", says: /not empty and does not belong to Data Manager \(holiday.jpg/ },
      { name: "PG_VERSION", says: /is itself a PostgreSQL data directory/ }
    ]
    for (const { name, says } of cases) {
      const dataDir = ground.path()
      mkdirSync(dataDir)
      writeFileSync(join(dataDir, name), "18\n")
      const error = await refusalOf({ dataDir })
      assert.strictEqual(error.reason._tag, "StoreIncompatible")
      assert.match(error.message, says)
      assert.match(error.message, /--data-dir, DM_DATA_DIR/)
      assert.deepStrictEqual(readdirSync(dataDir), [name])
    }
    const file = ground.path()
    writeFileSync(file, "")
    const error = await refusalOf({ dataDir: file })
    assert.instanceOf(error, StoreError)
    assert.isFalse(error.isRetryable)
    assert.match(error.message, /not a directory/)
  })

  test("a directory that cannot be used says why", async (ground) => {
    const closed = ground.path()
    mkdirSync(closed, { mode: isRoot ? 0o700 : 0o500 })
    const dataDir = join(closed, "inner")
    if (isRoot) mkdirSync(dataDir)
    const error = await refusalOf({ dataDir })
    assert.strictEqual(error.reason._tag, "StoreAccessDenied")
    assert.match(error.message, isRoot ? /cannot be reached by nobody/ : /no permission/)
    assert.match(error.message, /--data-dir, DM_DATA_DIR/)
  })

  test(
    "a full disk is an error that says so, before and after the first start",
    async (ground) => {
      const disk = ground.path()
      mkdirSync(disk)
      execFileSync("mount", ["-t", "tmpfs", "-o", "size=100m,mode=755", "tmpfs", disk])
      try {
        const dataDir = join(disk, "data")
        const early = await refusalOf({ dataDir })
        assert.strictEqual(early.reason._tag, "StoreExhausted")
        assert.match(early.message, /no space left .\d+ MB free; a new database needs 128 MB/)
        rmSync(dataDir, { recursive: true })
        await copyDirectory(template, dataDir)
        execFileSync("sh", ["-c", `head -c 200m /dev/zero >${disk}/filler; true`], { stdio: "ignore" })
        const late = await refusalOf({ dataDir })
        assert.strictEqual(late.reason._tag, "StoreExhausted", late.message)
        assert.match(late.message, /no space left/)
        rmSync(`${disk}/filler`)
        const { address, release } = await ground.acquire(dataDir)
        assert.deepStrictEqual(await query(address, "SELECT 1 AS one"), [{ one: 1 }])
        await release()
      } finally {
        await run(EmbeddedServer.stop(join(disk, "data"), { force: true }))
        await until("the disk is not used", () => processesIn(disk).length === 0)
        execFileSync("umount", [disk])
      }
    },
    canMount() ? undefined : "a small file system can be mounted by root alone"
  )

  test("a path too long for a socket gets a port of the loopback interface, kept over a crash", async (ground) => {
    const dataDir = join(ground.path(), "a-name-of-some-length".repeat(5))
    mkdirSync(join(dataDir, ".."))
    await copyDirectory(template, dataDir)
    const { address } = await ground.acquire(dataDir)
    assert.strictEqual(address.host, "127.0.0.1")
    assert.notStrictEqual(address.port, 5432)
    assert.deepStrictEqual(await query(address, "SELECT inet_server_addr()::text AS at"), [
      { at: "127.0.0.1/32" }
    ])
    const wrong = query({ ...address, password: Redacted.make("wrong") }, "SELECT 1")
    assert.strictEqual(await wrong.then(String, (error) => error.code), "28P01")
    const other = await ground.acquire(dataDir)
    assert.strictEqual(other.address.port, address.port)
    const before = serverPid(dataDir) ?? 0
    process.kill(before, "SIGKILL")
    await until("it runs again", () => serverPid(dataDir) !== before && !isGone(dataDir))
    await until("it is ready", () => readFileSync(pidFile(dataDir), "utf8").includes("ready"))
    assert.deepStrictEqual(await query(address, "SELECT 1 AS one"), [{ one: 1 }])
  })

  test("a file system without sockets gets a port, too", async (ground) => {
    const dataDir = await prepared(ground)
    // Nothing can be bound at this name.
    mkdirSync(join(dataDir, "postgres", "run", ".s.PGSQL.5432"))
    const { address } = await ground.acquire(dataDir)
    assert.strictEqual(address.host, "127.0.0.1")
    assert.deepStrictEqual(await query(address, "SELECT 1 AS one"), [{ one: 1 }])
  })

  test("time limits for sessions do not end the ones that keep and stop the server", async (ground) => {
    const dataDir = await prepared(ground)
    // Long enough for an honest statement on a busy machine.
    const limits = { statement_timeout: "1s", idle_session_timeout: "1s", transaction_timeout: "1s" }
    const { address, release } = await ground.acquire(dataDir, { settings: { ...fast.settings, ...limits } })
    const before = serverPid(dataDir)
    assert.match(await query(address, "SELECT pg_sleep(10)").then(String, String), /timeout/)
    await delay(2500)
    const { pid, watched, references } = await run(EmbeddedServer.status(dataDir))
    assert.deepStrictEqual([pid, watched, references?.length], [before, true, 1])
    await release()
    await until("the server stops by itself", () => isGone(dataDir))
  })

  test("a server that cannot stop in order is stopped at once, and recovers", async (ground) => {
    const dataDir = await prepared(ground)
    const { address, release } = await ground.acquire(dataDir)
    await query(address, "CREATE TABLE kept AS SELECT 7 AS seven")
    const client = new pg.Client(clientConfig(address))
    client.on("error", () => {})
    await client.connect()
    const { rows } = await client.query("SELECT pg_backend_pid() AS pid")
    // Frozen, it does not answer the fast shutdown.
    process.kill(rows[0].pid, "SIGSTOP")
    await run(EmbeddedServer.stop(dataDir, { force: true, timeout: "300 millis" }))
    assert.isTrue(isGone(dataDir))
    await release()
    const again = await ground.acquire(dataDir)
    assert.deepStrictEqual(await query(again.address, "SELECT seven FROM kept"), [{ seven: 7 }])
  })

  test("stop refuses while a process holds the server, unless forced", async (ground) => {
    const dataDir = await prepared(ground)
    const holder = ground.start(dataDir)
    await holder.next()
    const error = await failureOf(EmbeddedServer.stop(dataDir))
    assert.strictEqual(error.reason._tag, "StoreContention")
    assert.match(error.message, new RegExp(`in use by process ${holder.child.pid}`))
    assert.strictEqual((await run(EmbeddedServer.status(dataDir))).state, "running")
    await run(EmbeddedServer.stop(dataDir, { force: true }))
    assert.isTrue(isGone(dataDir))
    await delay(1500)
    assert.isTrue(isGone(dataDir), "a server stopped on purpose is not started again by who held it")
    await run(EmbeddedServer.stop(dataDir))
    assert.match(String((await holder.ask("SELECT 1")).error), /ENOENT|ECONNREFUSED/)
    const again = await ground.acquire(dataDir)
    let users: ReadonlyArray<number> = []
    while (users.length < 2) users = await usersOf(dataDir)
    assert.include(users, holder.child.pid, "it holds the one that somebody else started")
    await again.release()
  })

  test("status of nothing", async (ground) => {
    const dataDir = ground.path()
    assert.deepStrictEqual(await run(EmbeddedServer.status(dataDir)), { state: "absent", dataDir })
    assert.isFalse(existsSync(dataDir), "looking makes nothing")
  })

  test("an interrupted start leaves no server", async (ground) => {
    const dataDir = await prepared(ground)
    const fiber = Effect.runFork(Effect.scoped(EmbeddedServer.acquire({ dataDir })))
    await until("the server process exists", () => serverPid(dataDir) !== undefined, 60_000, 2)
    await Effect.runPromise(Fiber.interrupt(fiber))
    await until("the server stops", () => isGone(dataDir) && processesIn(dataDir).length === 0)
  })

  test(
    "root and an ordinary user share the server of that user's directory",
    async (ground) => {
      const dataDir = ground.path()
      mkdirSync(dataDir)
      chownSync(dataDir, ordinary.uid, ordinary.gid)
      const user = ground.start(dataDir, ordinary)
      const { attached, failed } = await user.next()
      assert.isUndefined(failed)
      assert.strictEqual(statSync(`/proc/${attached}`).uid, ordinary.uid)
      const asRoot = await ground.acquire(dataDir)
      assert.strictEqual(serverPid(dataDir), attached)
      assert.deepStrictEqual(await query(asRoot.address, "SELECT 1 AS one"), [{ one: 1 }])
      await user.end()
      await asRoot.release()
      await run(EmbeddedServer.stop(dataDir))
      // Now root starts it: as that user, and everything stays usable for them.
      const again = await ground.acquire(dataDir)
      assert.strictEqual(statSync(`/proc/${serverPid(dataDir)}`).uid, ordinary.uid)
      const next = ground.start(dataDir, ordinary)
      assert.deepStrictEqual(await next.next(), { attached: serverPid(dataDir) })
      await again.release()
    },
    ordinaryUserCannotRun()
  )

  test(
    "a user without a name is told what PostgreSQL needs; root takes nobody instead",
    async (ground) => {
      const dataDir = ground.path()
      mkdirSync(dataDir)
      chownSync(dataDir, 54_321, 54_321)
      const user = ground.start(dataDir, { uid: 54_321, gid: 54_321 })
      assert.match(String((await user.next()).failed), /effective user ID 54321.*add the id to \/etc\/passwd/)
      await ground.acquire(dataDir)
      assert.strictEqual(statSync(`/proc/${serverPid(dataDir)}`).uid, nobody.uid)
    },
    ordinaryUserCannotRun()
  )

  test(
    "an ordinary user is told whose directory it is",
    async (ground) => {
      const dataDir = await prepared(ground)
      const { release } = await ground.acquire(dataDir)
      const user = ground.start(dataDir, ordinary)
      assert.match(String((await user.next()).failed), /belongs to|no permission/)
      await release()
    },
    ordinaryUserCannotRun()
  )
})

/** A user that every Linux has, and that is neither root nor nobody. */
const ordinary = { uid: 1, gid: 1 }

const usersOf = async (dataDir: string): Promise<ReadonlyArray<number>> =>
  ((await run(EmbeddedServer.status(dataDir))).references ?? []).map(({ pid }) => pid)

function canMount(): boolean {
  if (!isRoot) return false
  const probe = join(root, "mount")
  mkdirSync(probe)
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", probe], { stdio: "ignore" })
    execFileSync("umount", [probe])
    return true
  } catch {
    return false
  } finally {
    rmSync(probe, { recursive: true })
  }
}

/** Why no process can be started as another user. */
function ordinaryUserCannotRun(): string | undefined {
  if (!isRoot) return "only root can start a process as another user"
  try {
    execFileSync(process.execPath, ["-e", ""], {
      ...ordinary,
      cwd: import.meta.dirname,
      stdio: "ignore"
    })
    return undefined
  } catch {
    return "Node or this folder cannot be reached by other users"
  }
}
