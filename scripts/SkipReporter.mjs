// A vitest reporter that says at the end which tests did not run, and why: a test that is skipped in silence is a test
// that nobody misses. The reason is what the test gave to `context.skip(reason)`; without one its name has to do.

const reasonOf = (test) => {
  const result = test.result()
  if (result.state !== "skipped") return undefined
  return result.note ?? (test.options.mode === "todo" ? "not written yet" : "no reason given")
}

export default class SkipReporter {
  onTestRunEnd(modules) {
    const byReason = new Map()
    for (const module of modules) {
      for (const test of module.children.allTests("skipped")) {
        const reason = reasonOf(test)
        if (reason === undefined) continue
        if (!byReason.has(reason)) byReason.set(reason, [])
        byReason.get(reason).push(`${module.project.name}: ${test.fullName}`)
      }
    }
    for (const [reason, names] of byReason) {
      process.stdout.write(
        `skipped ${names.length}, ${reason}\n${names.map((name) => `    ${name}\n`).join("")}`
      )
    }
  }
}
