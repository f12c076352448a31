import { defineConfig } from "vitest/config"

export default defineConfig({
  resolve: { conditions: ["source"] },
  ssr: { resolve: { conditions: ["source"] } },
  test: {
    include: ["packages/*/test/**/*.test.ts"],
    exclude: ["**/*.long.test.ts", "**/node_modules/**"],
    testTimeout: 30_000,
    hookTimeout: 60_000
  }
})
