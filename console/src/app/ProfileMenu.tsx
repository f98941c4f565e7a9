import { useTranslation } from 'react-i18next';
import { Icon } from '../components/Icon.tsx';
import { MenuButton } from '../components/MenuButton.tsx';
import { type Language, type Theme, type Zone, setPreferences, usePreferences } from './preferences.ts';
import { useClient } from 'urql';
import { useExactTime } from '../components/Time.tsx';
import { graphql } from '../generated/index.ts';
import { useSession } from './session.tsx';
import { useViewer } from './viewer.tsx';

const signOutMutation = graphql(`
  mutation FrameSignOut($input: SignOutInput!) {
    signOut(input: $input) { endedAt userErrors { code reason message nextStep } }
  }
`);

/** The profile of a viewer. Signing out ends the session of a link on the server too; a key lives on elsewhere. */
export function ViewerProfile() {
  const viewer = useViewer();
  const client = useClient();
  const { signOut } = useSession();
  const { t } = useTranslation();
  const exact = useExactTime();
  const { kind, expiresAt } = viewer.credential;
  return (
    <ProfileMenu
      name={viewer.name}
      {...(expiresAt && { ends: t('profile.ends', { at: exact(expiresAt) }) })}
      onSignOut={async () => {
        if (kind === 'CONSOLE_SESSION') await client.mutation(signOutMutation, { input: {} }).toPromise();
        signOut('asked');
      }}
    />
  );
}

/** Who has signed in, and how the console looks to that person. */
interface ProfileMenuProps {
  name?: string;
  /** Until when the credential works. */
  ends?: string;
  /** Left out where nobody has signed in. */
  onSignOut?: () => void;
}

export function ProfileMenu({ name, ends, onSignOut }: ProfileMenuProps) {
  const { t } = useTranslation();
  const { theme, language, zone } = usePreferences();
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
        ...(onSignOut
          ? [
              {
                id: 'session',
                ...(ends && { title: ends }),
                choices: [{ id: 'sign-out', text: t('profile.signOut'), icon: 'signOut' as const }],
                onChoose: onSignOut,
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
