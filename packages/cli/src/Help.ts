/** Help pages: wrapped to the width of the terminal, the command's own options before the global ones. */
import { Option } from "effect"
import type { HelpDoc } from "effect/cli"
import type { Paint } from "./Paint.ts"

/** Breaks a text at blanks so that no line is longer than `width`, unless one word is. */
export const wrap = (text: string, width: number): ReadonlyArray<string> => {
  const lines: Array<string> = []
  let line = ""
  for (const word of text.split(/\s+/)) {
    if (line !== "" && line.length + 1 + word.length > width) {
      lines.push(line)
      line = word
    } else line = line === "" ? word : `${line} ${word}`
  }
  return [...lines, line]
}

interface Row {
  readonly name: string
  readonly text: string
}

/** Names on the left, wrapped texts on the right; a long name has its text on the next line. */
const rows = (entries: ReadonlyArray<Row>, width: number, paint: Paint): ReadonlyArray<string> => {
  const column = Math.min(28, Math.max(...entries.map(({ name }) => name.length)))
  return entries.flatMap(({ name, text }) => {
    const lines = wrap(text, Math.max(30, width - column - 4))
    const rest = lines.map((line) => `${" ".repeat(column + 4)}${line}`)
    if (name.length > column) return [`  ${paint.cyan(name)}`, ...rest]
    return [
      `  ${paint.cyan(name)}${" ".repeat(column - name.length)}  ${lines[0] ?? ""}`.trimEnd(),
      ...rest.slice(1)
    ]
  })
}

const section = (title: string, lines: ReadonlyArray<string>, paint: Paint): ReadonlyArray<string> =>
  lines.length === 0 ? [] : ["", paint.bold(title), ...lines]

/** `-c, --config FILE`; the type of a plain option stands for its value, switches have none. */
const flagName = (flag: HelpDoc.FlagDoc): string => {
  const value = flag.type === "boolean" ? "" : flag.name === "completions" ? " SHELL" : ` ${flag.type}`
  return `${[...flag.aliases, `--${flag.name}`].join(", ")}${value}`
}

/** A list of choices is left out where the text before it or the placeholder names them all. */
const withoutRepetition = (text: string, name: string): string => {
  const match = /^(.*) \(choices: ([^)]*)\)$/s.exec(text)
  if (match === null) return text
  const told = `${match[1]} ${name}`
  return match[2]!.split(", ").every((choice) => told.includes(choice)) ? match[1]! : text
}

const flagRow = (flag: HelpDoc.FlagDoc): Row => {
  const name = flagName(flag)
  return {
    name,
    text: withoutRepetition(
      Option.getOrElse(flag.description, () => ""),
      name
    )
  }
}

const argumentRow = (argument: HelpDoc.ArgDoc): Row => ({
  name: `${argument.name}${argument.variadic ? "..." : ""}`,
  text: Option.getOrElse(argument.description, () => "")
})

const exampleLines = (examples: ReadonlyArray<HelpDoc.ExampleDoc>, paint: Paint): ReadonlyArray<string> =>
  examples.flatMap(({ command, description }) => [
    ...(description === undefined ? [] : [paint.dim(`  # ${description}`)]),
    `  ${command}`
  ])

/** What the exit codes mean, for the help of the root command. */
export const exitCodes: ReadonlyArray<Row> = [
  { name: "0", text: "ok" },
  { name: "1", text: "failed, or done in part" },
  { name: "2", text: "the command line or the configuration is wrong; nothing was done" },
  { name: "3", text: "unhealthy (dm status, dm doctor)" },
  { name: "130", text: "interrupted" }
]

/** The help page of a command. */
export const helpPage = (doc: HelpDoc.HelpDoc, columns: number, paint: Paint): string => {
  const width = Math.max(60, Math.min(columns, 110))
  const isRoot = doc.commandPath !== undefined && doc.commandPath.length <= 1
  const commands = (doc.subcommands ?? []).flatMap(({ group, commands: listed }) =>
    section(
      group ?? "Commands",
      rows(
        listed.map(({ name, shortDescription, description }) => ({
          name,
          text: shortDescription ?? description
        })),
        width,
        paint
      ),
      paint
    )
  )
  const table = (title: string, entries: ReadonlyArray<Row>): ReadonlyArray<string> =>
    entries.length === 0 ? [] : section(title, rows(entries, width, paint), paint)
  const globals = doc.globalFlags ?? []
  return [
    ...wrap(doc.description, width),
    ...section("Usage", [`  ${doc.usage}`], paint),
    ...commands,
    ...table("Arguments", (doc.args ?? []).map(argumentRow)),
    ...table("Options", doc.flags.map(flagRow)),
    ...(isRoot
      ? [...table("Global options", globals.map(flagRow)), ...table("Exit codes", exitCodes)]
      : ["", ...wrap(`Global options: ${globals.map(flagName).join(" · ")}; see dm --help.`, width)]),
    ...section("EXAMPLES", exampleLines(doc.examples ?? [], paint), paint)
  ].join("\n")
}
