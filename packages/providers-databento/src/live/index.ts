/** The Databento live client. */
export { type GatewayAddress, type LookupHost, READ_BYTES } from "./GatewaySocket.ts"
export type { LiveHealth } from "./LiveClient.ts"
export { type LiveFeed, liveEvents, openLive } from "./LiveFeed.ts"
export type { LiveOptions } from "./LiveOptions.ts"
export { type GatewayMessage, type LivePhase, LiveProtocol, LiveProtocolError } from "./LiveProtocol.ts"
export {
  gatewayHost,
  type LiveSubscription,
  liveSchemas,
  type SessionRequest,
  type SlowReaderBehavior,
  subscriptionLines
} from "./LiveRequest.ts"
