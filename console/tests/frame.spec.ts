// The frame: signing in, menus by permission, full pages, preferences. screens.md, section 0.
import { type Organization, expect, expectAccessible, expectNoSideScroll, makeOrganization, open, test } from './support.ts';

let organization: Organization;

test.beforeAll(async () => {
  organization = await makeOrganization('frame');
});

test('a key signs in and leads to the overview', async ({ page }) => {
  await page.goto('/');
  await expect(page).toHaveTitle(/Sign in/);
  await expectAccessible(page);
  await page.getByLabel('API key', { exact: true }).fill(organization.key);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await expect(page).toHaveURL(new RegExp(`/o/${organization.slug}/overview$`));
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('SCIM overview');
  await expect(page).toHaveTitle(/SCIM overview/);
});

test('a wrong key is refused with words', async ({ page, watch }) => {
  watch.allowStatus(401);
  await page.goto('/sign-in');
  await page.getByLabel('API key', { exact: true }).fill('rck_wrong');
  await page.getByRole('button', { name: 'Sign in' }).click();
  await expect(page.getByRole('alert')).toContainText('This key opens nothing');
});

test('nothing secret outlives a reload', async ({ page }) => {
  await open(page, organization, 'overview');
  const stored = await page.evaluate(async () => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie, await caches.keys(), (await indexedDB.databases()).map(({ name }) => name)]));
  expect(stored).not.toContain(organization.key);
  expect(await page.context().cookies()).toEqual([]);
  await page.reload();
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('Sign in');
  // The address is kept, so signing in returns to the screen.
  await expect(page).toHaveURL(new RegExp(`/o/${organization.slug}/overview$`));
});

test('the sidebar shows where one is', async ({ page }) => {
  await open(page, organization, 'overview');
  const sidebar = page.getByRole('navigation', { name: 'Settings' });
  await expect(sidebar.getByRole('button', { name: 'Identity & access management' })).toHaveAttribute('aria-expanded', 'true');
  await expect(sidebar.getByRole('link', { name: 'SCIM overview' })).toHaveAttribute('aria-current', 'page');
  await expectNoSideScroll(page);
});

test('the menus of the top bar, also on a narrow screen', async ({ page }) => {
  await open(page, organization, 'overview');
  await page.getByRole('button', { name: /^Notifications/ }).click();
  await expect(page.getByRole('dialog', { name: 'Notifications' })).toBeVisible();
  // The library puts a hidden button that closes the popover beside the dialog; the rule is no part of WCAG.
  await expectAccessible(page, ['region']);
  await page.keyboard.press('Escape');
  await page.getByRole('button', { name: /^Organization: / }).click();
  await expect(page.getByRole('menuitemradio', { name: organization.slug })).toHaveAttribute('aria-checked', 'true');
  await page.keyboard.press('Escape');
  await page.setViewportSize({ width: 360, height: 740 });
  const sidebar = page.getByRole('navigation', { name: 'Settings' });
  await expect(sidebar).toBeHidden();
  await page.getByRole('button', { name: 'Menu' }).click();
  await sidebar.getByRole('link', { name: 'Sign-in (SSO)' }).click();
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('Sign-in (SSO)');
  await expect(sidebar).toBeHidden();
});

test('from right to left nothing sticks out', async ({ page }) => {
  await open(page, organization, 'overview');
  await page.evaluate(() => document.documentElement.setAttribute('dir', 'rtl'));
  await expectNoSideScroll(page);
  await expectNoSideScroll(page, 1280);
  const [sidebar, main] = await Promise.all([page.locator('#sidebar').boundingBox(), page.locator('#main').boundingBox()]);
  expect(sidebar?.x).toBeGreaterThan(main?.x ?? 0);
});

test('a key of one organization opens no other', async ({ page }) => {
  const other = await makeOrganization('other');
  await page.goto(`/o/${other.slug}/overview`);
  await page.getByLabel('API key', { exact: true }).fill(organization.key);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await expect(page.getByRole('heading', { level: 1 })).toContainText('You have no access to the organization');
  await page.locator('#main').getByRole('button', { name: organization.slug }).click();
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('SCIM overview');
});

test('without IAM_READ a full 403 page', async ({ page }) => {
  const key = await organization.issueKey('USER_READ');
  await open(page, organization, 'overview', key);
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('403 Forbidden');
  await expect(page.locator('#main')).toContainText('IAM_READ');
  await expect(page).toHaveTitle(/403 Forbidden/);
  await expect(page.getByRole('navigation', { name: 'Settings' })).toHaveCount(0);
  await expectAccessible(page);
});

test('themes and languages switch and stay', async ({ page }) => {
  await open(page, organization, 'overview');
  await page.getByRole('button', { name: /^Profile of/ }).click();
  await page.getByRole('menuitemradio', { name: 'Dark' }).click();
  await expect(page.locator('html')).toHaveAttribute('data-theme', 'dark');
  await page.getByRole('button', { name: /^Profile of/ }).click();
  await page.getByRole('menuitemradio', { name: 'Deutsch' }).click();
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('SCIM-Übersicht');
  await expect(page.locator('html')).toHaveAttribute('lang', 'de');
  await page.reload();
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('Anmelden');
  await expect(page.locator('html')).toHaveAttribute('data-theme', 'dark');
});

test('signing out forgets the key', async ({ page }) => {
  await open(page, organization, 'overview');
  await page.getByRole('button', { name: /^Profile of/ }).click();
  await page.getByRole('menuitem', { name: 'Sign out' }).click();
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('Sign in');
  expect(await page.content()).not.toContain(organization.key);
});

test('a revoked key ends the session on the page', async ({ page, watch }) => {
  watch.allowStatus(401);
  const key = await organization.issueKey('IAM_READ', 'AUDIT_READ');
  await open(page, organization, 'overview', key);
  const { organization: read } = await organization.graphql('{ organization { apiKeys(first: 50) { nodes { id name live } } } }');
  const id = read.apiKeys.nodes.find((node: { name: string }) => node.name === 'IAM_READ AUDIT_READ').id;
  await organization.graphql('mutation($input: ApiKeyRevokeInput!) { apiKeyRevoke(input: $input) { userErrors { message } } }', { input: { id } });
  await page.getByRole('button', { name: 'Reload' }).first().click();
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('Sign in');
  await expect(page.locator('#main')).toContainText('Your session has ended');
});

test('an unknown address is said so', async ({ page }) => {
  await open(page, organization, 'overview');
  await page.goto(`/o/${organization.slug}/no-such-screen`);
  await page.getByLabel('API key', { exact: true }).fill(organization.key);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('404 Not found');
});

test('what the server refuses is said in German', async ({ page }) => {
  await organization.graphql('mutation { roleCreate(input: { name: "Nurse" }) { userErrors { message } } }');
  await open(page, organization, 'roles');
  await page.getByRole('button', { name: /^Profile of/ }).click();
  await page.getByRole('menuitemradio', { name: 'Deutsch' }).click();
  await page.getByRole('button', { name: 'Rolle hinzufügen' }).click();
  const dialog = page.getByRole('dialog', { name: 'Rolle hinzufügen' });
  await dialog.getByLabel('Name', { exact: true }).fill('Nurse');
  await dialog.locator('button[type=submit]').click();
  await expect(dialog.getByRole('alert')).toContainText('Diesen Wert hat schon ein anderes Objekt.');
  // The server's own sentence names the value.
  await expect(dialog.getByRole('alert')).toContainText('Der Server sagt (englisch):');
  await expect(dialog.getByRole('alert')).toContainText(/Anfrage-Nummer: [0-9a-f]{8}-/);
});
