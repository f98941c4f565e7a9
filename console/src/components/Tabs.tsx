// The parts of a screen, each with an address of its own. On a narrow screen the row scrolls sideways.
import { type ReactNode, useEffect, useRef } from 'react';
import { Link } from 'wouter';

export interface Tab {
  key: string;
  href: string;
  text: ReactNode;
  current: boolean;
}

export function Tabs({ label, tabs }: { label: string; tabs: readonly Tab[] }) {
  const list = useRef<HTMLUListElement>(null);
  const current = tabs.find((tab) => tab.current)?.key;
  useEffect(() => {
    const row = list.current;
    const link = row?.querySelector<HTMLElement>('[aria-current]');
    if (!row || !link) return;
    // Only the row moves, never the page.
    const [seen, place] = [row.getBoundingClientRect(), link.getBoundingClientRect()];
    row.scrollLeft += place.left + place.width / 2 - (seen.left + seen.width / 2);
  }, [current]);
  return (
    <nav className="tabs" aria-label={label}>
      <ul ref={list}>
        {tabs.map((tab) => (
          <li key={tab.key}>
            <Link href={tab.href} aria-current={tab.current ? 'page' : undefined}>
              {tab.text}
            </Link>
          </li>
        ))}
      </ul>
    </nav>
  );
}
