/**
 * Which version a stream without a header is in, learnt from the sizes of its records: definition 360, 400 or 520 bytes
 * tell 1, 2 or 3; mapping, error and system of 80 bytes tell 1; a statistic of 64 bytes tells 1 or 2 (laid out alike),
 * of 80 bytes 3. All are 8 bytes longer with ts_out. Everything else looks the same in all versions.
 */
import { type DbnVersion, TS_OUT_BYTES } from "./Layout.ts"
import { layoutOf } from "./Rtype.ts"

const versions: ReadonlyArray<DbnVersion> = [1, 2, 3]

/** What is known so far. Immutable. */
export class FragmentVersion {
  readonly #candidates: ReadonlyArray<DbnVersion>
  readonly #tsOut: boolean | undefined

  /** With what the caller knows; undefined is to be inferred. */
  constructor(version: DbnVersion | ReadonlyArray<DbnVersion> | undefined, tsOut: boolean | undefined) {
    this.#candidates = version === undefined ? versions : typeof version === "number" ? [version] : version
    this.#tsOut = tsOut
  }

  /** Version to lay records out by: the highest that is still possible. */
  get version(): DbnVersion {
    return this.#candidates[this.#candidates.length - 1] as DbnVersion
  }

  /** Whether records carry ts_out; no, as long as nothing shows that they do. */
  get tsOut(): boolean {
    return this.#tsOut ?? false
  }

  /** Further records may still tell something. */
  get undecided(): boolean {
    return this.#candidates.length > 1 || this.#tsOut === undefined
  }

  /** Whether a record of this type may have this length in a version that is still possible. */
  allows(rtype: number, length: number): boolean {
    const suffix = this.#tsOut === true ? TS_OUT_BYTES : 0
    return this.#candidates.some((version) => length >= (layoutOf(rtype, version)?.size ?? 16) + suffix)
  }

  /** What is known after a record of this type and length. */
  after(rtype: number, length: number): FragmentVersion {
    if (layoutOf(rtype, 3) === undefined) return this
    for (const tsOut of this.#tsOut === undefined ? [false, true] : [this.#tsOut]) {
      const size = length - (tsOut ? TS_OUT_BYTES : 0)
      const fitting = this.#candidates.filter((version) => layoutOf(rtype, version)?.size === size)
      if (fitting.length > 0) return new FragmentVersion(fitting, tsOut)
    }
    // A record that has grown beyond its struct tells nothing.
    const possible = this.#candidates.filter((version) => length >= (layoutOf(rtype, version)?.size ?? 16))
    return new FragmentVersion(possible.length > 0 ? possible : this.#candidates, this.#tsOut)
  }
}
