/**
 * Keeps a service that has lost its lease from writing. Every writing transaction of a fenced store begins with a look at the
 * lease, whose row it holds until it ends; whoever takes the lease over needs the row alone. So either the transaction ends
 * before the epoch is raised, or it finds the new one and is refused.
 *
 * Sessions of a fenced store hold an advisory lock that names the epoch. By it they are found and ended when the lease is taken
 * over: a process that is frozen in the middle of a transaction would hold its locks for hours.
 */
import { StoreError, StoreFenced, StoreIncompatible } from "@data-manager/core"
import { Effect } from "effect"

/** The lease under which a store is opened. */
export interface Fence {
  readonly name: string
  readonly epoch: bigint
}

const literal = (text: string): string => `'${text.replaceAll("'", "''")}'`

/** SQL: first key of the advisory locks of a lease; leases of other schemas have others. */
export const lockKey = (name: string): string => `hashtext(current_schema() || '/lease/' || ${literal(name)})`

/** SQL: marks a session as one of the epoch. Nobody ever waits for this lock, and it waits for nobody. */
export const tagStatement = ({ epoch, name }: Fence): string =>
  `SELECT pg_advisory_lock_shared(${lockKey(name)}, ${epoch})`

/**
 * SQL: the epoch, and the row held. KEY SHARE is enough: taking over locks the row FOR UPDATE, which it excludes, while a
 * heartbeat goes on beside it.
 */
export const lookStatement = ({ name }: Fence): string =>
  `SELECT epoch, holder FROM leases WHERE name = ${literal(name)} FOR KEY SHARE`

/** Refuses where the look has found another epoch. */
export const check = (
  operation: string,
  fence: Fence,
  found: ReadonlyArray<{ readonly [column: string]: unknown }>
): Effect.Effect<void, StoreError> => {
  const row = found[0]
  if (row === undefined) return Effect.fail(missing(operation, fence.name))
  return row.epoch === fence.epoch
    ? Effect.void
    : Effect.fail(fenced(operation, fence, row.epoch as bigint, row.holder as string))
}

const missing = (operation: string, name: string): StoreError =>
  new StoreError({
    operation,
    reason: new StoreIncompatible({
      detail: `the lease ${name} was removed from the table leases`,
      hint: "restart the service: it makes it anew"
    })
  })

/** The error of a service that has lost its lease. */
export const fenced = (
  operation: string,
  { epoch, name }: Fence,
  current: bigint,
  holder: string
): StoreError =>
  new StoreError({
    operation,
    reason: new StoreFenced({
      lease: name,
      epoch,
      current,
      detail:
        `the lease ${name} belongs to ${holder} by now (epoch ${current}, this one had ${epoch}): ` +
        "nothing was written"
    })
  })
