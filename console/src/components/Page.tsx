// The frame of one screen: its title in the tab and as the only h1, the way back, and its actions.
import { type ReactNode, useEffect, useRef } from 'react';
import { useTranslation } from 'react-i18next';
import { Link, useLocation } from 'wouter';
import { useViewer } from '../app/viewer.tsx';
import { menuScreens } from '../app/screens.ts';
import { screenPath } from '../app/paths.ts';
import { Icon } from './Icon.tsx';

/** The title of the tab; undefined while it is not known yet. */
export function useTitle(title: string | undefined, organization?: string) {
  useEffect(() => {
    if (title !== undefined) document.title = [title, organization, 'rolecall'].filter(Boolean).join(' · ');
  }, [title, organization]);
}

let lastPath: string | undefined;

interface PageProps {
  title: string;
  /** One sentence below the title. */
  lead?: ReactNode;
  /** Names of the levels above, the outermost first. */
  breadcrumb?: readonly { text: string; href?: string }[];
  actions?: ReactNode;
  children: ReactNode;
}

export function Page({ title, lead, breadcrumb, actions, children }: PageProps) {
  const { organization } = useViewer();
  const [location] = useLocation();
  const heading = useRef<HTMLHeadingElement>(null);
  useTitle(title, organization.name);
  useEffect(() => {
    // Screen readers hear that the page is another one; the first page of a visit is announced by itself.
    if (lastPath !== undefined && lastPath !== location) heading.current?.focus();
    lastPath = location;
  }, [location]);
  return (
    <div className="page">
      {breadcrumb && <Breadcrumb levels={breadcrumb} />}
      <div className="page-head">
        <h1 ref={heading} tabIndex={-1}>
          {title}
        </h1>
        {actions && <div className="actions">{actions}</div>}
      </div>
      {lead && <p className="lead">{lead}</p>}
      {children}
    </div>
  );
}

/** The levels above a screen, between arrows to the previous and the next screen of its group. */
function Breadcrumb({ levels }: { levels: NonNullable<PageProps['breadcrumb']> }) {
  const { t } = useTranslation();
  const viewer = useViewer();
  const [location] = useLocation();
  const path = (screen: { path: string }) => screenPath(viewer.organization.slug, screen.path);
  const current = menuScreens.find((screen) => path(screen) === location);
  const group = menuScreens.filter((screen) => screen.menu?.group === current?.menu?.group && viewer.mayAll(screen.needs));
  const place = current ? group.indexOf(current) : -1;
  const arrow = (step: -1 | 1) => {
    const screen = place < 0 ? undefined : group[place + step];
    const icon = <Icon name={step < 0 ? 'arrowLeft' : 'arrowRight'} />;
    if (!screen?.menu) return <span className="crumb-arrow crumb-arrow-off">{icon}</span>;
    const label = t(step < 0 ? 'page.previous' : 'page.next', { name: t(screen.menu.title) });
    return (
      <Link className="crumb-arrow" href={path(screen)} aria-label={label} title={label}>
        {icon}
      </Link>
    );
  };
  return (
    <div className="breadcrumb">
      {arrow(-1)}
      <nav aria-label={t('page.breadcrumb')}>
        <ol>
          {levels.map((level, index) => (
            <li key={level.text} aria-current={index === levels.length - 1 ? 'page' : undefined}>
              {level.href ? <Link href={level.href}>{level.text}</Link> : level.text}
            </li>
          ))}
        </ol>
      </nav>
      {arrow(1)}
    </div>
  );
}

interface CardProps {
  title: string;
  /** Stand in the heading's line. */
  actions?: ReactNode;
  children: ReactNode;
  id?: string;
}

export function Card({ title, actions, children, id }: CardProps) {
  const ref = useRef<HTMLElement>(null);
  const heading = `card-${id ?? title.replaceAll(/\W+/g, '-').toLowerCase()}`;
  return (
    <section className="card" id={id} aria-labelledby={heading} ref={ref}>
      <div className="card-head">
        <h2 id={heading}>{title}</h2>
        {actions && <div className="actions">{actions}</div>}
      </div>
      {children}
    </section>
  );
}
