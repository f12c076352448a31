/** `dm provider new`: a provider of one's own. */
import { Argument, Command } from "effect/cli"
import { lazily } from "../Action.ts"
import * as Flags from "../Flags.ts"

const create = Command.make(
  "new",
  {
    name: Argument.String("NAME").pipe(
      Argument.withDescription(
        "The provider's id, such as acme: what follows -p, and the table [providers.acme]"
      )
    ),
    folder: Flags.text("folder", "DIR", "Where to write it. Default: NAME-provider in the working directory")
  },
  (options) =>
    lazily(
      () => import("../actions/Provider.ts"),
      (action, session) => action.create(session, options)
    )
).pipe(
  Command.withShortDescription("Write a package that is to become a provider"),
  Command.withDescription(
    "Writes a package in which everything is there but the venue: what dm loads, the contract method by method, a service to " +
      "test against, and the conformance suite, whose cards are red until they are met. Once [providers.NAME] package = " +
      '"NAME-provider" names it, dm uses it as any other.'
  ),
  Command.withExamples([
    { command: "dm provider new acme", description: "In acme-provider" },
    { command: "dm provider new acme --folder packages/acme", description: "Elsewhere" }
  ])
)

export const providerCommand = Command.make("provider").pipe(
  Command.withShortDescription("Providers of your own: new"),
  Command.withDescription("Providers of your own, in packages of their own."),
  Command.withExamples([{ command: "dm provider new acme", description: "Begin one" }]),
  Command.withSubcommands([create])
)
