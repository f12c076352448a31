/** Values that mean "not there" on the wire, and the fixed scale of prices. */

/** Every price on the wire is an integer count of 1e-9. */
export const FIXED_PRICE_SCALE = 1_000_000_000
/** Decimal exponent of every price on the wire. */
export const PRICE_EXPONENT = -9
/** Absent price: 2^63 - 1. */
export const UNDEF_PRICE = 9223372036854775807n
/** Absent timestamp: 2^64 - 1. */
export const UNDEF_TIMESTAMP = 18446744073709551615n
/** Absent order size or quantity: 2^32 - 1. */
export const UNDEF_ORDER_SIZE = 4294967295
/** Absent statistic quantity from version 3 on: 2^63 - 1. */
export const UNDEF_STAT_QUANTITY = 9223372036854775807n
/** Absent statistic quantity in versions 1 and 2: 2^31 - 1. */
export const UNDEF_STAT_QUANTITY_V1 = 2147483647
/** Error or system code that is not known: an upgraded version 1 record whose text told nothing. */
export const UNSET_CODE = 255
/** Absent schema in metadata: live streams and mixed files. */
export const NULL_SCHEMA = 0xffff
/** Absent symbology type in metadata. */
export const NULL_STYPE = 0xff
