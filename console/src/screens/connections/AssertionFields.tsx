// The fields of an identity provider whose sign-ins a connection accepts.
import { useTranslation } from 'react-i18next';
import { useViewer } from '../../app/viewer.tsx';
import { CheckField, RadioField, SelectField, TextField } from '../../components/forms.tsx';
import { Card } from '../../components/Page.tsx';
import type { Permission, Provider } from '../../generated/graphql.ts';
import { PERMISSIONS } from '../keys/key.ts';
import { ALGORITHMS, CLAIMS, CREATIONS, type ClaimFields, IDENTITIES, type OidcFields, USER_INFO_USES } from './assertion.ts';

interface ConsolePermissionsProps {
  value: readonly Permission[];
  onChange: (value: Permission[]) => void;
}

/** The most that a sign-in may give in the console. Nobody can give more than they hold. */
export function ConsolePermissionsField({ value, onChange }: ConsolePermissionsProps) {
  const { t } = useTranslation('connections');
  const viewer = useViewer();
  const offered = PERMISSIONS.filter((name) => viewer.may(name) || value.includes(name));
  return (
    <fieldset className="field">
      <legend>{t('oidc.console')}</legend>
      <p className="muted field-help">{t('oidc.consoleHelp')}</p>
      <div className="check-grid">
        {offered.map((name) => (
          <CheckField
            key={name}
            label={<code>{name}</code>}
            checked={value.includes(name)}
            onChange={(on) => onChange(PERMISSIONS.filter((each) => (each === name ? on : value.includes(each))))}
          />
        ))}
      </div>
    </fieldset>
  );
}

interface OidcCardsProps {
  values: OidcFields;
  onChange: (changes: Partial<OidcFields>) => void;
  provider: Provider;
  hasSecret: boolean;
  /** A new connection: what is left empty is as the provider documents it. */
  isNew: boolean;
}

