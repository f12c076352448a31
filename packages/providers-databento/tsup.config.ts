import { defineConfig } from "tsup"

export default defineConfig({
  entry: ["src/index.ts", "src/dbn/index.ts", "src/simulator/index.ts"],
  format: ["esm"],
  target: "node22",
  platform: "node",
  sourcemap: true,
  clean: true,
  splitting: true
})
