// A vitest reporter that says at the end which tests did not run, and why: a test that is skipped in silence is a test
// that nobody misses. The reason is what the test gave to `context.skip(reason)`; without one its name has to do.

const reasonOf = (test) =>
  test.result().note ?? (test.options.mode === "todo" ? "not written yet" : "no reason given")

export default class SkipReporter {
  onInit(vitest) {
    this.vitest = vitest
  }

  onTestRunEnd(modules) {
    if (this.vitest.getGlobalTestNamePattern() !== undefined) return // the user has chosen the tests
    const byReason = new Map()
    for (const module of modules) {
      for (const test of module.children.allTests("skipped")) {
        const reason = reasonOf(test)
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
