import { StoreSuite } from "../src/index.ts"
import { memoryDatabase } from "./MemoryStore.ts"

StoreSuite.run("in memory", { database: memoryDatabase() })
