// Notifications: shown for a moment, errors until they are closed; the bell keeps those of this visit.
import { useEffect, useState, useSyncExternalStore } from 'react';
import { useTranslation } from 'react-i18next';
import { Button } from './Button.tsx';
import { Icon } from './Icon.tsx';

const SHOWN_MILLISECONDS = 8_000;
const MAX_KEPT = 50;

export interface Notice {
  id: number;
  at: string;
  kind: 'success' | 'info' | 'error';
  text: string;
  detail?: string;
  shown: boolean;
}

let notices: readonly Notice[] = [];
let lastId = 0;
const listeners = new Set<() => void>();

function replace(next: readonly Notice[]) {
  notices = next.slice(-MAX_KEPT);
  for (const listener of listeners) listener();
}

export function notify(notice: Pick<Notice, 'kind' | 'text' | 'detail'>) {
  lastId += 1;
  replace([...notices, { ...notice, id: lastId, at: new Date().toISOString(), shown: true }]);
}

export const hideNotice = (id: number) =>
  replace(notices.map((notice) => (notice.id === id ? { ...notice, shown: false } : notice)));

export const clearNotices = () => replace([]);

export const useNotices = () =>
  useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    () => notices,
  );

function Toast({ notice }: { notice: Notice }) {
  const { t } = useTranslation();
  const [held, setHeld] = useState(false);
  useEffect(() => {
    if (notice.kind === 'error' || held) return;
    const timer = setTimeout(() => hideNotice(notice.id), SHOWN_MILLISECONDS);
    return () => clearTimeout(timer);
  }, [notice, held]);
  return (
    <li
      className={`toast toast-${notice.kind}`}
      onMouseEnter={() => setHeld(true)}
      onMouseLeave={() => setHeld(false)}
      onFocus={() => setHeld(true)}
      onBlur={() => setHeld(false)}
    >
      <Icon name={notice.kind === 'success' ? 'check' : notice.kind === 'error' ? 'alert' : 'info'} />
      <div>
        <p>{notice.text}</p>
        {notice.detail && <p className="muted">{notice.detail}</p>}
      </div>
      <Button kind="quiet" icon="close" aria-label={t('toast.close')} onPress={() => hideNotice(notice.id)} />
    </li>
  );
}

export function ToastRegion() {
  const { t } = useTranslation();
  const shown = useNotices().filter((notice) => notice.shown);
  return (
    <section className="toasts" aria-label={t('toast.region')}>
      <ul aria-live="polite" aria-relevant="additions">
        {shown.map((notice) => (
          <Toast key={notice.id} notice={notice} />
        ))}
      </ul>
    </section>
  );
}
