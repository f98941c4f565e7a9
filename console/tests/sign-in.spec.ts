// A browser signs in to the console at an identity provider that others wrote: at the provider's own pages, with rights
// that follow from the groups that the provider tells. A person without a mapped role gets no further.
import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { type Browser, type Page } from '@playwright/test';
import { type Organization, expect, makeOrganization, test } from './support.ts';

let organization: Organization;
let provider: ChildProcess;
let callback: string;

/** Starts the provider; returns its address. */
async function startProvider(redirectUri: string) {
  provider = spawn(process.execPath, [fileURLToPath(new URL('provider.mjs', import.meta.url)), redirectUri], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  return new Promise<string>((resolve, reject) => {
    let printed = '';
    provider.once('exit', (status) => reject(new Error(`the provider ended: ${status}`)));
    provider.stdout?.on('data', (chunk) => {
      printed += String(chunk);
      const issuer = /^issuer (\S+)$/m.exec(printed)?.[1];
      if (issuer !== undefined) resolve(issuer);
    });
  });
}

test.beforeAll(async () => {
  organization = await makeOrganization('sign-in', 'GENERIC');
  const { graphql } = organization;
  const make = async (mutation: string, wanted: string, input: object) => {
    const kind = `${mutation[0]?.toUpperCase()}${mutation.slice(1)}Input`;
    const data = await graphql(
      `mutation($input: ${kind}!) { done: ${mutation}(input: $input) { ${wanted} userErrors { message } } }`,
      { input },
    );
    expect(data.done.userErrors).toEqual([]);
    return data.done;
  };
  const wanted = 'connection { id assertionSource { oidc { redirectUri } } }';
  const { connection } = await make('connectionCreate', wanted, {
    name: 'Staff sign-in',
    provider: 'GENERIC',
    assertion: {
      oidc: {
        issuer: 'https://provider.example',
        clientId: 'rolecall',
        scopes: ['openid', 'profile', 'groups'],
        consolePermissions: ['IAM_READ', 'AUDIT_READ'],
      },
    },
    claims: { groupIdentity: 'DISPLAY_NAME' },
  });
  // The provider registers the address of this connection.
  const { redirectUri } = connection.assertionSource.oidc;
  callback = new URL(redirectUri).pathname;
  const issuer = await startProvider(redirectUri);
  const oidc = { issuer, clientSecret: 'secret-of-rolecall' };
  await make('connectionUpdate', 'connection { id }', { id: connection.id, assertion: { oidc } });
  const { role } = await make('roleCreate', 'role { id }', { name: 'Console reader', permissions: ['IAM_READ', 'TOKEN_MANAGE'] });
  const awaits = { connectionId: connection.id, attribute: 'DISPLAY_NAME', value: 'administrators' };
  await make('roleMappingCreate', 'roleMapping { id }', { awaits, roleId: role.id });
  for (const userName of ['administrators.ada', 'visitors.eve']) await make('userCreate', 'user { id }', { userName });
  await make('organizationUpdate', 'organization { id }', { integrationMode: 'SIGN_IN' });
});

test.afterAll(() => {
  provider.kill();
});

/** A person at a browser without any cookie. The provider's pages name a font that lies elsewhere. */
async function newPage(browser: Browser) {
  const context = await browser.newContext();
  await context.route(
    (url) => url.hostname !== '127.0.0.1',
    (route) => route.abort(),
  );
  return context.newPage();
}

/** From the console to the provider, and through its pages. */
async function logIn(page: Page, login: string) {
  await page.goto('/');
  await page.getByLabel('Organization', { exact: true }).fill(organization.slug);
  await page.getByRole('button', { name: 'Continue to the identity provider' }).click();
  await page.locator('input[name=login]').fill(login);
  await page.locator('input[name=password]').fill('any');
  await page.locator('button[type=submit]').click();
  // The provider asks whether the application may know who it is.
  await page.locator('button[type=submit]').filter({ hasText: 'Continue' }).click();
}

test('the groups of the provider decide what the console shows', async ({ browser }) => {
  test.slow();
  const page = await newPage(browser);
  await logIn(page, 'administrators.ada');
  await expect(page).toHaveURL(new RegExp(`/o/${organization.slug}/overview$`));
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('SCIM overview');
  // Of what the role names, only what the connection allows: reading, and no tokens.
  const sidebar = page.getByRole('navigation', { name: 'Settings' });
  await sidebar.getByRole('link', { name: 'Sign-in (SSO)', exact: true }).click();
  await expect(page.locator('#how')).toContainText('Staff sign-in');
  await expect(page.getByRole('link', { name: 'Add an identity provider' })).toHaveCount(0);
  const { organization: read } = await organization.graphql(
    '{ organization { user(userName: "administrators.ada") { roles { role { name } sources { saidAtSignIn { text } } } } } }',
  );
  expect(read.user.roles[0].role.name).toBe('Console reader');
  expect(read.user.roles[0].sources[0].saidAtSignIn.text).toContain('said by Staff sign-in at sign-in on');
  // The session is in the memory of the page only.
  expect(page.url()).not.toContain('link=');
  await page.reload();
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('Sign in');
  await page.context().close();
});

test('a person without a mapped role is refused', async ({ browser }) => {
  test.slow();
  const page = await newPage(browser);
  await logIn(page, 'visitors.eve');
  await expect(page.locator('body')).toContainText('none of your roles opens the console');
  expect(new URL(page.url()).pathname).toBe(callback);
  await page.goto(`/o/${organization.slug}/overview`);
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('Sign in');
  await page.context().close();
});
