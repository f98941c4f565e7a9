// Alerts: what is raised, the rules, and who gets mail.
import { expect, expectAccessible, expectNoSideScroll, makeOrganization, open, test } from './support.ts';

test('a rule is changed and a recipient is added and removed', async ({ page }) => {
  test.slow();
  const organization = await makeOrganization('alerts');
  await open(page, organization, 'alerts');
  await expectAccessible(page);
  await expectNoSideScroll(page);
  await page.getByRole('link', { name: 'Rules and mail' }).click();
  const rule = page.locator('article.entry', { hasText: 'Failures wait' });
  await rule.getByLabel(/^Threshold/).fill('48');
  await rule.getByRole('button', { name: 'Save' }).click();
  await expect(page.getByText('Saved: Failures wait')).toBeVisible();
  await rule.getByLabel('Watch this').click();
  await page.getByRole('alertdialog').getByRole('button', { name: 'Turn off' }).click();
  await expect(rule.getByText('Off', { exact: true })).toBeVisible();
  await page.getByLabel('Address').fill('it@hospital.example');
  await page.getByRole('button', { name: 'Add' }).click();
  await expect(page.getByRole('rowheader', { name: 'it@hospital.example' })).toBeVisible();
  await expectAccessible(page);
  await expectNoSideScroll(page);
  await page.getByRole('button', { name: 'Remove it@hospital.example' }).click();
  await page.getByRole('alertdialog').getByRole('button', { name: 'Remove' }).click();
  await expect(page.getByText('No one gets mail yet')).toBeVisible();
  const { organization: read } = await organization.graphql('{ organization { alertRules { kind enabled threshold } } }');
  expect(read.alertRules.find(({ kind }: { kind: string }) => kind === 'FAILURES_WAIT')).toMatchObject({ enabled: false, threshold: 48 });
});
