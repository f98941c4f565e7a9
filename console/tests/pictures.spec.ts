// The two pictures of README.md, of an organization with people in it. Written only when asked for, because fonts differ
// between machines: CONSOLE_PICTURES=1 tests/console sqlite pictures
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, makeOrganization, open, test } from './support.ts';

const run = promisify(execFile);

test('the overview and the configuration as pictures', async ({ page }) => {
  test.setTimeout(90_000);
  const organization = await makeOrganization('st-mary');
  await organization.graphql('mutation { organizationUpdate(input: { name: "St. Mary Hospital" }) { userErrors { message } } }');
  await organization.graphql('mutation($input: ConnectionUpdateInput!) { connectionUpdate(input: $input) { userErrors { message } } }', {
    input: { id: organization.connectionId, name: 'Entra ID' },
  });
  await run(process.env.ROLECALL_TEST_BINARY ?? '', [
    ...['simulate', '--base-url', organization.scimUrl, '--token', organization.scimToken],
    ...['--idp', 'entra', '--users', '40', '--movers', '2', '--leavers', '2', '--seed', '7'],
  ]);
  await page.setViewportSize({ width: 1280, height: 860 });
  for (const path of ['overview', 'configuration']) {
    await open(page, organization, path);
    await expect(page.locator('.card').first()).toBeVisible();
    // The first addresses carry a port of this run.
    await page.evaluate(() => {
      for (const code of document.querySelectorAll('code')) {
        code.textContent = (code.textContent ?? '').replace(/http:\/\/127\.0\.0\.1:\d+/, 'https://id.example.org').replace(/st-mary-[0-9a-f]+/, 'st-mary');
      }
    });
    await page.mouse.move(0, 0);
    const picture = await page.screenshot({ animations: 'disabled' });
    expect(picture.length).toBeGreaterThan(10_000);
    if (process.env.CONSOLE_PICTURES) {
      const { writeFile } = await import('node:fs/promises');
      await writeFile(new URL(`../../docs/images/console-${path}.png`, import.meta.url), picture);
    }
  }
});
