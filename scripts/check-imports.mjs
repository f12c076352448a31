// usage: node scripts/check-imports.mjs [workspace folder]
// Fails on a forbidden or circular import. The rules are those of CONTRIBUTING.md, "Who may import whom"; the tables
// below are the whole of their settings.
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs"
import { isBuiltin } from "node:module"
import { basename, dirname, join, relative, resolve, sep } from "node:path"
import { fileURLToPath } from "node:url"
import { scanImports, scanTerminalUses } from "./scan-imports.mjs"

// ---------------------------------------------------------------------------------------------------------------------
// Tables

/** Layers of packages/core/src, lowest first. The barrel says with `// section: NAME` which module is in which. */
const sections = ["domain", "contracts", "engine", "operation"]

/** Kinds of packages by folder name, and what the `src` of each may import from the workspace and from outside. */
const kinds = [
  // Runs wherever `effect` does.
  { kind: "core", folder: /^core$/, workspace: /^core$/, external: /^effect(\/|$)/, isPortable: true },
  // Runs under vitest, and so on Node: it speaks with sockets and reads transcripts.
  {
    kind: "testing",
    folder: /^testing$/,
    workspace: /^core$/,
    external: /^(effect|vitest|@effect\/vitest)(\/|$)/
  },
  { kind: "provider", folder: /^providers-/, workspace: /^core$/, external: /./ },
  { kind: "storage", folder: /^storage-/, workspace: /^core$/, external: /./ },
  { kind: "transport", folder: /^transport-/, workspace: /^core$/, external: /./ },
  // Stored and live data together, for programs without Effect.
  {
    kind: "client",
    folder: /^client$/,
    workspace: /^(core|storage-[^/]+|transport-[^/]+)$/,
    external: /^effect(\/|$)/
  },
  // Published as one bundle: what is bundled is a development dependency, what is not has to be declared as any other.
  { kind: "cli", folder: /^cli$/, workspace: /./, external: /./, isBundle: true }
]
const databaseClients = /^(pg|pg-[^/]+|postgres|@effect\/sql[^/]*)(\/|$)|^effect\/sql(\/|$)/
/** Programs of their own inside a library: they may write to their streams and set their exit code. */
const programs = [/^packages\/storage-[^/]+\/src\/embedded\//]
const partNames = ["src", "test", "benchmark", "typetest"]
const codeFile = /\.(ts|mts|js|mjs)$/
const skippedFolders = new Set(["node_modules", "dist", ".tsc", "fixtures"])

// ---------------------------------------------------------------------------------------------------------------------
// The workspace: packages, files and their imports

const posix = (path) => path.split(sep).join("/")
const isFile = (path) => statSync(path, { throwIfNoEntry: false })?.isFile() === true
const folders = (parent) =>
  existsSync(parent)
    ? readdirSync(parent, { withFileTypes: true })
        .filter((entry) => entry.isDirectory())
        .map((entry) => join(parent, entry.name))
    : []

const codeFiles = (folder) =>
  readdirSync(folder, { withFileTypes: true })
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => {
      const path = join(folder, entry.name)
      if (entry.isDirectory()) return skippedFolders.has(entry.name) ? [] : codeFiles(path)
      return codeFile.test(entry.name) ? [path] : []
    })

const readPackage = (folder, group) => {
  const manifest = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"))
  const isExample = group === "examples"
  const kind = isExample ? { kind: "example" } : kinds.find((kind) => kind.folder.test(basename(folder)))
  const parts = isExample ? [folder] : partNames.map((part) => join(folder, part)).filter(existsSync)
  const files = parts.flatMap(codeFiles).map((path) => readCode(path, folder, isExample))
  return { folder, manifest, kind, files }
}

const readCode = (path, folder, isExample) => {
  const source = readFileSync(path, "utf8")
  const top = posix(relative(folder, path)).split("/")[0]
  // An example may be a package with tests of its own, which need more than the package does.
  const part = isExample && top !== "test" ? "example" : top
  const imports = scanImports(source).filter(({ specifier }) => specifier !== undefined)
  return { path, part, source, imports }
}

