/**
 * Who is active among several services on one store: a lease with an epoch. One holds it, the others wait; whoever takes it
 * over raises the epoch, and a store that was opened for an older one refuses every write with `StoreFenced`. So a service that
 * was frozen, or cut off, and wakes up later cannot write, whatever it believes.
 */
import { Context, type Effect, type Scope } from "effect"
import type { FeedSessionKey } from "./FeedEntry.ts"
import type { StoreError } from "./StoreError.ts"

/** Whether a service works, or waits for the one that does to go away. */
export type LeaseRole = "active" | "standby"

/** What is known of a lease. */
export interface LeaseStatus {
  readonly name: string
  readonly role: LeaseRole
  /** The epoch of the holder; undefined before the first look. 0: nobody has ever held it. */
  readonly epoch: bigint | undefined
  /** Who holds it, for people; undefined where nobody does, as far as is known. */
  readonly holder: string | undefined
  /** When the holder was heard of last, ns of this machine's clock; undefined where it never was. */
  readonly heartbeatAt: bigint | undefined
  /** Why the store tells nothing at the moment; undefined while it does. */
  readonly problem: string | undefined
}

/** A lease that is held. */
export interface Leadership {
  readonly epoch: bigint
  /** Fails with `StoreFenced` once somebody else has the lease. A store that is away for a while ends nothing. */
  readonly lost: Effect.Effect<never, StoreError>
}

/** A lease of a store. */
export class LeaderLease extends Context.Service<
  LeaderLease,
  {
    readonly name: string
    readonly status: () => LeaseStatus
    /**
     * Waits until this service is the active one, which it is until the scope ends: it is given back then. Fails where waiting
     * cannot help.
     */
    readonly acquire: Effect.Effect<Leadership, StoreError, Scope.Scope>
  }
>()("@data-manager/core/LeaderLease") {}

/** Names a start of the service under a lease: the second part of the keys of its sessions. */
export const leaseInstance = (
  { name, epoch }: { readonly name: string; readonly epoch: bigint },
  random: string
): string => `${name}.${epoch}.${random}`

/**
 * Tells sessions of those who had the lease before: what they have not ended is over, whichever spool it is of. Names of leases
 * have no dots.
 */
export const isOfLeaseBefore =
  ({ name, epoch }: { readonly name: string; readonly epoch: bigint }) =>
  (session: FeedSessionKey): boolean => {
    const [of, before] = (session.split("/")[1] ?? "").split(".")
    return of === name && /^\d+$/.test(before ?? "") && BigInt(before!) < epoch
  }
