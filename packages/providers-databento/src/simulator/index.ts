/** Made-up markets for demos, tests and simulators. */
export * from "./SyntheticMarket.ts"
