// Findings: what a comparison found, decided one by one and at once.
import { type Organization, expect, expectAccessible, expectNoSideScroll, makeOrganization, open, test } from './support.ts';

const hostile = '<script>alert(1)</script>';

/** People whose names were changed by hand, and a comparison that found it. */
async function makeFindings(organization: Organization, count: number) {
  await organization.addUsers(count, 'nurse');
  const { organization: read } = await organization.graphql('{ organization { users(first: 100) { nodes { id } } } }');
  for (const { id } of read.users.nodes as { id: string }[]) {
    await organization.graphql('mutation($input: UserUpdateInput!) { userUpdate(input: $input) { userErrors { message } } }', {
      input: { id, displayName: hostile },
    });
  }
  await organization.graphql(
    'mutation($input: ReconciliationStartInput!) { reconciliationStart(input: $input) { userErrors { message } } }',
    { input: { connectionId: organization.connectionId, source: 'LAST_WRITE' } },
  );
  await expect
    .poll(async () => {
      const { organization: found } = await organization.graphql('{ organization { findings(first: 1) { totalCount } } }');
      return found.findings.totalCount;
    }, { timeout: 60_000 })
    .toBe(count);
}

test('a difference is shown and accepted with a reason', async ({ page }) => {
  const organization = await makeOrganization('findings');
  await makeFindings(organization, 2);
  await open(page, organization, 'findings');
  const lines = page.getByRole('region', { name: 'Findings', exact: true }).getByRole('listitem');
  await expect(lines).toHaveCount(2);
  await expect(page.getByRole('region', { name: 'Differences' })).toContainText(hostile);
  await expect(page.locator('#main script')).toHaveCount(0);
  await expectAccessible(page);
  await expectNoSideScroll(page);
  await page.keyboard.press('a');
  const dialog = page.getByRole('alertdialog');
  await dialog.getByRole('button', { name: 'Accept' }).click();
  await expect(dialog.getByRole('alert')).toContainText('A reason is needed');
  await dialog.getByLabel('Why is the difference right?').fill('The name was agreed with the ward');
  await dialog.getByRole('button', { name: 'Accept' }).click();
  await expect(dialog).toHaveCount(0);
  await expect(lines).toHaveCount(1);
  const { organization: read } = await organization.graphql('{ organization { findings(first: 5, filter: { states: [ACCEPTED] }) { nodes { reason } } } }');
  expect(read.findings.nodes).toEqual([{ reason: 'The name was agreed with the ward' }]);
});

test('many are accepted at once', async ({ page }) => {
  const organization = await makeOrganization('manyfind');
  await makeFindings(organization, 3);
  await open(page, organization, 'findings?kind=DRIFTED');
  await page.getByLabel('Choose all shown').check();
  const bulk = page.getByRole('group', { name: 'Decide about all that are chosen' });
  await bulk.getByRole('button', { name: 'Suspend' }).click();
  await page.getByRole('alertdialog').getByRole('button', { name: 'Suspend' }).click();
  // A different value is no reason to suspend: all are left as they are, and the result says why.
  await expect(page.getByRole('dialog', { name: 'Result' })).toContainText('0 done, 3 skipped');
  await page.getByRole('button', { name: 'Close', exact: true }).click();
  await page.getByLabel('Choose all shown').check();
  await bulk.getByRole('button', { name: 'Accept' }).click();
  await page.getByRole('alertdialog').getByLabel('Why is the difference right?').fill('Agreed');
  await page.getByRole('alertdialog').getByRole('button', { name: 'Accept' }).click();
  await expect(page.getByRole('dialog', { name: 'Result' })).toContainText('3 done, 0 skipped');
});
