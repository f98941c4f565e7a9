import { defineConfig } from '@playwright/test';

// tests/console starts the server and sets these.
export default defineConfig({
  testDir: 'tests',
  outputDir: 'test-results',
  workers: 1,
  timeout: 30_000,
  expect: { timeout: 7_000 },
  reporter: [['list']],
  forbidOnly: process.env.CI === 'true',
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
});
