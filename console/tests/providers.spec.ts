// A setup link leads a simulated identity provider to its first user, for each provider that pushes.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, makeOrganization, test } from './support.ts';

const run = promisify(execFile);

const PROVIDERS = [
  ['ENTRA_ID', 'entra', 'Microsoft Entra ID'],
  ['OKTA', 'okta', 'Okta'],
  ['GOOGLE_WORKSPACE', 'google', 'Google Workspace'],
  ['ONELOGIN', 'onelogin', 'OneLogin'],
  ['JUMPCLOUD', 'jumpcloud', 'JumpCloud'],
  ['PINGONE', 'pingone', 'PingOne'],
] as const;

for (const [provider, dialect, name] of PROVIDERS) {
  test(`${name} arrives by a setup link`, async ({ page }) => {
    test.slow();
    const organization = await makeOrganization(`idp-${dialect}`, provider);
    const { setupLinkCreate } = await organization.graphql(
      'mutation($input: SetupLinkCreateInput!) { setupLinkCreate(input: $input) { secret userErrors { message } } }',
      { input: { connectionId: organization.connectionId } },
    );
    const { pathname, hash } = new URL(setupLinkCreate.secret);
    await page.goto(pathname + hash);
    await page.getByRole('button', { name: 'Open' }).click();
    await expect(page.getByRole('radio', { name, exact: true })).toBeChecked();
    const row = (letter: 'A' | 'B') => page.locator('.values .copy-row', { hasText: `${letter} ·` }).locator('code').innerText();
    const [url, secret] = [await row('A'), await row('B')];
    const arrivals = page.locator('.arrival-done');
    await expect(arrivals).toHaveCount(0);
    await run(process.env.ROLECALL_TEST_BINARY ?? '', [
      ...['simulate', '--base-url', url, '--token', secret.replace(/^Bearer /, '')],
      ...['--idp', dialect, '--users', '2', '--movers', '0', '--leavers', '0', '--json'],
    ]);
    // The first request, and the first user.
    await expect(arrivals.nth(1)).toBeVisible();
    await expect(page.locator('.arrivals')).toContainText('First user');
    await expect(page.getByRole('region', { name: 'What went wrong' })).toHaveCount(0);
  });
}
