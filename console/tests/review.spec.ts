// The review queue: one by one with the keyboard alone, in bulk with what was skipped, hostile names, proposals.
import { type Organization, expect, expectAccessible, expectNoSideScroll, makeOrganization, open, test } from './support.ts';

const hostile = '<img src=x onerror=alert(1)>';

async function failWrites(organization: Organization, count: number, prefix = 'broken') {
  for (let number = 1; number <= count; number += 1) {
    await organization.scim('POST', '/Users', {
      userName: `${hostile}${prefix}${number}@${organization.slug}.example`,
      externalId: `${prefix}-${number}`,
      active: 'perhaps',
    });
  }
}

const failures = async (organization: Organization) => {
  const { organization: read } = await organization.graphql(
    '{ organization { failures(first: 100) { nodes { label state resolution reason assignedTo } } } }',
  );
  return read.failures.nodes as { label: string; state: string; resolution: string | null; reason: string | null; assignedTo: string | null }[];
};

test('hostile names in failures stay text', async ({ page }) => {
  const organization = await makeOrganization('review');
  await failWrites(organization, 2);
  await open(page, organization, 'review');
  const list = page.getByRole('region', { name: 'Review queue' });
  await expect(list.getByRole('listitem')).toHaveCount(2);
  await expect(list).toContainText(hostile);
  await expect(page.locator('.workbench-detail')).toContainText('The request without its values');
  await expect(page.locator('#main img, #main script')).toHaveCount(0);
  await expectAccessible(page);
  await expectNoSideScroll(page);
});

test('the keyboard alone works through the queue', async ({ page }) => {
  test.slow();
  const organization = await makeOrganization('keyboard');
  await failWrites(organization, 4);
  // A write that a retry can do: the account that is in the way goes.
  const userName = `ada@${organization.slug}.example`;
  const { userCreate } = await organization.graphql(
    'mutation($input: UserCreateInput!) { userCreate(input: $input) { user { id } userErrors { message } } }',
    { input: { userName, displayName: 'Ada' } },
  );
  await organization.scim('POST', '/Users', { userName, externalId: 'ada', active: true });
  await organization.graphql('mutation($input: UserDeleteInput!) { userDelete(input: $input) { userErrors { message } } }', {
    input: { id: userCreate.user.id },
  });
  await open(page, organization, 'review');
  const lines = page.getByRole('region', { name: 'Review queue' }).getByRole('listitem');
  await expect(lines).toHaveCount(5);

  await page.keyboard.press('?');
  await expect(page.getByRole('dialog', { name: 'Keyboard shortcuts' })).toContainText('Next entry');
  await expectAccessible(page);
  await page.keyboard.press('Escape');
  await expect(page.getByRole('dialog')).toHaveCount(0);

  // The latest is the one that can be retried.
  const current = lines.and(page.locator('.line-current'));
  await expect(current).toContainText(userName);
  await page.keyboard.press('r');
  await expect(page.getByText('The retry succeeded')).toBeVisible();
  await expect(lines).toHaveCount(4);

  await page.keyboard.press('j');
  await expect(lines.nth(1)).toHaveClass(/line-current/);
  await expect(lines.nth(1).getByRole('link')).toBeFocused();
  await page.keyboard.press('k');
  await expect(lines.nth(0)).toHaveClass(/line-current/);

  await page.keyboard.press('d');
  const dialog = page.getByRole('alertdialog');
  await expect(dialog.getByRole('textbox')).toBeFocused();
  await page.keyboard.type('A test account; not wanted');
  await page.keyboard.press('Tab');
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await expect(dialog).toHaveCount(0);
  await expect(lines).toHaveCount(3);
  // The next one is chosen and has the focus.
  await expect(lines.nth(0).getByRole('link')).toBeFocused();

  await page.keyboard.press('a');
  await expect(dialog.getByRole('textbox')).toBeFocused();
  await page.keyboard.type('Grace');
  await page.keyboard.press('Tab');
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await expect(page.locator('.workbench-detail')).toContainText('Grace');
  await page.keyboard.press('f');
  await expect(page.getByRole('alertdialog')).toContainText('How was it fixed?');
  await page.keyboard.press('Escape');

  const after = await failures(organization);
  expect(after.find((failure) => failure.label === userName)).toMatchObject({ state: 'RESOLVED', resolution: 'RETRIED' });
  expect(after.filter((failure) => failure.state === 'DISMISSED')).toMatchObject([{ reason: 'A test account; not wanted' }]);
  expect(after.filter((failure) => failure.assignedTo === 'Grace')).toHaveLength(1);
});

