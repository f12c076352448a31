// Writes docs/configuration.md from the configuration schema, and docs/metrics.md from the definitions of metrics:
//   node scripts/with-toolchain.mjs node --conditions=source packages/cli/scripts/write-config-docs.ts
import { writeFileSync } from "node:fs"
import { ControlMetrics } from "@data-manager/core"
import { referencePage } from "../src/ConfigDocs.ts"

writeFileSync(new URL("../../../docs/configuration.md", import.meta.url), referencePage())
writeFileSync(new URL("../../../docs/metrics.md", import.meta.url), ControlMetrics.referencePage())
