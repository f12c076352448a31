// usage: node native/test/mutants.mjs [SCALE [PART-OF-NAME]]
// Takes one step of the protocol away at a time and runs the tests of ring_test.c against the result: each mutant must
// die, or the step (or the test) is not needed. A test ends with the first broken promise; a mutant that survives is tried
// again for 20 s, because on a busy machine the two processes may hardly meet. The unchanged sources must survive the same
// runs. SCALE multiplies the length of the runs, default 1. Prints one JSON line per mutant; exit code 1 when one survives.
import { spawnSync } from "node:child_process"
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"

const native = join(dirname(fileURLToPath(import.meta.url)), "..")
const scale = Number(process.argv[2] ?? 1)
const only = process.argv[3] ?? ""
const times = (n) => String(Math.ceil(n * scale))

const stress = ["stress", "@", times(4), "64", "16"]
const follow = ["follow", "@", times(3_000_000), "1024", "0"]
const wake = ["wake", "@", times(100_000)]
const crash = ["crash", "@", times(100)]
const stops = ["stops", "@", times(1_000)]

const header = "include/dm_ring.h"
const source = "src/ring.c"
const mutants = [
  {
    name: "the slot is not invalidated before it is written",
    file: source,
    from: "  dm_store(&slot[0], DM_BUSY);\n  __atomic_thread_fence(__ATOMIC_RELEASE);\n  return slot;",
    to: "  return slot;",
    run: stress
  },
  {
    name: "the stamp is not read again after the copy",
    file: header,
    from: "  return dm_load(&slot[0]) == seq + 1;",
    to: "  return 1;",
    run: stress
  },
  {
    name: "no full fence between write_seq and the look at the sleepers",
    file: source,
    from: "  __atomic_thread_fence(__ATOMIC_SEQ_CST);\n  dm_wake_armed(p);\n}\n\n/* Waits",
    to: "  dm_wake_armed(p);\n}\n\n/* Waits",
    run: wake
  },
  {
    name: "the reader does not look again after arming itself",
    file: "test/ring_test.c",
    from: "    if (dm_ring_write_seq(&c.ring) != c.cursor.next) {\n      dm_reader_disarm(&c.reader);\n      continue;\n    }",
    to: "",
    run: wake
  },
  {
    name: "the gap begins one record too late",
    file: header,
    from: "      c->gap_from = seq;",
    to: "      c->gap_from = seq + 1;",
    run: stress
  },
  {
    name: "the gap ends one record too late",
    file: header,
    from: "      c->next = c->gap_to;",
    to: "      c->next = c->gap_to + 1;",
    run: stress
  },
  {
    name: "write_seq runs ahead of the slots",
    file: source,
    from: "    for (; i < end; i++) {\n      uint32_t length",
    to: "    dm_store_release(&p->header->write_seq, seq + (end - i));\n    for (; i < end; i++) {\n      uint32_t length",
    run: stops
  },
  {
    name: "snapshots contain records that the delta will bring again",
    file: header,
    from: "    if (seq < before) {\n      memcpy",
    to: "    if (seq <= UINT64_MAX - 1) {\n      memcpy",
    run: ["stress", "@", times(4), "65536", "64"]
  },
  {
    name: "last_seq is published before its record is whole",
    file: source,
    from: "      uint64_t *slot = dm_slot_begin(p, seq);\n      dm_store(&slot[1], (uint64_t)c->price[i]);".replace(
      "uint64_t *slot",
      "dm_word *slot"
    ),
    to: "      dm_word *slot = dm_slot_begin(p, seq);\n      dm_store_release(&dict[instrument].last_seq, seq + 1);\n      dm_store(&slot[1], (uint64_t)c->price[i]);",
    run: ["stress", "@", times(4), "65536", "64"]
  },
  {
    name: "a takeover does not repair last_seq",
    file: source,
    from: "    dm_repair_last(p);\n",
    to: "",
    run: crash
  },
  {
    name: "a takeover does not begin a new generation",
    file: source,
    from: "dm_begin_epoch(p, p->header->epoch + 1);",
    to: "dm_begin_epoch(p, p->header->epoch);",
    run: crash
  },
  {
    name: "the walk back does not check whose record it found",
    file: header,
    from: "if (tail->instrument != instrument || (tail->kind & 15) != DM_KIND_ROW) break;",
    to: "",
    also: { file: source, from: "    dm_repair_last(p);\n", to: "" },
    run: crash
  }
]

const shm = mkdtempSync("/dev/shm/dm-mutant-")
const run = (name, folder, argv) => {
  const program = join(folder, "ring_test")
  const options = [
    "-std=c11",
    // Compiled in half of the time of -O2.
    "-O1",
    "-w",
    join(folder, "test/ring_test.c"),
    join(folder, "src/ring.c"),
    "-o",
    program
  ]
  const built = existsSync(program) ? { status: 0 } : spawnSync("cc", options, { encoding: "utf8" })
  if (built.status !== 0) throw new Error(`${name}: ${built.stderr}`)
  const dir = join(shm, "run")
  const started = performance.now()
  // A mutant may hang where the original would not: that is a death, too.
  const result = spawnSync(
    "timeout",
    [
      "-s",
      "KILL",
      String(60 * Math.max(1, scale)),
      program,
      ...argv.map((word) => (word === "@" ? dir : word))
    ],
    {
      encoding: "utf8"
    }
  )
  rmSync(dir, { recursive: true, force: true })
  const seconds = ((performance.now() - started) / 1000).toFixed(1)
  return {
    name,
    died: result.status !== 0,
    seconds: Number(seconds),
    evidence: result.stdout.trim() || result.stderr.trim()
  }
}

const replaced = (folder, { file, from, to }) => {
  const path = join(folder, file)
  const text = readFileSync(path, "utf8")
  if (text.split(from).length !== 2) throw new Error(`${file} does not contain once: ${from}`)
  writeFileSync(
    path,
    text.replace(from, () => to)
  )
}

const copy = () => {
  const folder = mkdtempSync(join(shm, "source-"))
  for (const part of ["include", "src", "test"]) {
    mkdirSync(join(folder, part))
    cpSync(join(native, part), join(folder, part), { recursive: true })
  }
  return folder
}

let survived = 0
try {
  const original = copy()
  for (const argv of only === "" ? [stress, follow, wake, crash, stops] : []) {
    const result = run(`unchanged: ${argv[0]}`, original, argv)
    if (result.died) survived++
    console.log(JSON.stringify(result))
  }
  for (const mutant of mutants.filter(({ name }) => name.includes(only))) {
    const folder = copy()
    replaced(folder, mutant)
    if (mutant.also !== undefined) replaced(folder, mutant.also)
    let result = run(mutant.name, folder, mutant.run)
    const until = performance.now() + 20_000
    while (!result.died && performance.now() < until) result = run(mutant.name, folder, mutant.run)
    if (!result.died) survived++
    console.log(JSON.stringify(result))
    rmSync(folder, { recursive: true, force: true })
  }
} finally {
  rmSync(shm, { recursive: true, force: true })
}
process.exit(survived === 0 ? 0 : 1)
