/** Databento is a provider as the suite demands, against its simulator. */
import { FastClock, ProviderSuite } from "@data-manager/testing"
import { conformanceService } from "./ConformanceService.ts"
import { DAY } from "./simulator/TestCatalogue.ts"

ProviderSuite.run("Databento", {
  service: conformanceService,
  // The evening of the day: replay reaches back to its beginning.
  clock: () => FastClock.make(DAY + 23n * 3_600_000_000_000n)
})