export function OidcCards({ values, onChange, provider, hasSecret, isNew }: OidcCardsProps) {
  const { t } = useTranslation('connections');
  return (
    <>
      <Card title={t('oidc.title')}>
        <TextField label={t('oidc.issuer')} help={t('oidc.issuerHelp')} type="url" technical required value={values.issuer} onChange={(issuer) => onChange({ issuer })} />
        <TextField label={t('settings.clientId')} technical required value={values.clientId} onChange={(clientId) => onChange({ clientId })} />
        <TextField
          label={t('settings.clientSecret')}
          help={hasSecret ? t('settings.secretStored') : t('oidc.secretHelp')}
          type="password"
          technical
          value={values.clientSecret}
          onChange={(clientSecret) => onChange({ clientSecret })}
        />
        <TextField label={t('oidc.scopes')} technical value={values.scopes} onChange={(scopes) => onChange({ scopes })} />
        <SelectField<OidcFields['userInfo']>
          label={t('oidc.userInfo')}
          help={t('oidc.userInfoHelp')}
          value={values.userInfo}
          choices={[
            ...(isNew ? [{ value: '' as const, text: t('oidc.userInfoUsual') }] : []),
            ...USER_INFO_USES.map((value) => ({ value, text: t(`userInfoUse.${value}`) })),
          ]}
          onChange={(userInfo) => onChange({ userInfo })}
        />
        <TextField
          label={t('oidc.redirects')}
          help={t('oidc.redirectsHelp')}
          multiline
          technical
          value={values.redirectUrls}
          onChange={(redirectUrls) => onChange({ redirectUrls })}
        />
        <ConsolePermissionsField value={values.consolePermissions} onChange={(consolePermissions) => onChange({ consolePermissions })} />
        {provider === 'ENTRA_ID' && (
          <CheckField label={t('oidc.graph')} help={t('oidc.graphHelp')} checked={values.askGraph} onChange={(askGraph) => onChange({ askGraph })} />
        )}
      </Card>
      <Card title={t('oidc.verify')}>
        <p className="muted">{t('oidc.verifyText')}</p>
        <TextField label={t('oidc.audiences')} help={t('oidc.audiencesHelp')} multiline technical value={values.audiences} onChange={(audiences) => onChange({ audiences })} />
        <fieldset className="field">
          <legend>{t('oidc.algorithms')}</legend>
          <div className="check-grid">
            {ALGORITHMS.map((name) => (
              <CheckField
                key={name}
                label={name === 'EDDSA' ? 'EdDSA' : name}
                checked={values.algorithms.includes(name)}
                onChange={(on) => onChange({ algorithms: ALGORITHMS.filter((each) => (each === name ? on : values.algorithms.includes(each))) })}
              />
            ))}
          </div>
        </fieldset>
        <TextField
          label={t('oidc.skew')}
          help={t('oidc.skewHelp')}
          type="number"
          min={0}
          max={120}
          required
          value={values.skewSeconds}
          onChange={(skewSeconds) => onChange({ skewSeconds })}
        />
        <TextField label={t('oidc.discovery')} help={t('oidc.discoveryHelp')} type="url" technical value={values.discoveryUrl} onChange={(discoveryUrl) => onChange({ discoveryUrl })} />
        <TextField label={t('oidc.jwks')} help={t('oidc.jwksHelp')} type="url" technical value={values.jwksUri} onChange={(jwksUri) => onChange({ jwksUri })} />
        {values.askGraph && provider === 'ENTRA_ID' && (
          <>
            <TextField label={t('oidc.graphUrl')} type="url" technical placeholder="https://graph.microsoft.com/v1.0" value={values.graphBaseUrl} onChange={(graphBaseUrl) => onChange({ graphBaseUrl })} />
            <TextField label={t('settings.tokenUrl')} help={t('oidc.graphTokenHelp')} type="url" technical value={values.graphTokenUrl} onChange={(graphTokenUrl) => onChange({ graphTokenUrl })} />
          </>
        )}
      </Card>
      <Card title={t('oidc.claims')}>
        <p className="muted">{t(isNew ? 'oidc.claimsNew' : 'oidc.claimsText')}</p>
        <details className="claims-details">
          <summary>{t('oidc.claimsOpen')}</summary>
          <div className="form">
            {CLAIMS.map((name) => (
              <TextField
                key={name}
                label={t(`claim.${name}`)}
                technical
                required={!isNew && (name === 'subject' || name === 'userName')}
                value={values.claims[name]}
                onChange={(value) => onChange({ claims: { ...values.claims, [name]: value } })}
              />
            ))}
          </div>
        </details>
      </Card>
    </>
  );
}

interface ClaimRulesCardProps {
  values: ClaimFields;
  onChange: (changes: Partial<ClaimFields>) => void;
  isNew: boolean;
}

export function ClaimRulesCard({ values, onChange, isNew }: ClaimRulesCardProps) {
  const { t } = useTranslation('connections');
  return (
    <Card title={t('claims.title')}>
      <RadioField
        label={t('claims.creation')}
        help={t('claims.creationNote')}
        value={values.accountCreation}
        choices={CREATIONS.map((value) => ({ value, text: t(`creation.${value}`), help: t(`creationHelp.${value}`) }))}
        onChange={(accountCreation) => onChange({ accountCreation })}
      />
      <SelectField<ClaimFields['groupIdentity']>
        label={t('claims.identity')}
        help={t('claims.identityHelp')}
        value={values.groupIdentity}
        choices={[
          ...(isNew ? [{ value: '' as const, text: t('claims.identityUsual') }] : []),
          ...IDENTITIES.map((value) => ({ value, text: t(`identity.${value}`) })),
        ]}
        onChange={(groupIdentity) => onChange({ groupIdentity })}
      />
      <TextField
        label={t('claims.groups')}
        help={t('claims.groupsHelp')}
        multiline
        value={values.claimedGroups}
        onChange={(claimedGroups) => onChange({ claimedGroups })}
      />
      <TextField
        label={t('claims.expire')}
        help={t('claims.expireHelp')}
        type="number"
        min={1}
        max={3650}
        value={values.claimsExpireDays}
        onChange={(claimsExpireDays) => onChange({ claimsExpireDays })}
      />
    </Card>
  );
}
