/** The Databento live client. */
export { apiKeyProblem, challengeReply } from "./ApiKey.ts"
export { type GatewayAddress, READ_BYTES } from "./GatewaySocket.ts"
export { type LiveFeed, type LiveHealth, type LiveOptions, liveEvents, openLive } from "./LiveFeed.ts"
export { type GatewayMessage, type LivePhase, LiveProtocol, LiveProtocolError } from "./LiveProtocol.ts"
export {
  gatewayHost,
  type LiveSubscription,
  liveSchemas,
  type SessionRequest,
  type SlowReaderBehavior,
  subscriptionLines
} from "./LiveRequest.ts"
