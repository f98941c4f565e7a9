// Who has signed in. A reload forgets it: nothing of it is stored.
import { type ReactNode, createContext, use, useCallback, useMemo, useState } from 'react';
import type { Credential } from './client.ts';

export type SignOutReason = 'asked' | 'refused';

interface Session {
  credential: Credential | undefined;
  /** Why the last session ended; undefined if none has. */
  ended: SignOutReason | undefined;
  signIn: (credential: Credential) => void;
  signOut: (reason: SignOutReason) => void;
}

const SessionContext = createContext<Session | undefined>(undefined);

export function SessionProvider({ children }: { children: ReactNode }) {
  const [credential, setCredential] = useState<Credential>();
  const [ended, setEnded] = useState<SignOutReason>();
  const signIn = useCallback((next: Credential) => {
    setEnded(undefined);
    setCredential(next);
  }, []);
  const signOut = useCallback((reason: SignOutReason) => {
    setCredential(undefined);
    setEnded(reason);
  }, []);
  const session = useMemo(() => ({ credential, ended, signIn, signOut }), [credential, ended, signIn, signOut]);
  return <SessionContext value={session}>{children}</SessionContext>;
}

export function useSession(): Session {
  const session = use(SessionContext);
  if (!session) throw new Error('useSession outside of SessionProvider');
  return session;
}
