/** `dm sim`: a provider of one's own, on this machine. */
import { Command, Flag } from "effect/cli"
import { lazily } from "../Action.ts"
import * as Flags from "../Flags.ts"

const port = (name: string, what: string) =>
  Flags.count(name, 0, 65_535, `Port of the ${what} on 127.0.0.1. Default: any free one`)

const databento = Command.make(
  "databento",
  {
    livePort: port("live-port", "live gateway"),
    httpPort: port("http-port", "historical service"),
    data: Flag.String("data").pipe(
      Flag.withMetavar("FILE"),
      Flag.atLeast(0),
      Flag.withDescription("DBN files, patterns or folders to serve; may be given several times")
    ),
    synthetic: Flags.toggle("synthetic", "Serve a synthetic day, also beside files. Default without --data"),
    recent: Flags.toggle(
      "recent",
      "Trading of the synthetic day has just ended, so that live sessions can have all of it replayed"
    ),
    trades: Flags.count("trades", 1, 10_000_000, "Trades of the synthetic day. Default: 100000"),
    symbols: Flags.count(
      "symbols",
      1,
      100_000,
      "Symbols of the synthetic day; activity is spread over them by Zipf's law. Default: 200"
    ),
    seed: Flags.count("seed", 0, Number.MAX_SAFE_INTEGER, "Another number makes another day. Default: 1"),
    rate: Flags.count("rate", 1, 100_000_000, "Live records per second and session. Default: no limit"),
    endless: Flags.toggle(
      "endless",
      "A synthetic market that goes on by the wall clock, --rate trades per second for all sessions together, default 1000. " +
        "It costs little to send, also at millions per second, and a session may replay it from its begin on"
    ),
    since: Flags.time(
      "since",
      "When the endless market began: a simulator that is started again goes on with the same one. Default: now"
    ),
    record: Flags.text(
      "record",
      "FILE",
      "Append what the endless market sends: a line of session, first trade, trades, monotonic ns for every write"
    ),
    liveFrom: Flags.time(
      "live-from",
      "Where in the data live sessions begin; what is before can be replayed. Default: the first record"
    ),
    shared: Flags.toggle(
      "shared-market",
      "One market for all sessions: each begins where the furthest one is, and what is before can be replayed"
    ),
    key: Flags.text("key", "KEY", "The API key to accept. Default: a made-up one, which is printed"),
    tls: Flags.toggle("tls", "https, with a certificate of an authority that is made on the spot")
  },
  (options) =>
    lazily(
      () => import("../actions/Sim.ts"),
      (action, session) => action.simDatabento(session, options)
    )
).pipe(
  Command.withShortDescription("Databento on this machine: live gateway and historical service"),
  Command.withDescription(
    "Serves DBN files or a synthetic day by Databento's own protocols, to any client, on 127.0.0.1 alone. Prints one JSON " +
      "line when it is ready: live_port, http_port, key, and with --tls ca_file, the authority to trust, which is removed " +
      "at the end. Runs until Ctrl-C. What an endless market trades follows from its dataset, symbols, seed, rate and begin, " +
      "which the line has, too: EndlessMarket of @data-manager/providers-databento/simulator makes the same trades again."
  ),
  Command.withExamples([
    { command: "dm sim databento --synthetic", description: "A synthetic day, as fast as clients read" },
    {
      command: "dm sim databento --data ~/data --rate 1000 --live-port 13000",
      description: "Files of yours, a thousand records per second"
    },
    {
      command: "dm sim databento --endless --symbols 20000 --rate 100000",
      description: "20,000 symbols, a hundred thousand trades per second, for ever"
    },
    { command: "dm sim databento --tls", description: "For clients that insist on https" }
  ])
)

export const simCommand = Command.make("sim").pipe(
  Command.withShortDescription("Providers simulated on this machine"),
  Command.withDescription("Providers simulated on this machine: no key, no network, no cost."),
  Command.withExamples([
    { command: "dm sim databento --synthetic", description: "Databento with a synthetic day" }
  ]),
  Command.withSubcommands([databento])
)
