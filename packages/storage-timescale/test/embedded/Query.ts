/** One statement on one connection, and waiting. */
import pg from "pg"
import { clientConfig, type ServerAddress } from "../../src/ServerAddress.ts"

export const query = async (
  address: ServerAddress,
  sql: string
): Promise<ReadonlyArray<Record<string, unknown>>> => {
  const client = new pg.Client(clientConfig(address))
  client.on("error", () => {})
  await client.connect()
  try {
    return (await client.query(sql)).rows as ReadonlyArray<Record<string, unknown>>
  } finally {
    await client.end()
  }
}

export const delay = (millis: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, millis))
