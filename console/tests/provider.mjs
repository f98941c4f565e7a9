// An OpenID provider that others wrote (oidc-provider), with its own pages to log in: a program of its own, because it
// prints what it pleases. `node provider.mjs REDIRECT_URI` prints its address, and runs until it is ended.
import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import Provider from 'oidc-provider';

const [, , redirectUri] = process.argv;
// Whoever logs in is called so, and is in the groups of the first part of the name: `nurses.ada`.
const claimsOf = (login) => ({
  sub: login,
  preferred_username: login,
  name: login,
  groups: [login.split('.')[0]],
});
const key = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' });

let handle;
const listener = createServer((request, response) => handle(request, response));
listener.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${listener.address().port}`;
  const provider = new Provider(issuer, {
    clients: [{ client_id: 'rolecall', client_secret: 'secret-of-rolecall', redirect_uris: [redirectUri] }],
    jwks: { keys: [{ ...key, kid: 'first', alg: 'RS256', use: 'sig' }] },
    cookies: { keys: ['not a secret'] },
    conformIdTokenClaims: false,
    claims: { openid: ['sub'], profile: ['name', 'preferred_username'], groups: ['groups'] },
    scopes: ['openid', 'profile', 'groups'],
    pkce: { required: () => true },
    findAccount: (_, login) => ({ accountId: login, claims: () => claimsOf(login) }),
  });
  handle = provider.callback();
  process.stdout.write(`issuer ${issuer}\n`);
});
