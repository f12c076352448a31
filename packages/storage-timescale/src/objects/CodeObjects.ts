/**
 * Views and functions of the schema. They are code, not state: every version of the program, and every change of what the
 * server can do, makes them anew.
 */
import { barStatements } from "./bars.ts"
import { feedCollected } from "./feed.ts"
import { forgetTrades, retireTrades } from "./retention.ts"
import { rowStatement } from "./rows.ts"
import { readOnlyStatements, viewStatements } from "./views.ts"

/** What the objects depend on. */
export interface ObjectFacts {
  /** Schema of TimescaleDB's functions where rows lie in hypertables and jobs can be scheduled; else undefined. */
  readonly jobSchema: string | undefined
  /** The bit of instruments whose bars stand in our own tables, where the others' are continuous aggregates. */
  readonly ownBarsBit: number | undefined
  /** Whether there is a table of the bulk profile. */
  readonly hasBulk: boolean
}

/** Statements that make the objects, in order; running them again changes nothing. */
export const codeObjects = ({ hasBulk, jobSchema, ownBarsBit }: ObjectFacts): ReadonlyArray<string> => [
  rowStatement(hasBulk),
  ...barStatements(ownBarsBit),
  ...viewStatements,
  ...readOnlyStatements,
  feedCollected,
  forgetTrades,
  ...(jobSchema === undefined ? [] : [retireTrades(jobSchema)])
]

/** Names of everything that may have been made of one kind. */
export const namesOf = (
  statements: ReadonlyArray<string>,
  what: "TABLE" | "INDEX" | "VIEW" | "FUNCTION" | "PROCEDURE"
): ReadonlyArray<string> => {
  const pattern = new RegExp(`CREATE (?:OR REPLACE |UNIQUE )?${what}(?: IF NOT EXISTS)? (\\w+)`, "g")
  return [...new Set(statements.flatMap((text) => [...text.matchAll(pattern)].map((match) => match[1]!)))]
}

/** Every object that any facts would make. */
const everything = codeObjects({ jobSchema: "public", ownBarsBit: undefined, hasBulk: false })

/** Names of all views. */
export const viewNames = namesOf(everything, "VIEW")

/** Names of all functions and procedures. */
export const routineNames = [...namesOf(everything, "FUNCTION"), ...namesOf(everything, "PROCEDURE")]

/** Statements that remove the objects, whichever there are. */
export const dropStatements: ReadonlyArray<string> = [
  ...viewNames.map((view) => `DROP VIEW IF EXISTS ${view} CASCADE`),
  ...routineNames.map((name) => `DROP ROUTINE IF EXISTS ${name} CASCADE`)
]
