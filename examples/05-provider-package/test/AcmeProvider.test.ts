/** The provider against a service that speaks its protocol: every card of the conformance suite. */
import { FastClock, ProviderSuite } from "@data-manager/testing"
import * as AcmeService from "./AcmeService.ts"
import { start } from "./AcmeTape.ts"

ProviderSuite.run("acme", {
  service: AcmeService.make(),
  // Heartbeats and pauses between sessions are seconds; the suite does not wait for them.
  clock: () => FastClock.make(start, 20)
})
