// The fields of a connection, for making one and for changing one.
import { useTranslation } from 'react-i18next';
import { CheckField, RadioField, SelectField, TextField } from '../../components/forms.tsx';
import { Card } from '../../components/Page.tsx';
import type { AdoptionPolicy, DeletionPolicy, Provider, PullAuth } from '../../generated/graphql.ts';
import { PROVIDERS } from './parts.tsx';

export interface Fields {
  name: string;
  provider: Provider;
  deletionPolicy: DeletionPolicy;
  adoptionPolicy: AdoptionPolicy;
  revivalDays: string;
  announcesCursorPaging: boolean;
}

export interface PullFields {
  baseUrl: string;
  auth: PullAuth;
  tokenUrl: string;
  clientId: string;
  scope: string;
  secret: string;
  pageSize: string;
  userFilter: string;
  intervalMinutes: string;
  incrementalMinutes: string;
  shrinkPercent: string;
}

export const NEW_FIELDS: Fields = {
  name: '',
  provider: 'GENERIC',
  deletionPolicy: 'SOFT',
  adoptionPolicy: 'PROPOSE',
  revivalDays: '30',
  announcesCursorPaging: true,
};

export const NEW_PULL: PullFields = {
  baseUrl: '',
  auth: 'BEARER',
  tokenUrl: '',
  clientId: '',
  scope: '',
  secret: '',
  pageSize: '100',
  userFilter: '',
  intervalMinutes: '1440',
  incrementalMinutes: '',
  shrinkPercent: '30',
};

const DELETIONS: readonly DeletionPolicy[] = ['SOFT', 'HARD'];
const ADOPTIONS: readonly AdoptionPolicy[] = ['PROPOSE', 'LINK', 'REFUSE'];
const AUTHS: readonly PullAuth[] = ['BEARER', 'CLIENT_CREDENTIALS'];

interface Props<Values> {
  values: Values;
  onChange: (changes: Partial<Values>) => void;
}

export function GeneralFields({ values, onChange, signsIn }: Props<Fields> & { signsIn: boolean }) {
  const { t } = useTranslation('connections');
  const { t: common } = useTranslation();
  // Auth0 sends nothing over SCIM, and has no server of it.
  const offered = PROVIDERS.filter((each) => signsIn || each !== 'AUTH0' || each === values.provider);
  return (
    <Card title={t('settings.general')}>
      <TextField
        label={t('settings.name')}
        help={t('settings.nameHelp')}
        required
        value={values.name}
        onChange={(name) => onChange({ name })}
      />
      <SelectField
        label={t('settings.provider')}
        help={t('settings.providerHelp')}
        value={values.provider}
        choices={offered.map((value) => ({ value, text: common(`provider.${value}`) }))}
        onChange={(provider) => onChange({ provider })}
      />
    </Card>
  );
}

export function RuleFields({ values, onChange }: Props<Fields>) {
  const { t } = useTranslation('connections');
  return (
    <Card title={t('settings.rules')}>
      <RadioField
        label={t('settings.deletion')}
        value={values.deletionPolicy}
        choices={DELETIONS.map((value) => ({ value, text: t(`deletion.${value}`), help: t(`deletionHelp.${value}`) }))}
        onChange={(deletionPolicy) => onChange({ deletionPolicy })}
      />
      <RadioField
        label={t('settings.adoption')}
        value={values.adoptionPolicy}
        choices={ADOPTIONS.map((value) => ({ value, text: t(`adoption.${value}`), help: t(`adoptionHelp.${value}`) }))}
        onChange={(adoptionPolicy) => onChange({ adoptionPolicy })}
      />
      <TextField
        label={t('settings.revival')}
        help={t('settings.revivalHelp')}
        type="number"
        min={0}
        max={3650}
        required
        value={values.revivalDays}
        onChange={(revivalDays) => onChange({ revivalDays })}
      />
      <CheckField
        label={t('settings.cursors')}
        help={t('settings.cursorsHelp')}
        checked={values.announcesCursorPaging}
        onChange={(announcesCursorPaging) => onChange({ announcesCursorPaging })}
      />
    </Card>
  );
}

interface SourceFieldsProps extends Props<PullFields> {
  /** A secret is stored: an empty field leaves it as it is. */
  hasSecret: boolean;
}

export function SourceFields({ values, onChange, hasSecret }: SourceFieldsProps) {
  const { t } = useTranslation('connections');
  const credentials = values.auth === 'CLIENT_CREDENTIALS';
  return (
    <>
      <Card title={t('settings.source')}>
        <TextField
          label={t('settings.baseUrl')}
          help={t('settings.baseUrlHelp')}
          type="url"
          technical
          required
          value={values.baseUrl}
          onChange={(baseUrl) => onChange({ baseUrl })}
        />
        <RadioField
          label={t('settings.auth')}
          value={values.auth}
          choices={AUTHS.map((value) => ({ value, text: t(`auth.${value}`) }))}
          onChange={(auth) => onChange({ auth })}
        />
        {credentials && (
          <>
            <TextField
              label={t('settings.tokenUrl')}
              type="url"
              technical
              required
              value={values.tokenUrl}
              onChange={(tokenUrl) => onChange({ tokenUrl })}
            />
            <TextField
              label={t('settings.clientId')}
              technical
              required
              value={values.clientId}
              onChange={(clientId) => onChange({ clientId })}
            />
            <TextField label={t('settings.scope')} technical value={values.scope} onChange={(scope) => onChange({ scope })} />
          </>
        )}
        <TextField
          label={credentials ? t('settings.clientSecret') : t('settings.token')}
          help={hasSecret ? t('settings.secretStored') : t('settings.secretHelp')}
          type="password"
          technical
          value={values.secret}
          onChange={(secret) => onChange({ secret })}
        />
        <TextField
          label={t('settings.userFilter')}
          help={t('settings.userFilterHelp')}
          technical
          value={values.userFilter}
          onChange={(userFilter) => onChange({ userFilter })}
        />
        <TextField
          label={t('settings.pageSize')}
          type="number"
          min={1}
          max={1000}
          required
          value={values.pageSize}
          onChange={(pageSize) => onChange({ pageSize })}
        />
      </Card>
      <Card title={t('runs.schedule')}>
        <TextField
          label={t('settings.interval')}
          help={t('settings.intervalHelp')}
          type="number"
          min={5}
          max={44640}
          value={values.intervalMinutes}
          onChange={(intervalMinutes) => onChange({ intervalMinutes })}
        />
        <TextField
          label={t('settings.incremental')}
          help={t('settings.incrementalHelp')}
          type="number"
          min={5}
          max={44640}
          value={values.incrementalMinutes}
          onChange={(incrementalMinutes) => onChange({ incrementalMinutes })}
        />
        <TextField
          label={t('settings.shrink')}
          help={t('settings.shrinkHelp')}
          type="number"
          min={0}
          max={100}
          required
          value={values.shrinkPercent}
          onChange={(shrinkPercent) => onChange({ shrinkPercent })}
        />
      </Card>
    </>
  );
}

/** The number of a field; null if it is empty. */
export const toNumber = (text: string): number | null => (text.trim() === '' ? null : Number(text));

/** The text of a field; null if it is empty. */
export const toText = (text: string): string | null => (text.trim() === '' ? null : text.trim());
