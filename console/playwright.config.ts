import { availableParallelism } from 'node:os';
import { defineConfig } from '@playwright/test';

const ci = process.env.CI === 'true';

// tests/console starts the server and sets these.
export default defineConfig({
  testDir: 'tests',
  outputDir: 'test-results',
  // Each file makes organizations of its own, so files may run side by side; the tests of a file go one by one.
  workers: Math.min(2, availableParallelism()),
  fullyParallel: false,
  // How long something is awaited, not how long it may take: speed.spec.ts says that.
  timeout: 90_000,
  expect: { timeout: 20_000 },
  // A test that passes only the second time is named at the end.
  retries: ci ? 1 : 0,
  reporter: [['list'], ['./tests/verdict.ts']],
  forbidOnly: ci,
  use: {
    baseURL: process.env.CONSOLE_URL,
    browserName: 'chromium',
    launchOptions: { executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium' },
    viewport: { width: 1280, height: 900 },
    locale: 'en-GB',
    timezoneId: 'Europe/Berlin',
    trace: 'off',
    screenshot: 'off',
    permissions: ['clipboard-read', 'clipboard-write'],
  },
  projects: [
    { name: 'screens', testIgnore: 'speed.spec.ts' },
    // What is measured runs alone, after everything else; if only some specs were asked for, there is nothing else.
    { name: 'speed', testMatch: 'speed.spec.ts', dependencies: process.env.CONSOLE_WHOLE ? ['screens'] : [] },
  ],
});