test('shortcuts can be turned off', async ({ page }) => {
  const organization = await makeOrganization('keysoff');
  await failWrites(organization, 1);
  await open(page, organization, 'review');
  await page.getByRole('button', { name: 'Keyboard shortcuts' }).click();
  await page.getByLabel('Use these keys').uncheck();
  await page.getByRole('button', { name: 'Close', exact: true }).click();
  await page.keyboard.press('d');
  await expect(page.getByRole('alertdialog')).toHaveCount(0);
});

test('many are decided at once, with what was skipped', async ({ page }) => {
  const organization = await makeOrganization('bulk');
  await failWrites(organization, 28);
  await open(page, organization, 'review');
  await page.getByLabel('Choose all shown').check();
  await page.getByRole('button', { name: 'Choose all 28 that match the filters' }).click();
  await expect(page.getByText('28 chosen', { exact: true })).toBeVisible();
  // One is finished elsewhere meanwhile.
  const { organization: read } = await organization.graphql('{ organization { failures(first: 1) { nodes { id } } } }');
  await organization.graphql('mutation($input: FailureDismissInput!) { failureDismiss(input: $input) { userErrors { message } } }', {
    input: { id: read.failures.nodes[0].id, reason: 'elsewhere' },
  });
  await page.getByRole('group', { name: 'Decide about all that are chosen' }).getByRole('button', { name: 'Dismiss' }).click();
  const dialog = page.getByRole('alertdialog');
  await expect(dialog).toContainText('Dismiss 28 failures?');
  await dialog.getByRole('textbox').fill('The test is over');
  await dialog.getByRole('button', { name: 'Dismiss' }).click();
  const result = page.getByRole('dialog', { name: 'Result' });
  await expect(result).toContainText('27 done');
  await expectAccessible(page);
  await result.getByRole('button', { name: 'Close' }).click();
  await expect(page.getByText('Nothing waits for you')).toBeVisible();
  expect((await failures(organization)).every((failure) => failure.state === 'DISMISSED')).toBe(true);
});

test('some are chosen and those that cannot be done are named', async ({ page }) => {
  const organization = await makeOrganization('some');
  await failWrites(organization, 3);
  await open(page, organization, 'review?state=all');
  const { organization: read } = await organization.graphql('{ organization { failures(first: 1) { nodes { id } } } }');
  await organization.graphql('mutation($input: FailureDismissInput!) { failureDismiss(input: $input) { userErrors { message } } }', {
    input: { id: read.failures.nodes[0].id, reason: 'elsewhere' },
  });
  await page.getByLabel('Choose all shown').check();
  await page.getByRole('group', { name: 'Decide about all that are chosen' }).getByRole('button', { name: 'Retry' }).click();
  await expect(page.getByRole('dialog', { name: 'Result' })).toContainText('2 done, 1 skipped');
});

test('a link leads to one entry whatever the filters say', async ({ page }) => {
  const organization = await makeOrganization('link');
  await failWrites(organization, 1);
  const { organization: read } = await organization.graphql('{ organization { failures(first: 1) { nodes { id } } } }');
  const id: string = read.failures.nodes[0].id;
  await open(page, organization, `review?cause=CONFLICT&id=${encodeURIComponent(id)}`);
  await expect(page.locator('.workbench-detail')).toContainText('Invalid value');
});

test('a takeover is decided', async ({ page }) => {
  const organization = await makeOrganization('adopt');
  const userName = `bo@${organization.slug}.example`;
  await organization.graphql('mutation($input: UserCreateInput!) { userCreate(input: $input) { userErrors { message } } }', {
    input: { userName, displayName: hostile },
  });
  await organization.scim('POST', '/Users', { userName, externalId: 'bo', displayName: hostile });
  await open(page, organization, 'review/proposals');
  await expect(page.locator('.workbench-detail')).toContainText(hostile);
  await expectAccessible(page);
  await page.keyboard.press('a');
  await page.getByRole('alertdialog').getByRole('button', { name: 'Give to the connection' }).click();
  await expect(page.getByText('No proposal here')).toBeVisible();
  expect((await organization.scim('GET', `/Users?filter=${encodeURIComponent(`userName eq "${userName}"`)}`)).body.totalResults).toBe(1);
});

test('a reader without USER_READ sees no names and no buttons', async ({ page }) => {
  const organization = await makeOrganization('reader');
  await failWrites(organization, 1);
  await open(page, organization, 'review', await organization.issueKey('IAM_READ'));
  await expect(page.getByRole('region', { name: 'Review queue' }).getByRole('listitem')).toHaveCount(1);
  await expect(page.locator('#main')).not.toContainText('broken1');
  await expect(page.getByRole('button', { name: 'Dismiss' })).toHaveCount(0);
  await page.keyboard.press('d');
  await expect(page.getByRole('alertdialog')).toHaveCount(0);
});
