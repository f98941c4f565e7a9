// Every screen that the console has, also one that is added later: its own spec says what it does; here it is opened by
// each kind of viewer, looked at by axe in both themes, and made narrow and wide.
import { readdirSync } from 'node:fs';
import type { Page } from '@playwright/test';
import { type Organization, expect, expectAccessible, expectNoSideScroll, makeOrganization, open, test } from './support.ts';

interface Route {
  path: string;
  needs: readonly string[];
}

/** The screens with their ids filled in. */
async function readRoutes(organization: Organization): Promise<Route[]> {
  const folder = new URL('../src/screens/', import.meta.url);
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('route.ts'));
  const files = await Promise.all(names.toSorted().map((name) => import(new URL(name, folder).href) as Promise<{ screens: Route[] }>));
  const { organization: read } = await organization.graphql(`{ organization {
    users(first: 1) { nodes { id } } groups(first: 1) { nodes { id } } roles(first: 1) { nodes { id } }
    roleMappings(first: 1) { nodes { id } } destinations(first: 1) { nodes { id } } } }`);
  const ids: Record<string, string> = {
    'people/:id': read.users.nodes[0].id,
    'groups/:id': read.groups.nodes[0].id,
    'roles/:id': read.roles.nodes[0].id,
    'mappings/:id': read.roleMappings.nodes[0].id,
    'destinations/:id': read.destinations.nodes[0].id,
    'connections/:id': organization.connectionId,
    'jobs/:kind': 'comparisons',
  };
  return files
    .flatMap(({ screens }) => screens)
    .map(({ path, needs }) => {
      const plain = path.replace(/\/:\w+\?$/, '');
      if (!plain.includes(':')) return { path: plain, needs };
      const id = ids[plain];
      if (id === undefined) throw new Error(`${path}: give this spec an object to open`);
      return { path: plain.replace(/:\w+/, encodeURIComponent(id)), needs };
    });
}

let organization: Organization;
let routes: Route[];

test.beforeAll(async () => {
  organization = await makeOrganization('every');
  const [member] = await organization.addUsers(1);
  await organization.scim('POST', '/Groups', {
    schemas: ['urn:ietf:params:scim:schemas:core:2.0:Group'],
    displayName: 'Ward',
    externalId: 'ward',
    members: [{ value: member }],
  });
  const { organization: read } = await organization.graphql('{ organization { groups(first: 1) { nodes { id } } } }');
  const made = await organization.graphql('mutation { roleCreate(input: { name: "Nurse" }) { role { id } userErrors { message } } }');
  const mapped = await organization.graphql(
    'mutation($input: RoleMappingCreateInput!) { roleMappingCreate(input: $input) { userErrors { message } } }',
    { input: { groupId: read.groups.nodes[0].id, roleId: made.roleCreate.role.id } },
  );
  expect(mapped.roleMappingCreate.userErrors).toEqual([]);
  await organization.graphql('mutation($input: DestinationCreateInput!) { destinationCreate(input: $input) { userErrors { message } } }', {
    input: { kind: 'WEBHOOK', url: 'https://receiver.invalid/hook', description: 'Receiver', eventActions: ['USER_PURGED'] },
  });
  routes = await readRoutes(organization);
  expect(routes.length).toBeGreaterThan(30);
});

/** Leads to another screen without signing in again. */
async function lead(page: Page, path: string) {
  await page.evaluate((address) => history.pushState(null, '', address), `/o/${organization.slug}/${path}`);
  await expect(page.locator('.page h1, .full-page h1').first()).toBeVisible();
  await expect(page.locator('.skeleton')).toHaveCount(0);
}

test('axe finds nothing on any screen, and nothing sticks out', async ({ page }) => {
  test.setTimeout(600_000);
  await open(page, organization, 'overview');
  for (const { path } of routes) {
    await test.step(path, async () => {
      await lead(page, path);
      await expect(page.locator('.banner-error')).toHaveCount(0);
      await expectAccessible(page);
      await expectNoSideScroll(page);
      await expectNoSideScroll(page, 2560);
    });
  }
});

const VIEWERS: Record<string, readonly string[]> = {
  'a reader of settings': ['IAM_READ'],
  'an auditor': ['IAM_READ', 'AUDIT_READ'],
  'a help desk': ['IAM_READ', 'USER_READ', 'USER_WRITE'],
  'a reviewer': ['IAM_READ', 'USER_READ', 'REVIEW_WRITE'],
  'an operator of tokens': ['IAM_READ', 'IAM_WRITE', 'TOKEN_MANAGE'],
};

for (const [who, permissions] of Object.entries(VIEWERS)) {
  test(`${who} sees whole screens, or the whole page that says what is missing`, async ({ page }) => {
    test.setTimeout(300_000);
    await open(page, organization, 'overview', await organization.issueKey(...permissions));
    for (const { path, needs } of routes) {
      await test.step(path, async () => {
        await lead(page, path);
        const missing = needs.filter((need) => !permissions.includes(need));
        const heading = page.getByRole('heading', { level: 1 });
        if (missing.length > 0) {
          await expect(heading).toHaveText('403 Forbidden');
          for (const need of missing) await expect(page.locator('#main')).toContainText(need);
          await expect(page.getByRole('navigation', { name: 'Settings' })).toHaveCount(0);
        } else {
          await expect(heading).not.toHaveText('403 Forbidden');
          // Each screen that has a fault is named.
          await expect.soft(page.locator('.banner-error'), path).toHaveCount(0, { timeout: 5_000 });
        }
      });
    }
  });
}
