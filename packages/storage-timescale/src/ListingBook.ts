/**
 * The rules by which claims become instruments and listings, on the part of the tables that the claims touch. Pure: what
 * changed is marked, and `InstrumentTable` writes it. Times are whole microseconds since the epoch.
 *
 * - Of one dataset, a raw symbol that was listed at most 366 days before or after is the same instrument, unless both
 *   expirations are known and differ (a number that goes on without a break shows a corrected expiration). Otherwise it is
 *   another one.
 * - While a text is listed it means one instrument: what a claim says about time that is taken is left out.
 * - A claim without a raw symbol means the instrument that its native number was listed for at that time, else a nameless
 *   one. The first claim that names the number at that time gives the nameless instrument the name, even where another
 *   instrument has it for another time: its rows are then found under the name. Where the name is taken for that very
 *   time, the nameless one stays reachable under its number.
 */

/** An instrument, known or being made. */
export interface BookInstrument<A = unknown> {
  readonly dataset: number
  rawSymbol: string | undefined
  /** Nanoseconds, as the last definition said; compared, never ordered. */
  expiration: bigint | undefined
  /** Whatever the caller keeps beside it. */
  readonly value: A
  /** Not in the table yet. */
  readonly isNew: boolean
  /** In the table, with another name. */
  isRenamed: boolean
}

/** A listing, known or being made. */
export interface BookListing<A = unknown> {
  /** Its row, where it has one. */
  readonly id: bigint | undefined
  readonly instrument: BookInstrument<A>
  rawSymbol: string | undefined
  nativeId: number | undefined
  from: bigint
  to: bigint
  isChanged: boolean
  isRemoved: boolean
}

/** A claim, with its times in microseconds. */
export interface BookClaim {
  readonly dataset: number
  readonly rawSymbol: string | undefined
  readonly nativeId: number | undefined
  readonly from: bigint
  readonly to: bigint
  readonly expiration: bigint | undefined
}

const MaxGap = 366n * 86_400_000_000n

interface Span {
  readonly from: bigint
  readonly to: bigint
}

const overlap = (a: Span, b: Span): bigint => {
  const from = a.from > b.from ? a.from : b.from
  const to = a.to < b.to ? a.to : b.to
  return to > from ? to - from : 0n
}

/** Time between two spans; 0 where they touch or overlap. */
const gap = (a: Span, b: Span): bigint => {
  const between = a.from > b.from ? a.from - b.to : b.from - a.to
  return between > 0n ? between : 0n
}

const subtract = (span: Span, taken: ReadonlyArray<Span>): ReadonlyArray<Span> => {
  const out: Array<Span> = []
  let { from } = span
  for (const each of [...taken].sort((a, b) => (a.from < b.from ? -1 : 1))) {
    if (each.to <= from || each.from >= span.to) continue
    if (each.from > from) out.push({ from, to: each.from })
    from = each.to
  }
  if (from < span.to) out.push({ from, to: span.to })
  return out
}

/** The listings that some claims can meet, and what became of them. */
export class ListingBook<A> {
  readonly #makeValue: (claim: BookClaim) => A
  readonly instruments = new Set<BookInstrument<A>>()
  readonly listings = new Set<BookListing<A>>()
  readonly #byText = new Map<string, Set<BookListing<A>>>()
  readonly #byNative = new Map<string, Set<BookListing<A>>>()
  readonly #byInstrument = new Map<BookInstrument<A>, Set<BookListing<A>>>()

  /** `makeValue` makes the caller's part of a new instrument. */
  constructor(makeValue: (claim: BookClaim) => A) {
    this.#makeValue = makeValue
  }

  /** Adds a listing that is in the table. */
  load(listing: Omit<BookListing<A>, "isChanged" | "isRemoved">): void {
    this.instruments.add(listing.instrument)
    this.#index({ ...listing, isChanged: false, isRemoved: false })
  }

  /** The instrument of a claim; makes it, its listing or its name where they are missing. */
  claim(claim: BookClaim): BookInstrument<A> {
    const instrument =
      claim.rawSymbol === undefined ? this.#ofNumber(claim) : this.#ofText(claim, claim.rawSymbol)
    if (claim.expiration !== undefined) instrument.expiration = claim.expiration
    this.#list(instrument, claim)
    return instrument
  }

