import { defineConfig } from "vitest/config";

/** Where CI wants vitest's report as JSON. */
const report = process.env.DOMZERO_TEST_REPORT;

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    exclude: ["test/bench/**"],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    ...(report && { reporters: ["default", ["json", { outputFile: report }]] }),
  },
});
