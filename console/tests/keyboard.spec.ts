// Three tasks with the keyboard alone: signing in and copying an address, rotating a token, pausing.
import type { Page } from '@playwright/test';
import { expect, expectCopied, makeOrganization, type Organization, readClipboard, test } from './support.ts';

let organization: Organization;

// They share an organization whose token and state they change.
test.describe.configure({ mode: 'serial' });

test.beforeAll(async () => {
  organization = await makeOrganization('keyboard');
  await organization.addUsers(1);
});

/** Tab until the element with this name has the focus, which must be visible. */
async function tabTo(page: Page, name: string | RegExp) {
  for (let count = 0; count < 80; count += 1) {
    await page.keyboard.press('Tab');
    const found = await page.evaluate(() => {
      const element = document.activeElement;
      if (!element || element === document.body) return undefined;
      const labels = 'labels' in element ? [...((element as HTMLInputElement).labels ?? [])].map((label) => label.textContent) : [];
      const { outlineStyle, boxShadow } = getComputedStyle(element);
      return { name: element.getAttribute('aria-label') ?? labels[0] ?? element.textContent?.trim() ?? '', visible: outlineStyle !== 'none' || boxShadow !== 'none' };
    });
    if (found && (typeof name === 'string' ? found.name === name : name.test(found.name))) {
      expect(found.visible).toBe(true);
      return;
    }
  }
  throw new Error(`the keyboard does not reach ${name}`);
}

async function signIn(page: Page, path: string) {
  await page.goto(`/o/${organization.slug}/${path}`);
  await expect(page.getByLabel('API key', { exact: true })).toBeVisible();
  await tabTo(page, 'API key');
  await page.keyboard.type(organization.key);
  await page.keyboard.press('Enter');
  await expect(page.locator('.page h1')).toBeVisible();
  await expect(page.locator('.skeleton')).toHaveCount(0);
}

test('collecting an address', async ({ page }) => {
  await signIn(page, 'overview');
  await tabTo(page, 'Skip to the content');
  await page.keyboard.press('Enter');
  await tabTo(page, 'Copy: Users endpoint');
  await page.keyboard.press('Enter');
  await expectCopied(page, 'Users endpoint');
  expect(await readClipboard(page)).toBe(`${organization.scimUrl}/Users`);
});

test('rotating a token', async ({ page }) => {
  await signIn(page, 'overview');
  await tabTo(page, 'SCIM configuration');
  await page.keyboard.press('Enter');
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('SCIM configuration');
  await expect(page.getByRole('heading', { level: 1 })).toBeFocused();
  await tabTo(page, 'Rotate token');
  await page.keyboard.press('Enter');
  await expect(page.getByRole('alertdialog')).toBeVisible();
  // Escape leaves everything as it was, and the focus returns to the button.
  await page.keyboard.press('Escape');
  await expect(page.getByRole('button', { name: 'Rotate token' })).toBeFocused();
  await page.keyboard.press('Enter');
  await expect(page.getByRole('alertdialog')).toBeVisible();
  await tabTo(page, 'Rotate now');
  await page.keyboard.press('Enter');
  await expect(page.getByRole('dialog', { name: 'Your new token' })).toBeVisible();
  await tabTo(page, 'Copy: Bearer token');
  await page.keyboard.press('Enter');
  await expectCopied(page, 'Bearer token');
  const secret = await readClipboard(page);
  await tabTo(page, 'I have stored it');
  await page.keyboard.press('Enter');
  await expect(page.getByRole('dialog')).toHaveCount(0);
  expect((await organization.scim('GET', '/Users?count=1', undefined, secret)).status).toBe(200);
});

test('pausing and resuming', async ({ page }) => {
  await signIn(page, 'overview');
  await tabTo(page, 'Deactivate');
  await page.keyboard.press('Enter');
  await expect(page.locator('#configuration')).toContainText('Inactive');
  await tabTo(page, /^Sign-in \(SSO\)$/);
  await page.keyboard.press('Enter');
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('Sign-in (SSO)');
  await expect(page.getByRole('button', { name: 'Activate', exact: true })).toBeVisible();
  await tabTo(page, 'Activate');
  await page.keyboard.press('Enter');
  await expect(page.locator('#provisioning')).toContainText('Requests of the identity provider are served.');
});
