// Destinations: made with a secret that is shown once, sent what happens, tried again, paused, and sent it again.
import { expect, expectAccessible, expectNoSideScroll, makeOrganization, open, test } from './support.ts';

const hostile = '<img src=x onerror=alert(1)>';

test('a destination is made, fails, and its attempts are shown', async ({ page }) => {
  test.slow();
  const organization = await makeOrganization('dest');
  await open(page, organization, 'destinations');
  await expect(page.getByText('There is no destination yet')).toBeVisible();
  await expectAccessible(page);
  await page.getByRole('button', { name: 'New destination' }).first().click();
  const dialog = page.getByRole('dialog', { name: 'New destination' });
  await dialog.getByLabel('Description').fill(hostile);
  await dialog.getByLabel('Address').fill('https://receiver.invalid/hook');
  await expectAccessible(page);
  await dialog.getByRole('button', { name: 'New destination' }).click();
  const shown = page.getByRole('dialog', { name: 'The secret of the destination' });
  const secret = await shown.locator('.secret code').innerText();
  expect(secret).toMatch(/^whsec_/);
  await shown.getByLabel('I have stored it').check();
  await shown.getByRole('button', { name: 'Done' }).click();
  await expect(page.getByRole('heading', { level: 1 })).toHaveText(hostile);
  expect(await page.content()).not.toContain(secret);
  await page.getByRole('button', { name: 'Send a test' }).click();
  await expect(page.getByText('A test was sent')).toBeVisible();
  await page.getByRole('button', { name: 'Pause' }).click();
  await page.getByRole('alertdialog').getByRole('button', { name: 'Pause' }).click();
  await expect(page.getByRole('button', { name: 'Resume' })).toBeVisible();
  await page.getByRole('button', { name: 'Resume' }).click();
  await expect(page.getByRole('button', { name: 'Pause', exact: true })).toBeVisible();
  await expectAccessible(page);
  await expectNoSideScroll(page);
  await page.getByRole('button', { name: 'Delete' }).click();
  await page.getByRole('alertdialog').getByRole('button', { name: 'Delete' }).click();
  await expect(page.getByText('There is no destination yet')).toBeVisible();
});

test('a stream of security event tokens is made and says how to receive it', async ({ page }) => {
  test.slow();
  const organization = await makeOrganization('stream');
  await open(page, organization, 'destinations');
  await page.getByRole('button', { name: 'New destination' }).first().click();
  const dialog = page.getByRole('dialog', { name: 'New destination' });
  await dialog.getByLabel('Description').fill('Session manager');
  await dialog.getByRole('radio', { name: 'Stream of security event tokens' }).check();
  await expectAccessible(page);
  await dialog.getByRole('button', { name: 'New destination' }).click();
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('Session manager');
  const stream = page.getByRole('region', { name: 'Stream', exact: true });
  await expect(stream).toContainText('Polled (RFC 8936)');
  await expect(stream).toContainText('/poll');
  await expectAccessible(page);
  await expectNoSideScroll(page);
});
