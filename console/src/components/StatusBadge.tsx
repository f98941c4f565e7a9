import type { ReactNode } from 'react';

export type Tone = 'good' | 'warning' | 'bad' | 'quiet' | 'info';

/** A state as a word; the colour repeats it. */
export const StatusBadge = ({ tone, children }: { tone: Tone; children: ReactNode }) => (
  <span className={`badge badge-${tone}`}>
    <span className="badge-dot" aria-hidden="true" />
    {children}
  </span>
);
