// Signed files of the server: downloaded with progress, and compared with the digest in their attestation.
import { type Caller, askServer, isRecord } from '../../app/server.ts';
import type { Problem } from '../../components/states.tsx';

export interface Attestation {
  /** The end of the ledger's chain when it was signed. */
  sequence: number;
  hash: string;
  organization: string;
  signedAt: string;
  rows: number | undefined;
  sha256: string | undefined;
}

export interface EvidenceFile {
  bytes: Blob;
  name: string;
  attestation: Attestation;
}

/** Reads what a token says. It does not check the signature: that needs the key from another source than this server. */
export function readToken(token: string): Attestation | undefined {
  const payload = token.split('.')[1];
  if (payload === undefined) return undefined;
  try {
    const text = atob(payload.replaceAll('-', '+').replaceAll('_', '/'));
    const claims: unknown = JSON.parse(new TextDecoder().decode(Uint8Array.from(text, (letter) => letter.charCodeAt(0))));
    if (!isRecord(claims) || typeof claims.sequence !== 'number' || typeof claims.hash !== 'string') return undefined;
    const exported = isRecord(claims.export) ? claims.export : {};
    return {
      sequence: claims.sequence,
      hash: claims.hash,
      organization: String(claims.organization ?? ''),
      signedAt: new Date(Number(claims.iat) * 1000).toISOString(),
      rows: typeof exported.rows === 'number' ? exported.rows : undefined,
      sha256: typeof exported.sha256 === 'string' ? exported.sha256 : undefined,
    };
  } catch {
    return undefined;
  }
}

const LINE_FEED = 10;

/** The table, and the token of its last line. */
function splitAttestation(bytes: Uint8Array<ArrayBuffer>) {
  const end = bytes.lastIndexOf(LINE_FEED, bytes.length - 2) + 1;
  const last = new TextDecoder().decode(bytes.subarray(end));
  const found = /^# attestation,([\w.-]+)\r\n$|^\{"attestation":"([\w.-]+)"\}\n$/.exec(last);
  const token = found?.[1] ?? found?.[2];
  return token === undefined ? undefined : { table: bytes.subarray(0, end), token };
}

async function digest(bytes: Uint8Array<ArrayBuffer>): Promise<string | undefined> {
  // Without TLS browsers offer no digests.
  if (!globalThis.isSecureContext) return undefined;
  const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

export type DownloadResult = { file: EvidenceFile; digestAgrees: boolean | undefined } | { problem: Problem };

export async function download(
  path: string,
  name: string,
  caller: Caller,
  signal: AbortSignal,
  onBytes: (count: number) => void,
): Promise<DownloadResult> {
  const response = await askServer(path, caller, { signal });
  if (!(response instanceof Response)) return { problem: response };
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  let count = 0;
  try {
    const reader = response.body?.getReader();
    for (;;) {
      const part = await reader?.read();
      if (!part || part.done) break;
      chunks.push(part.value);
      count += part.value.length;
      onBytes(count);
    }
  } catch {
    return { problem: { code: 'NETWORK', message: '' } };
  }
  const blob = new Blob(chunks, { type: response.headers.get('content-type') ?? 'application/octet-stream' });
  const bytes = new Uint8Array(await blob.arrayBuffer());
  const parts = splitAttestation(bytes);
  const attestation = parts && readToken(parts.token);
  // A file without its last line was broken off: it must not pass for evidence.
  if (!parts || !attestation) return { problem: { code: 'INCOMPLETE', message: '' } };
  const found = await digest(parts.table);
  return { file: { bytes: blob, name, attestation }, digestAgrees: found === undefined ? undefined : found === attestation.sha256 };
}

/** Hands a file to the browser's downloads. */
export function save(bytes: Blob, name: string) {
  const address = URL.createObjectURL(bytes);
  const link = document.createElement('a');
  link.href = address;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
