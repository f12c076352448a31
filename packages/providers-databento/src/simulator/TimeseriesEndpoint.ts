/** `timeseries.get_range`: records of a range as one stream. */
import type { DbnVersion } from "../dbn/Layout.ts"
import { dataRequest, encoded, selectionOf, statusOf, textForm } from "./DataRequest.ts"
import { stream } from "./HttpReply.ts"
import type { Endpoint } from "./MetadataEndpoint.ts"

/** By the name behind `timeseries.`; records in the layout of a DBN version. */
export const timeseriesEndpoints = (version: DbnVersion): { readonly [name: string]: Endpoint } => ({
  get_range: (form, catalogue) => {
    const request = dataRequest(form, catalogue)
    const selection = selectionOf(request, version)
    return stream(encoded(request, selection, textForm(form)), "application/octet-stream", statusOf(request))
  }
})
