// The page of a setup link: nothing is spent before the button, the token is shown once, arrivals turn green.
import type { Page } from '@playwright/test';
import {
  copyText,
  expect,
  expectAccessible,
  expectNoSideScroll,
  makeOrganization,
  open,
  type Organization,
  test,
} from './support.ts';

const PROVIDERS = ['Microsoft Entra ID', 'Okta', 'Google Workspace', 'OneLogin', 'JumpCloud', 'PingOne', 'Another identity provider'];

async function makeLink(organization: Organization): Promise<string> {
  const { setupLinkCreate } = await organization.graphql(
    'mutation($input: SetupLinkCreateInput!) { setupLinkCreate(input: $input) { secret userErrors { message } } }',
    { input: { connectionId: organization.connectionId } },
  );
  const { pathname, hash } = new URL(setupLinkCreate.secret);
  return pathname + hash;
}

const openedCount = async (organization: Organization) => {
  const { organization: read } = await organization.graphql('{ organization { setupLinks(first: 1) { nodes { openCount } } } }');
  return read.setupLinks.nodes[0].openCount as number;
};

/** The value of the row whose label begins with this letter. */
const value = (page: Page, letter: 'A' | 'B') => page.locator('.values .copy-row', { hasText: `${letter} ·` }).locator('code').innerText();

test('looking at the link spends nothing', async ({ page }) => {
  const organization = await makeOrganization('scanner');
  const link = await makeLink(organization);
  await page.goto(link);
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('Set up provisioning');
  // The secret leaves the address bar at once.
  expect(page.url()).not.toContain('#');
  await expect(page.getByRole('button', { name: 'Open' })).toBeVisible();
  await expectAccessible(page);
  await expectNoSideScroll(page);
  expect(await openedCount(organization)).toBe(0);
});

test('from the link to the first user and group', async ({ page, watch }) => {
  test.slow();
  const organization = await makeOrganization('setup', 'OKTA');
  const link = await makeLink(organization);
  await page.goto(link);
  await page.getByRole('button', { name: 'Open' }).click();
  await expect(page.getByRole('heading', { level: 1 })).toContainText(organization.slug);
  await expect(page.getByRole('radio', { name: 'Okta' })).toBeChecked();
  const baseUrl = await value(page, 'A');
  expect(baseUrl).toBe(organization.scimUrl);
  // Okta's form takes the whole header.
  const header = await value(page, 'B');
  expect(header).toMatch(/^Bearer rcs_/);
  const token = header.slice('Bearer '.length);
  expect(await copyText(page, page.locator('.values'), /^B/)).toBe(header);

  for (const provider of PROVIDERS) {
    await page.getByRole('radio', { name: provider, exact: true }).check();
    await expect(page.getByRole('img', { name: new RegExp(`form in ${provider}`) })).toBeVisible();
  }
  await expect(page.locator('.values')).not.toContainText('Bearer rcs_');
  await expectAccessible(page);
  await expectNoSideScroll(page);
  for (const provider of ['Keycloak', 'Zitadel']) {
    await page.getByRole('radio', { name: provider }).check();
    await expect(page.getByRole('heading', { name: `${provider} is read by rolecall` })).toBeVisible();
  }
  await page.getByRole('radio', { name: 'Microsoft Entra ID' }).check();

  const arrivals = page.locator('.arrival-done');
  await expect(arrivals).toHaveCount(0);
  await organization.scim('GET', '/Users?count=1', undefined, token);
  await expect(arrivals).toHaveCount(1);
  // A failed attempt is explained in place, and what is in it stays text.
  await organization.scim('POST', '/Users', { userName: '<img src=x onerror=alert(1)>', active: 'perhaps' }, token);
  await expect(page.getByRole('region', { name: 'What went wrong' })).toBeVisible();
  await expect(page.locator('main img:not(svg)')).toHaveCount(0);
  await expectAccessible(page);
  const { body } = await organization.scim('POST', '/Users', { userName: 'ada@example.org', externalId: '1', active: true }, token);
  await expect(arrivals).toHaveCount(2);
  await organization.scim('POST', '/Groups', { displayName: 'Nurses', members: [{ value: body.id }] }, token);
  await expect(arrivals).toHaveCount(3);
  await expect(page.getByText('It works')).toBeVisible();

  // Not again on reload: the page knows nothing any more, and the link shows the last four characters.
  await page.reload();
  await expect(page.getByText('Open the link from your message again', { exact: false }).or(page.getByText('After a reload', { exact: false }))).toBeVisible();
  expect(await page.content()).not.toContain(token);
  const kept = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie]));
  expect(kept).not.toContain('rcs_');
  await page.goto('about:blank');
  await page.goto(link);
  await page.getByRole('button', { name: 'Open' }).click();
  await expect(page.getByText('The token was shown before')).toBeVisible();
  expect(await value(page, 'B')).toBe(`rcs_…${token.slice(-4)}`);
  expect(await openedCount(organization)).toBe(2);
  watch.allowStatus(404);
});

test('a link that ended says what to do', async ({ page, watch }) => {
  watch.allowStatus(404, 410);
  await page.goto('/setup#link=rcu_nothing');
  await page.getByRole('button', { name: 'Open' }).click();
  await expect(page.getByRole('alert')).toContainText('This server made no such link');
  await expectAccessible(page);
});

test('German is complete', async ({ page }) => {
  const organization = await makeOrganization('setupde');
  await page.goto(await makeLink(organization));
  await page.getByLabel('Language').selectOption('de');
  await page.getByRole('button', { name: 'Öffnen' }).click();
  await expect(page.getByRole('heading', { name: '4. Was angekommen ist' })).toBeVisible();
  await expect(page.locator('html')).toHaveAttribute('lang', 'de');
});

test('a link is made on the screen of the connection and revoked', async ({ page, watch }) => {
  const organization = await makeOrganization('setuplink');
  await open(page, organization, `connections/${encodeURIComponent(organization.connectionId)}/setup`);
  await expect(page.getByText('No setup link')).toBeVisible();
  await page.getByRole('button', { name: 'Make a setup link' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Make a setup link' }).click();
  const dialog = page.getByRole('dialog', { name: 'The new setup link' });
  const link = new URL(await dialog.locator('.secret code').innerText());
  expect(link.hash).toMatch(/^#link=rcu_/);
  await dialog.getByLabel('I have stored it').check();
  await dialog.getByRole('button', { name: 'Done' }).click();
  await expect(page.getByText('Not opened yet')).toBeVisible();
  await expectAccessible(page);
  await page.getByRole('button', { name: 'Revoke', exact: true }).click();
  await page.getByRole('alertdialog').getByRole('button', { name: 'Revoke' }).click();
  await expect(page.getByText('Revoked', { exact: true })).toBeVisible();
  watch.allowStatus(410);
  await page.goto('about:blank');
  await page.goto(link.pathname + link.hash);
  await page.getByRole('button', { name: 'Open' }).click();
  await expect(page.getByRole('alert')).toContainText('has expired, or was revoked');
});