const readWorkspace = (root) => {
  const packages = ["packages", "examples"].flatMap((group) =>
    folders(join(root, group))
      .filter((folder) => isFile(join(folder, "package.json")))
      .map((folder) => readPackage(folder, group))
  )
  const rootManifest = isFile(join(root, "package.json"))
    ? JSON.parse(readFileSync(join(root, "package.json"), "utf8"))
    : {}
  return { root, packages, byName: new Map(packages.map((pack) => [pack.manifest.name, pack])), rootManifest }
}

/** `@scope/name/sub/path` as its package name and the export it asks for (`./sub/path`, or `.`). */
const splitSpecifier = (specifier) => {
  const parts = specifier.split("/")
  const length = specifier.startsWith("@") ? 2 : 1
  const rest = parts.slice(length).join("/")
  return { name: parts.slice(0, length).join("/"), subpath: rest === "" ? "." : `./${rest}` }
}

/** The file that a relative specifier names; `./X.js` may stand for the source `./X.ts`. */
const resolveRelative = (from, specifier) => {
  const path = resolve(dirname(from), specifier.replace(/[?#].*$/, ""))
  const source = path.replace(/\.([mc]?)js$/, ".$1ts")
  return [path, source].find(isFile)
}

const isInside = (path, folder) => path.startsWith(folder + sep)

// ---------------------------------------------------------------------------------------------------------------------
// Rules for one import. Each answers with a message when the import is forbidden, else undefined.

const relativeRule = ({ pack, file }, { specifier }) => {
  const target = resolveRelative(file.path, specifier)
  if (target === undefined) return `"${specifier}" is not a file; write the name with its extension`
  const isManifest = target === join(pack.folder, "package.json")
  if (!isInside(target, pack.folder)) return `"${specifier}" leaves the package; import it by its public name`
  if (file.part === "src" && !isInside(target, join(pack.folder, "src")) && !isManifest) {
    return `"${specifier}" leaves src: published code cannot use tests or benchmarks`
  }
  return undefined
}

const exportedSubpath = (exports, subpath) => {
  if (typeof exports !== "object" || exports === null) return subpath === "."
  if (subpath in exports) return exports[subpath] !== null
  const patterns = Object.keys(exports).filter((key) => key.includes("*"))
  const matching = patterns.filter((key) => {
    const [head, tail] = key.split("*")
    return subpath.startsWith(head) && subpath.endsWith(tail) && subpath.length >= head.length + tail.length
  })
  const longest = matching.sort((a, b) => b.length - a.length)[0]
  return longest !== undefined && exports[longest] !== null
}

const workspaceRule = ({ workspace, pack, file }, { specifier }) => {
  const { name, subpath } = splitSpecifier(specifier)
  const target = workspace.byName.get(name)
  if (!exportedSubpath(target.manifest.exports, subpath)) return `${name} does not export "${subpath}"`
  if (target === pack) {
    return file.part === "src"
      ? `a package imports its own modules by relative path, not as "${specifier}"`
      : undefined
  }
  if (target.kind?.kind === "cli")
    return "nobody imports the cli: what others need belongs in a library package"
  if (target.kind?.kind === "example") return "nobody imports an example"
  const mayImport = file.part !== "src" || pack.kind.workspace.test(basename(target.folder))
  return mayImport ? undefined : `the src of ${pack.manifest.name} may not import ${name}`
}

const builtinRule = ({ pack, file }, { specifier }) => {
  if (!specifier.startsWith("node:")) return `write "node:${specifier}"`
  return pack.kind.isPortable === true && file.part === "src"
    ? `the src of ${pack.kind.kind} imports no Node module`
    : undefined
}

const externalRule = ({ pack, file }, { specifier }) => {
  if (file.part !== "src") return undefined
  if (!pack.kind.external.test(specifier)) return `the src of ${pack.kind.kind} may not import "${specifier}"`
  const isDatabase = databaseClients.test(specifier) && pack.kind.kind !== "storage"
  return isDatabase ? "only storage packages talk to a database" : undefined
}

const declaredRule = ({ workspace, pack, file }, { specifier, kind }) => {
  const { name } = splitSpecifier(specifier)
  if (name === pack.manifest.name) return undefined
  const { dependencies, peerDependencies, optionalDependencies, devDependencies } = pack.manifest
  const published = { ...dependencies, ...peerDependencies, ...optionalDependencies }
  const local = { ...devDependencies, ...workspace.rootManifest.devDependencies }
  const needsPublished = (file.part === "src" && pack.kind.isBundle !== true) || file.part === "example"
  const declared = needsPublished ? published : { ...published, ...local }
  if (name in declared || (file.part === "example" && kind === "type" && name in local)) return undefined
  return `"${name}" is not declared in ${posix(relative(workspace.root, pack.folder))}/package.json`
}

const rulesFor = (workspace, specifier) => {
  if (/^\.\.?(\/|$)/.test(specifier)) return [relativeRule]
  if (isBuiltin(specifier)) return [builtinRule]
  if (workspace.byName.has(splitSpecifier(specifier).name)) return [workspaceRule, declaredRule]
  return [externalRule, declaredRule]
}

const checkImports = (workspace) =>
  workspace.packages.flatMap((pack) => {
    if (pack.kind === undefined) {
      const message = `no kind of package has the folder name "${basename(pack.folder)}": see the table in check-imports.mjs`
      return [{ path: join(pack.folder, "package.json"), line: 1, message }]
    }
    return pack.files.flatMap((file) =>
      file.imports.flatMap((found) => {
        const rules = rulesFor(workspace, found.specifier)
        const messages = rules.map((rule) => rule({ workspace, pack, file }, found))
        return messages
          .filter((message) => message !== undefined)
          .map((message) => ({ path: file.path, line: found.line, message }))
      })
    )
  })

// ---------------------------------------------------------------------------------------------------------------------
// Only the cli knows terminals

const checkTerminals = ({ root, packages }) =>
  packages
    .filter(({ kind }) => kind?.kind !== "cli" && kind?.kind !== "example")
    .flatMap(({ files }) => files.filter(({ part }) => part === "src"))
    .filter(({ path }) => !programs.some((program) => program.test(posix(relative(root, path)))))
    .flatMap(({ path, source }) =>
      scanTerminalUses(source).map(({ name, line }) => ({
        path,
        line,
        message: `${name}: only the cli uses the terminal; a library logs through Effect and fails with a typed error`
      }))
    )

// ---------------------------------------------------------------------------------------------------------------------
// Layers of core

const sectionMark = /^\s*\/\/ section: *(\S+)/

/** Which modules the barrel puts in which section, and what is wrong with the barrel itself. */
const readSections = (barrel) => {
  const found = []
  const marks = barrel.source
    .split("\n")
    .map((text, index) => ({ name: sectionMark.exec(text)?.[1], line: index + 1 }))
    .filter(({ name }) => name !== undefined)
  for (const { name, line } of marks) {
    if (!sections.includes(name)) {
      found.push({ path: barrel.path, line, message: `section "${name}" is none of ${sections.join(", ")}` })
    }
  }
  const levels = new Map()
  for (const { specifier, line } of barrel.imports.filter(({ specifier }) => specifier.startsWith("."))) {
    const mark = marks.filter((mark) => mark.line < line).at(-1)
    if (mark === undefined)
      found.push({ path: barrel.path, line, message: `"${specifier}" is in no section` })
    else levels.set(resolveRelative(barrel.path, specifier), sections.indexOf(mark.name))
  }
  return { levels, found }
}

/** A module the barrel does not export is a detail of its users: it stands no higher than the lowest of them. */
const placeDetails = (levels, details, edges) => {
  for (let changed = true; changed; ) {
    changed = false
    for (const { from, to } of edges) {
      if (levels.has(to.path) && !details.has(to.path)) continue
      const level = Math.min(levels.get(from.path) ?? sections.length, levels.get(to.path) ?? sections.length)
      if (level >= (levels.get(to.path) ?? sections.length)) continue
      levels.set(to.path, level)
      changed = true
    }
  }
}

const checkSections = ({ packages }) => {
  const core = packages.find(({ kind }) => kind?.kind === "core")
  const barrel = core?.files.find(({ path }) => path === join(core.folder, "src", "index.ts"))
  if (barrel === undefined) return []
  const files = core.files.filter((file) => file.part === "src" && file !== barrel)
  const { levels, found } = readSections(barrel)
  const details = new Set(files.map(({ path }) => path).filter((path) => !levels.has(path)))
  const edges = relativeEdges(files)
  placeDetails(levels, details, edges)
  for (const { path } of files) {
    if (!levels.has(path)) found.push({ path, line: 1, message: "in no section: export it in src/index.ts" })
  }
  for (const { from, to, line } of edges) {
    const [own, other] = [levels.get(from.path), levels.get(to.path)]
    if (own === undefined || other === undefined || own >= other) continue
    const message = `${sections[own]} may not import ${basename(to.path)}, which is in ${sections[other]}`
    found.push({ path: from.path, line, message })
  }
  return found
}

/** Imports between the given files. */
const relativeEdges = (files) => {
  const byPath = new Map(files.map((file) => [file.path, file]))
  return files.flatMap((from) =>
    from.imports
      .filter(({ specifier }) => specifier.startsWith("."))
      .map(({ specifier, kind, line }) => ({
        from,
        to: byPath.get(resolveRelative(from.path, specifier)),
        kind,
        line
      }))
      .filter(({ to }) => to !== undefined)
  )
}

// ---------------------------------------------------------------------------------------------------------------------
// Circles: of imports that exist at run time; two modules may know each other's types

const checkCircles = ({ root, packages }) =>
  packages.flatMap(({ files }) => {
    const next = new Map(files.map(({ path }) => [path, []]))
    for (const { from, to, kind, line } of relativeEdges(files)) {
      if (kind === "static" || kind === "dynamic") next.get(from.path).push({ path: to.path, line })
    }
    const reported = new Set()
    return files.flatMap(({ path }) => {
      const circle = reported.has(path) ? undefined : shortestCircle(next, path)
      if (circle === undefined) return []
      for (const step of circle) reported.add(step.path)
      const names = [path, ...circle.map((step) => step.path)].map((step) => posix(relative(root, step)))
      return [{ path, line: circle[0].line, message: `circular import: ${names.join(" -> ")}` }]
    })
  })

/** The shortest way from a module back to itself, as its steps; undefined when there is none. */
const shortestCircle = (next, start) => {
  const ways = [[]]
  const seen = new Set()
  for (const way of ways) {
    for (const step of next.get(way.at(-1)?.path ?? start)) {
      if (step.path === start) return [...way, step]
      if (seen.has(step.path)) continue
      seen.add(step.path)
      ways.push([...way, step])
    }
  }
  return undefined
}

// ---------------------------------------------------------------------------------------------------------------------

/**
 * Checks a workspace.
 *
 * @returns {{ files: number, imports: number, violations: string[] }} each violation as `file:line: message`
 */
export const check = (root) => {
  const workspace = readWorkspace(root)
  const files = workspace.packages.flatMap((pack) => pack.files)
  const violations = [checkImports, checkTerminals, checkSections, checkCircles]
    .flatMap((rule) => rule(workspace))
    .map(({ path, line, message }) => `${posix(relative(root, path))}:${line}: ${message}`)
  return {
    files: files.length,
    imports: files.reduce((sum, file) => sum + file.imports.length, 0),
    violations
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const root = resolve(process.argv[2] ?? resolve(fileURLToPath(import.meta.url), "../.."))
  const { files, imports, violations } = check(root)
  for (const violation of violations) console.error(violation)
  console.log(`import rules: ${files} files, ${imports} imports, ${violations.length} violations`)
  process.exit(violations.length === 0 ? 0 : 1)
}