  #ofNumber(claim: BookClaim): BookInstrument<A> {
    const listed = this.#ofNative(claim.dataset, claim.nativeId)
    const same = most(listed, (listing) => overlap(listing, claim))
    if (same !== undefined) return same.instrument
    // Numbers are given to others later, so next to a named time nothing follows; an unnamed time goes on.
    const before = listed.find((listing) => listing.rawSymbol === undefined && gap(listing, claim) === 0n)
    return before?.instrument ?? this.#make(claim)
  }

  #ofText(claim: BookClaim, text: string): BookInstrument<A> {
    const listed = this.#ofRaw(claim.dataset, text)
    const nameless = most(
      this.#ofNative(claim.dataset, claim.nativeId).filter((listing) => listing.rawSymbol === undefined),
      (listing) => overlap(listing, claim)
    )
    if (nameless !== undefined && this.#name(nameless.instrument, text, listed)) return nameless.instrument
    const near = listed.filter((listing) => gap(listing, claim) <= MaxGap && !contradicts(claim, listing))
    const nearest = near.reduce<BookListing<A> | undefined>(
      (best, listing) => (best === undefined || isNearer(claim, listing, best) ? listing : best),
      undefined
    )
    if (nearest !== undefined) return nearest.instrument
    // All of the time is taken: then the text means whom it was given to.
    if (subtract(claim, listed).length === 0)
      return most(listed, (listing) => overlap(listing, claim))!.instrument
    return this.#make(claim)
  }

  /** Gives a nameless instrument a name for all of its time, unless the name is taken for some of it. */
  #name(instrument: BookInstrument<A>, text: string, taken: ReadonlyArray<BookListing<A>>): boolean {
    const own = [...(this.#byInstrument.get(instrument) ?? [])]
    if (own.some((listing) => taken.some((other) => overlap(listing, other) > 0n))) return false
    instrument.rawSymbol = text
    instrument.isRenamed = !instrument.isNew
    for (const listing of own) {
      this.#unindex(listing)
      listing.rawSymbol = text
      listing.isChanged = true
      this.#index(listing)
    }
    return true
  }

  /** Lists an instrument for the time of a claim, as far as the text is free. */
  #list(instrument: BookInstrument<A>, claim: BookClaim): void {
    const { rawSymbol } = instrument
    const { nativeId } = claim
    const ofText = this.#listingsOfText(instrument.dataset, rawSymbol, nativeId)
    if (nativeId !== undefined) {
      for (const listing of ofText)
        if (
          listing.instrument === instrument &&
          listing.nativeId === undefined &&
          overlap(listing, claim) > 0n
        )
          this.#number(listing, claim, nativeId)
    }
    const taken = this.#listingsOfText(instrument.dataset, rawSymbol, nativeId)
    for (const free of subtract(claim, taken)) this.#add(instrument, rawSymbol, nativeId, free)
    this.#join(instrument, rawSymbol, nativeId)
  }

  #listingsOfText(
    dataset: number,
    rawSymbol: string | undefined,
    nativeId: number | undefined
  ): ReadonlyArray<BookListing<A>> {
    return rawSymbol === undefined
      ? this.#ofNative(dataset, nativeId).filter((listing) => listing.rawSymbol === undefined)
      : this.#ofRaw(dataset, rawSymbol)
  }

  /** A listing without a number learns it for the time of the claim. */
  #number(listing: BookListing<A>, claim: Span, nativeId: number): void {
    const { instrument, rawSymbol } = listing
    for (const rest of subtract(listing, [claim])) this.#add(instrument, rawSymbol, undefined, rest)
    this.#unindex(listing)
    listing.nativeId = nativeId
    if (listing.from < claim.from) listing.from = claim.from
    if (listing.to > claim.to) listing.to = claim.to
    listing.isChanged = true
    this.#index(listing)
  }

  /** Joins listings of one instrument, text and number that touch. */
  #join(instrument: BookInstrument<A>, rawSymbol: string | undefined, nativeId: number | undefined): void {
    const own = this.#listingsOfText(instrument.dataset, rawSymbol, nativeId)
      .filter((listing) => listing.instrument === instrument && listing.nativeId === nativeId)
      .sort((a, b) => (a.from < b.from ? -1 : 1))
    let last = own[0]
    for (const next of own.slice(1)) {
      if (last !== undefined && next.from <= last.to) {
        // The one that has a row stays.
        const [keep, drop]: [BookListing<A>, BookListing<A>] =
          last.id === undefined ? [next, last] : [last, next]
        const to = last.to > next.to ? last.to : next.to
        const { from } = last
        keep.from = from
        keep.to = to
        keep.isChanged = true
        this.#unindex(drop)
        drop.isRemoved = true
        if (drop.id === undefined) this.listings.delete(drop)
        last = keep
      } else last = next
    }
  }

  #make(claim: BookClaim): BookInstrument<A> {
    const instrument: BookInstrument<A> = {
      dataset: claim.dataset,
      rawSymbol: claim.rawSymbol,
      expiration: claim.expiration,
      value: this.#makeValue(claim),
      isNew: true,
      isRenamed: false
    }
    this.instruments.add(instrument)
    return instrument
  }

  #add(
    instrument: BookInstrument<A>,
    rawSymbol: string | undefined,
    nativeId: number | undefined,
    span: Span
  ): void {
    const { from, to } = span
    this.#index({
      id: undefined,
      instrument,
      rawSymbol,
      nativeId,
      from,
      to,
      isChanged: true,
      isRemoved: false
    })
  }

  #ofRaw(dataset: number, rawSymbol: string): ReadonlyArray<BookListing<A>> {
    return [...(this.#byText.get(`${dataset} ${rawSymbol}`) ?? [])]
  }

  #ofNative(dataset: number, nativeId: number | undefined): ReadonlyArray<BookListing<A>> {
    return nativeId === undefined ? [] : [...(this.#byNative.get(`${dataset} ${nativeId}`) ?? [])]
  }

  #index(listing: BookListing<A>): void {
    const { dataset } = listing.instrument
    this.listings.add(listing)
    put(this.#byInstrument, listing.instrument, listing)
    if (listing.rawSymbol !== undefined) put(this.#byText, `${dataset} ${listing.rawSymbol}`, listing)
    if (listing.nativeId !== undefined) put(this.#byNative, `${dataset} ${listing.nativeId}`, listing)
  }

  #unindex(listing: BookListing<A>): void {
    const { dataset } = listing.instrument
    this.#byInstrument.get(listing.instrument)?.delete(listing)
    this.#byText.get(`${dataset} ${listing.rawSymbol}`)?.delete(listing)
    this.#byNative.get(`${dataset} ${listing.nativeId}`)?.delete(listing)
  }
}

const put = <K, V>(map: Map<K, Set<V>>, key: K, value: V): void => {
  const found = map.get(key)
  if (found === undefined) map.set(key, new Set([value]))
  else found.add(value)
}

/** The one with the largest score above 0. */
const most = <V>(values: ReadonlyArray<V>, score: (value: V) => bigint): V | undefined => {
  let best: V | undefined
  let bestScore = 0n
  for (const value of values) {
    const each = score(value)
    if (each > bestScore) {
      best = value
      bestScore = each
    }
  }
  return best
}

const isNearer = (claim: Span, a: Span, b: Span): boolean => {
  const [gapA, gapB] = [gap(a, claim), gap(b, claim)]
  if (gapA !== gapB) return gapA < gapB
  const [overlapA, overlapB] = [overlap(a, claim), overlap(b, claim)]
  return overlapA !== overlapB ? overlapA > overlapB : a.from > b.from
}

const contradicts = (claim: BookClaim, listing: BookListing): boolean => {
  const { expiration } = listing.instrument
  if (claim.expiration === undefined || expiration === undefined || claim.expiration === expiration)
    return false
  const goesOn =
    claim.nativeId !== undefined && claim.nativeId === listing.nativeId && gap(listing, claim) === 0n
  return !goesOn
}
