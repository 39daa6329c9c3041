import { defineConfig } from "vitest/config";

// Journeys through a real Nebula in a real browser. Files run one after the other: each has a Nebula of its own, and the machine is shared.
export default defineConfig({
  test: {
    include: ["e2e/**/*.e2e.ts"],
    globalSetup: ["e2e/build.ts"],
    testTimeout: 120_000,
    hookTimeout: 120_000,
    fileParallelism: false,
    reporters: [["default", { summary: false }]],
    disableConsoleIntercept: true,
  },
});
