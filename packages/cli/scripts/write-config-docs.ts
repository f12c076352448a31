// Writes docs/configuration.md from the configuration schema:
//   node scripts/with-toolchain.mjs node --conditions=source packages/cli/scripts/write-config-docs.ts
import { writeFileSync } from "node:fs"
import { referencePage } from "../src/ConfigDocs.ts"

writeFileSync(new URL("../../../docs/configuration.md", import.meta.url), referencePage())
