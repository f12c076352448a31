// Finds what a TypeScript or JavaScript module imports, without a compiler: TypeScript 7 ships no compiler API, and
// stripping the types would also strip `import type`, which layering rules must see.
//
// A scanner cuts the text into tokens, so that nothing inside a comment, string, template or regular expression is
// taken for an import. It does not check syntax: on text that no compiler would accept it only must not hang or throw.

const identifier = /[\p{ID_Start}$_#@][\p{ID_Continue}$\u200c\u200d]*/uy
const number = /\d[\w.]*/y
// What a `/` after these words starts is a regular expression, not a division.
const operatorWords = new Set(
  "return typeof instanceof in of new delete void throw case do else yield await extends default".split(" ")
)
const headWords = new Set(["if", "while", "for", "with"])

/**
 * Cuts a module into tokens `{ type, value, offset }`; type is word, string, template, regex, number or punctuation.
 * The value of a string is its text without quotes, escapes left as written.
 */
export const tokenize = (source) => new Scanner(source).tokens()

class Scanner {
  constructor(source) {
    this.source = source
    this.offset = source.startsWith("#!") ? lineEnd(source, 0) : 0
    this.found = []
    this.open = [] // what each open bracket is: "{", "${", "[", "(" or "head(" after if, while, for, with
    this.headClosed = false // the last `)` closed such a head: a regular expression may follow
  }

  tokens() {
    while (this.offset < this.source.length) this.step()
    return this.found
  }

  step() {
    const { source, offset } = this
    const char = source[offset]
    if (/\s/.test(char)) this.offset++
    else if (source.startsWith("//", offset)) this.offset = lineEnd(source, offset)
    else if (source.startsWith("/*", offset)) this.offset = after(source, "*/", offset + 2)
    else if (char === '"' || char === "'") this.string(char)
    else if (char === "`") this.template(offset + 1)
    else if (char === "/" && this.expectsOperand() && this.regex()) return
    else if (this.match(identifier, "word") || this.match(number, "number")) return
    else this.punctuation(char)
  }

  push(type, value, end) {
    this.found.push({ type, value, offset: this.offset })
    this.offset = end
  }

  match(pattern, type) {
    pattern.lastIndex = this.offset
    const value = pattern.exec(this.source)?.[0]
    if (value !== undefined) this.push(type, value, this.offset + value.length)
    return value !== undefined
  }

  string(quote) {
    let end = this.offset + 1
    while (end < this.source.length && this.source[end] !== quote && this.source[end] !== "\n") {
      end += this.source[end] === "\\" ? 2 : 1
    }
    this.push("string", this.source.slice(this.offset + 1, end), end + 1)
  }

  /** Reads template text from `from` to the closing backtick or the next `${`. */
  template(from) {
    let end = from
    while (end < this.source.length && this.source[end] !== "`" && !this.source.startsWith("${", end)) {
      end += this.source[end] === "\\" ? 2 : 1
    }
    const interpolates = this.source.startsWith("${", end)
    if (interpolates) this.open.push("${")
    this.push("template", this.source.slice(from, end), end + (interpolates ? 2 : 1))
    this.found.at(-1).isLast = !interpolates
  }

  regex() {
    let inClass = false
    for (let end = this.offset + 1; end < this.source.length && this.source[end] !== "\n"; end++) {
      const char = this.source[end]
      if (char === "\\") end++
      else if (char === "[") inClass = true
      else if (char === "]") inClass = false
      else if (char === "/" && !inClass) {
        this.push("regex", this.source.slice(this.offset, end + 1), end + 1)
        if (this.match(identifier, "word")) this.found.pop() // flags
        return true
      }
    }
    return false
  }

  punctuation(char) {
    if (char === "}" && this.open.at(-1) === "${") {
      this.open.pop()
      this.template(this.offset + 1)
      return
    }
    if (char === "(") this.open.push(headWords.has(this.found.at(-1)?.value) ? "head(" : "(")
    else if (char === "{" || char === "[") this.open.push(char)
    else if (char === ")" || char === "}" || char === "]") this.headClosed = this.open.pop() === "head("
    this.push("punctuation", char, this.offset + 1)
  }

  /** Whether an operand may stand here, so that a `/` starts a regular expression. */
  expectsOperand() {
    const isOperandEnd = (index) => {
      const token = this.found[index]
      if (token === undefined) return false
      if (token.type === "word")
        return this.found[index - 1]?.value === "." || !operatorWords.has(token.value)
      if (token.type === "template") return token.isLast
      if (token.type !== "punctuation") return true
      if (token.value === ")") return !this.headClosed
      if (token.value === "]") return true
      // `x!`, `x++` and `x--` end an operand, `!x`, `++x` and `--x` start one.
      if (token.value === "!") return isOperandEnd(index - 1)
      const doubled = token.value === this.found[index - 1]?.value
      return (token.value === "+" || token.value === "-") && doubled && isOperandEnd(index - 2)
    }
    return !isOperandEnd(this.found.length - 1)
  }
}

const lineEnd = (source, from) => {
  const end = source.indexOf("\n", from)
  return end === -1 ? source.length : end
}
const after = (source, mark, from) => {
  const found = source.indexOf(mark, from)
  return found === -1 ? source.length : found + mark.length
}

/** Line numbers (from 1) for ascending offsets of one text. */
const lineCounter = (source) => {
  let line = 1
  let at = 0
  return (offset) => {
    for (; at < offset; at++) if (source[at] === "\n") line++
    return line
  }
}

const depths = (tokens) => {
  let depth = 0
  return tokens.map(({ type, value }) => {
    if (type === "punctuation" && "([{".includes(value)) return depth++
    if (type === "punctuation" && ")]}".includes(value)) depth = Math.max(0, depth - 1)
    return depth
  })
}

/**
 * Lists the imports of a module: `{ specifier, kind, line }`.
 *
 * kind: `static` (also `export ... from` and `import x = require(...)`), `type` (erased: `import type`, `export type`,
 * `typeof import(...)`), `dynamic` (`import(...)`), `resolve` (`require`, `require.resolve`, `import.meta.resolve`).
 * `import { type A } from "x"` is static: under verbatimModuleSyntax the import of the module stays.
 * A dynamic import of something else than a string literal has the specifier `undefined`.
 */
export const scanImports = (source) => {
  const tokens = tokenize(source)
  const depth = depths(tokens)
  const lineAt = lineCounter(source)
  const found = []
  tokens.forEach((token, index) => {
    if (token.type !== "word" || tokens[index - 1]?.value === ".") return
    const read = readers[token.value]
    const result = read?.(tokens, index, depth[index])
    if (result !== undefined) found.push({ ...result, line: lineAt(token.offset) })
  })
  return found
}

/** The index after one binding of an import or export clause: `name`, `{ ... }`, `*` or `* as name`. */
const afterBinding = (tokens, index) => {
  const { value } = tokens[index] ?? {}
  if (value === "*") return tokens[index + 1]?.value === "as" ? index + 3 : index + 1
  if (value !== "{") return index + 1
  const close = tokens.findIndex(
    (token, at) => at > index && token.type === "punctuation" && token.value === "}"
  )
  return close === -1 ? tokens.length : close + 1
}

/** The specifier of `bindings from "specifier"`; undefined when the statement goes on otherwise. */
const fromClause = (tokens, start) => {
  let index = afterBinding(tokens, start)
  if (tokens[index]?.value === ",") index = afterBinding(tokens, index + 1)
  const specifier = tokens[index + 1]
  return tokens[index]?.value === "from" && specifier?.type === "string" ? specifier.value : undefined
}

/** After `import` or `export`: is the clause `type ...`, and not a binding that is called `type`? */
const isTypeClause = (tokens, index) => {
  if (tokens[index + 1]?.value !== "type") return false
  const next = tokens[index + 2]
  if (next === undefined || next.value === ",") return false
  return next.value !== "from" || tokens[index + 3]?.type === "word"
}

const literalCall = (tokens, open) => {
  if (tokens[open]?.value !== "(") return undefined
  const [argument, end] = [tokens[open + 1], tokens[open + 2]]
  const isLiteral =
    (argument?.type === "string" || argument?.type === "template") &&
    (end?.value === ")" || end?.value === ",")
  return { specifier: isLiteral ? argument.value : undefined }
}

const readers = {
  __proto__: null,
  import: (tokens, index, depth) => {
    const next = tokens[index + 1]
    if (next?.value === "(" && next.type === "punctuation") {
      const isType = tokens[index - 1]?.value === "typeof"
      return { ...literalCall(tokens, index + 1), kind: isType ? "type" : "dynamic" }
    }
    if (next?.value === "." && tokens[index + 3]?.value === "." && tokens[index + 4]?.value === "resolve") {
      return resolved(literalCall(tokens, index + 5))
    }
    if (depth > 0 || next === undefined || next.value === "." || next.value === ":") return undefined
    if (next.type === "string") return { specifier: next.value, kind: "static" }
    const isType = isTypeClause(tokens, index)
    const start = index + (isType ? 2 : 1)
    const specifier = fromClause(tokens, start) ?? requireClause(tokens, start)
    return specifier === undefined ? undefined : { specifier, kind: isType ? "type" : "static" }
  },
  export: (tokens, index, depth) => {
    if (depth > 0) return undefined
    const isType = isTypeClause(tokens, index)
    const start = index + (isType ? 2 : 1)
    if (tokens[start]?.value !== "{" && tokens[start]?.value !== "*") return undefined
    const specifier = fromClause(tokens, start)
    return specifier === undefined ? undefined : { specifier, kind: isType ? "type" : "static" }
  },
  require: (tokens, index) => {
    const isResolve = tokens[index + 1]?.value === "." && tokens[index + 2]?.value === "resolve"
    return resolved(literalCall(tokens, index + (isResolve ? 3 : 1)))
  }
}

const resolved = (call) => (call?.specifier === undefined ? undefined : { ...call, kind: "resolve" })

const requireClause = (tokens, start) =>
  tokens[start + 1]?.value === "=" && tokens[start + 2]?.value === "require"
    ? tokens[start + 4]?.value
    : undefined

const terminalMembers = new Set(["stdin", "stdout", "stderr", "exit", "exitCode", "argv"])

/** Lists the uses of the terminal and of the process as a program: `{ name, line }`, for example `process.stdout`. */
export const scanTerminalUses = (source) => {
  const tokens = tokenize(source)
  const lineAt = lineCounter(source)
  const found = []
  tokens.forEach((token, index) => {
    const isMember = tokens[index - 1]?.value === "." && tokens[index - 2]?.value !== "globalThis"
    if (token.type !== "word" || isMember) return
    const dot = tokens[index + 1]?.value === "." ? 1 : tokens[index + 1]?.value === "?" ? 2 : 0
    const member = dot === 0 ? undefined : tokens[index + 1 + dot]
    const isConsole = token.value === "console" || token.value === "Console"
    const isProcess = token.value === "process" && terminalMembers.has(member?.value)
    if (member?.type === "word" && (isConsole || isProcess)) {
      found.push({ name: `${token.value}.${member.value}`, line: lineAt(token.offset) })
    }
  })
  return found
}
