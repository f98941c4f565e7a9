import { useTranslation } from 'react-i18next';
import { useLocation } from 'wouter';
import { Icon } from '../components/Icon.tsx';
import { MenuButton } from '../components/MenuButton.tsx';
import { useViewer } from './viewer.tsx';

/** Shows the organization, and leads to the same screen of another one. */
export function OrganizationMenu() {
  const { t } = useTranslation();
  const { organization, organizations } = useViewer();
  const [location, navigate] = useLocation();
  const others = organizations.some(({ slug }) => slug === organization.slug) ? organizations : [organization, ...organizations];
  return (
    <MenuButton
      label={t('organization.label', { name: organization.name })}
      className="organization"
      parts={[
        {
          id: 'organizations',
          title: t('organization.switch'),
          choices: others.map(({ slug, name }) => ({ id: slug, text: name, detail: slug })),
          chosen: organization.slug,
          onChoose: (slug) => {
            if (slug !== organization.slug) navigate(location.replace(/^\/o\/[^/]+/, `/o/${encodeURIComponent(slug)}`));
          },
        },
      ]}
    >
      <Icon name="building" />
      <span className="organization-name">{organization.name}</span>
      <Icon name="chevronDown" />
    </MenuButton>
  );
}
