// The fields of an identity provider that speaks SAML.
import { useId } from 'react';
import { useTranslation } from 'react-i18next';
import { CheckField, RadioField, SelectField, TextField } from '../../components/forms.tsx';
import { Card } from '../../components/Page.tsx';
import type { Provider } from '../../generated/graphql.ts';
import { ConsolePermissionsField } from './AssertionFields.tsx';
import { CLAIMS } from './assertion.ts';
import { METADATA_FORMS, type MetadataFields, NAME_ID_FORMATS, type SamlFields } from './saml.ts';

interface Props<Values> {
  values: Values;
  onChange: (changes: Partial<Values>) => void;
}

/** Where the metadata are read, or what they are. */
export function MetadataInputs({ values, onChange }: Props<MetadataFields>) {
  const { t } = useTranslation('connections');
  const file = useId();
  const read = async (chosen: File | undefined) => {
    if (chosen) onChange({ xml: await chosen.text() });
  };
  return (
    <>
      <RadioField
        label={t('saml.form')}
        value={values.form}
        choices={METADATA_FORMS.map((value) => ({ value, text: t(`saml.forms.${value}`), help: t(`saml.formHelp.${value}`) }))}
        onChange={(form) => onChange({ form })}
      />
      {values.form === 'url' ? (
        <TextField label={t('saml.url')} help={t('saml.urlHelp')} type="url" technical required value={values.url} onChange={(url) => onChange({ url })} />
      ) : (
        <>
          <div className="field">
            <label htmlFor={file}>{t('saml.file')}</label>
            <input id={file} type="file" accept=".xml,application/xml,text/xml,application/samlmetadata+xml" onChange={(event) => void read(event.target.files?.[0])} />
          </div>
          <TextField label={t('saml.xml')} help={t('saml.xmlHelp')} multiline technical required value={values.xml} onChange={(xml) => onChange({ xml })} />
        </>
      )}
      <TextField label={t('saml.entity')} help={t('saml.entityHelp')} technical value={values.entityId} onChange={(entityId) => onChange({ entityId })} />
    </>
  );
}

/** A new connection: which identity provider it is. */
export function MetadataCard(props: Props<MetadataFields>) {
  const { t } = useTranslation('connections');
  return (
    <Card title={t('saml.title')}>
      <MetadataInputs {...props} />
      <p className="muted">{t('saml.afterwards')}</p>
    </Card>
  );
}

interface SamlCardsProps extends Props<SamlFields> {
  provider: Provider;
  isNew: boolean;
}

export function SamlCards({ values, onChange, provider, isNew }: SamlCardsProps) {
  const { t } = useTranslation('connections');
  const formats = NAME_ID_FORMATS.map((value) => ({ value: value as string, text: t(`nameId.${value.slice(value.lastIndexOf(':') + 1) as 'persistent'}`) }));
  // One that was set by other means stays to be chosen.
  const other = values.nameIdFormat !== '' && !formats.some(({ value }) => value === values.nameIdFormat);
  return (
    <>
      <Card title={t('saml.signIn')}>
        <SelectField
          label={t('saml.nameId')}
          help={t('saml.nameIdHelp')}
          value={values.nameIdFormat}
          choices={[
            { value: '', text: t('saml.nameIdAny') },
            ...formats,
            ...(other ? [{ value: values.nameIdFormat, text: values.nameIdFormat }] : []),
          ]}
          onChange={(nameIdFormat) => onChange({ nameIdFormat })}
        />
        <CheckField label={t('saml.initiated')} help={t('saml.initiatedHelp')} checked={values.allowIdpInitiated} onChange={(allowIdpInitiated) => onChange({ allowIdpInitiated })} />
        <TextField
          label={t('oidc.redirects')}
          help={t('oidc.redirectsHelp')}
          multiline
          technical
          value={values.redirectUrls}
          onChange={(redirectUrls) => onChange({ redirectUrls })}
        />
        <ConsolePermissionsField value={values.consolePermissions} onChange={(consolePermissions) => onChange({ consolePermissions })} />
        {(provider === 'ENTRA_ID' || values.askGraph) && (
          <CheckField label={t('saml.graph')} help={t('saml.graphHelp')} checked={values.askGraph} onChange={(askGraph) => onChange({ askGraph })} />
        )}
        {values.askGraph && (
          <>
            <TextField label={t('settings.clientId')} technical required value={values.graphClientId} onChange={(graphClientId) => onChange({ graphClientId })} />
            <TextField
              label={t('settings.clientSecret')}
              help={isNew ? t('settings.secretHelp') : t('settings.secretStored')}
              type="password"
              technical
              value={values.graphSecret}
              onChange={(graphSecret) => onChange({ graphSecret })}
            />
            <TextField label={t('oidc.graphUrl')} type="url" technical placeholder="https://graph.microsoft.com/v1.0" value={values.graphBaseUrl} onChange={(graphBaseUrl) => onChange({ graphBaseUrl })} />
            <TextField label={t('settings.tokenUrl')} help={t('saml.graphTokenHelp')} type="url" technical value={values.graphTokenUrl} onChange={(graphTokenUrl) => onChange({ graphTokenUrl })} />
          </>
        )}
      </Card>
      <Card title={t('saml.verify')}>
        <p className="muted">{t('saml.verifyText')}</p>
        <TextField label={t('saml.audiences')} help={t('saml.audiencesHelp')} multiline technical value={values.audiences} onChange={(audiences) => onChange({ audiences })} />
        <TextField label={t('saml.recipients')} help={t('saml.recipientsHelp')} multiline technical value={values.recipients} onChange={(recipients) => onChange({ recipients })} />
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
      </Card>
      <Card title={t('saml.attributes')}>
        <p className="muted">{t(isNew ? 'saml.attributesNew' : 'saml.attributesText')}</p>
        {!isNew && (
          <CheckField label={t('saml.usual')} help={t('saml.usualHelp')} checked={values.usualAttributes} onChange={(usualAttributes) => onChange({ usualAttributes })} />
        )}
        {!values.usualAttributes && (
          <details className="claims-details">
            <summary>{t('saml.attributesOpen')}</summary>
            <div className="form">
              {CLAIMS.map((name) => (
                <TextField
                  key={name}
                  label={t(`claim.${name}`)}
                  technical
                  maxLength={2048}
                  value={values.attributes[name]}
                  onChange={(value) => onChange({ attributes: { ...values.attributes, [name]: value } })}
                />
              ))}
            </div>
          </details>
        )}
      </Card>
    </>
  );
}
