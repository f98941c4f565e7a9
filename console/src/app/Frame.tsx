// What is around each screen: the top bar and the sidebar.
import { type ReactNode, useEffect, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link, useLocation } from 'wouter';
import { Icon } from '../components/Icon.tsx';
import { NotificationsMenu } from './NotificationsMenu.tsx';
import { OrganizationMenu } from './OrganizationMenu.tsx';
import { ProfileMenu, ViewerProfile } from './ProfileMenu.tsx';
import { screenPath } from './paths.ts';
import { MENU_GROUPS, type Screen, menuScreens } from './screens.ts';
import { useSession } from './session.tsx';
import { useOptionalViewer, useViewer } from './viewer.tsx';

function TopBar({ menu }: { menu?: ReactNode }) {
  const { t } = useTranslation();
  const viewer = useOptionalViewer();
  const { credential, signOut } = useSession();
  return (
    <header className="top-bar">
      {menu}
      <Link href="/" className="brand">
        <svg viewBox="0 0 32 32" width="28" height="28" aria-hidden="true" className="brand-mark">
          <rect width="32" height="32" rx="8" />
          <path d="M9 10h14M9 16h9M9 22h6" />
          <path className="brand-check" d="m19 21 2.4 2.6L26 18" />
        </svg>
        <span>{t('frame.brand')}</span>
      </Link>
      {viewer && <OrganizationMenu />}
      <div className="top-bar-end">
        {viewer && <NotificationsMenu />}
        {viewer ? <ViewerProfile /> : <ProfileMenu {...(credential && { onSignOut: () => signOut('asked') })} />}
      </div>
    </header>
  );
}

/** The top bar above one full page. */
export const FullPageFrame = ({ children }: { children: ReactNode }) => (
  <div className="frame frame-full">
    <TopBar />
    <main id="main">{children}</main>
  </div>
);

export function Frame({ current, children }: { current: Screen; children: ReactNode }) {
  const { t } = useTranslation();
  const viewer = useViewer();
  const [location] = useLocation();
  const [open, setOpen] = useState(false);
  // On a narrow screen the sidebar closes when it has led somewhere.
  useEffect(() => setOpen(false), [location]);
  const highlighted = current.menu ? current.path : current.parent;
  return (
    <div className="frame">
      <a className="skip-link" href="#main">
        {t('frame.skip')}
      </a>
      <TopBar
        menu={
          <button
            type="button"
            className="button button-quiet button-bare menu-button"
            aria-expanded={open}
            aria-controls="sidebar"
            aria-label={t('frame.menu')}
            onClick={() => setOpen(!open)}
          >
            <Icon name={open ? 'close' : 'menu'} />
          </button>
        }
      />
      <nav
        id="sidebar"
        className={open ? 'sidebar sidebar-open' : 'sidebar'}
        aria-label={t('frame.sidebar')}
        onKeyDown={(event) => {
          if (event.key === 'Escape') setOpen(false);
        }}
      >
        {MENU_GROUPS.map((group) => {
          const items = menuScreens.filter((screen) => screen.menu?.group === group && viewer.mayAll(screen.needs));
          if (items.length === 0) return null;
          return (
            <MenuGroupList key={group} title={t(`menu.groups.${group}`)}>
              {items.map(({ path, menu }) => (
                <li key={path}>
                  <Link
                    href={screenPath(viewer.organization.slug, path)}
                    aria-current={path === highlighted ? 'page' : undefined}
                  >
                    {menu && <Icon name={menu.icon} />}
                    {menu && t(menu.title)}
                  </Link>
                </li>
              ))}
            </MenuGroupList>
          );
        })}
      </nav>
      <main id="main" tabIndex={-1}>
        {children}
      </main>
    </div>
  );
}

function MenuGroupList({ title, children }: { title: string; children: ReactNode }) {
  const [open, setOpen] = useState(true);
  return (
    <section>
      <button type="button" className="menu-group" aria-expanded={open} onClick={() => setOpen(!open)}>
        {title}
        <Icon name="chevronDown" />
      </button>
      {open && <ul>{children}</ul>}
    </section>
  );
}
