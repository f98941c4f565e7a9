import { useTranslation } from 'react-i18next';
import { Icon } from '../components/Icon.tsx';
import { MenuButton } from '../components/MenuButton.tsx';
import { type Language, type Theme, type Zone, setPreferences, usePreferences } from './preferences.ts';
import { useSession } from './session.tsx';

/** Who has signed in, and how the console looks to that person. */
export function ProfileMenu({ name, signedIn }: { name: string | undefined; signedIn: boolean }) {
  const { t } = useTranslation();
  const { theme, language, zone } = usePreferences();
  const { signOut } = useSession();
  return (
    <MenuButton
      label={name === undefined ? t('profile.preferences') : t('profile.label', { name })}
      className="profile"
      parts={[
        {
          id: 'theme',
          title: t('profile.theme'),
          choices: (['system', 'light', 'dark'] as const).map((id) => ({ id, text: t(`profile.themes.${id}`) })),
          chosen: theme,
          onChoose: (id) => setPreferences({ theme: id as Theme }),
        },
        {
          id: 'language',
          title: t('profile.language'),
          choices: [
            { id: 'en', text: 'English' },
            { id: 'de', text: 'Deutsch' },
          ],
          chosen: language,
          onChoose: (id) => setPreferences({ language: id as Language }),
        },
        {
          id: 'zone',
          title: t('profile.zone'),
          choices: [
            { id: 'local', text: t('profile.zones.local'), detail: Intl.DateTimeFormat().resolvedOptions().timeZone },
            { id: 'utc', text: 'UTC' },
          ],
          chosen: zone,
          onChoose: (id) => setPreferences({ zone: id as Zone }),
        },
        ...(signedIn
          ? [
              {
                id: 'session',
                choices: [{ id: 'sign-out', text: t('profile.signOut'), icon: 'signOut' as const }],
                onChoose: () => signOut('asked'),
              },
            ]
          : []),
      ]}
    >
      <Icon name="person" />
      {name !== undefined && <span className="profile-name">{name}</span>}
      <Icon name="chevronDown" />
    </MenuButton>
  );
}
