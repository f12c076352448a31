/** `dm` as it is published, for the tests of this package: it starts in a quarter of the time that its sources take. */
import { rmSync } from "node:fs"
import type { TestProject } from "vitest/node"
import { type BuiltDm, buildDm } from "./BuiltDm.ts"

declare module "vitest" {
  export interface ProvidedContext {
    readonly dm: BuiltDm
  }
}

let built: BuiltDm | undefined

/** Before the run. */
export const setup = async (project: TestProject): Promise<void> => {
  built = await buildDm()
  project.provide("dm", built)
}

/** After the run. */
export const teardown = (): void => {
  if (built !== undefined) rmSync(built.folder, { recursive: true, force: true })
}
