/** The error of configuration files and settings: where it stands, what was found, what is allowed. */
import { Data } from "effect"

/** One thing that is wrong with a configuration. */
export interface ConfigIssue {
  /** Dotted path of the key, `realtime.shm.ring_buffer_capacity`; empty for the file as a whole. */
  readonly key: string
  /** 1-based line in the file, where it can be told. */
  readonly line?: number | undefined
  /** What is wrong, and what is allowed. Never contains a secret. */
  readonly problem: string
}

/** A configuration that cannot be used. All issues are listed, not the first alone. */
export class ConfigError extends Data.TaggedError("ConfigError")<{
  /** File, environment variable or option that was read. */
  readonly source: string
  readonly issues: ReadonlyArray<ConfigIssue>
}> {
  /** One line per issue. */
  override get message(): string {
    return this.issues
      .map((issue) => {
        const place = issue.line === undefined ? this.source : `${this.source}:${issue.line}`
        return issue.key === "" ? `${place}: ${issue.problem}` : `${place}: ${issue.key}: ${issue.problem}`
      })
      .join("\n")
  }
}
