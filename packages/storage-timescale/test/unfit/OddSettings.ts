/** Settings of a database and a role, each of them another one than the store wants. */

const ofDatabase = {
  timezone: "Asia/Kathmandu",
  datestyle: "German, DMY",
  intervalstyle: "sql_standard",
  extra_float_digits: "-15",
  bytea_output: "escape",
  standard_conforming_strings: "off",
  array_nulls: "off"
}

/** What a role has set wins over its database. */
const ofRole = {
  timezone: "America/New_York",
  quote_all_identifiers: "on",
  default_transaction_isolation: "serializable",
  client_min_messages: "debug1"
}

/** The statements that set them. */
export const oddStatements = (database: string, user: string): ReadonlyArray<string> => [
  ...Object.entries(ofDatabase).map(([name, value]) => `ALTER DATABASE ${database} SET ${name} = '${value}'`),
  ...Object.entries(ofRole).map(
    ([name, value]) => `ALTER ROLE ${user} IN DATABASE ${database} SET ${name} = '${value}'`
  )
]
