// The fields of one attribute of a schema; a complex one has further attributes inside.
import { useTranslation } from 'react-i18next';
import { Button } from '../../components/Button.tsx';
import { CheckField, SelectField, TextField } from '../../components/forms.tsx';
import type { AttributeMutability, AttributeReturned, AttributeType } from '../../generated/graphql.ts';

export interface AttributeValues {
  /** Tells them apart while they have no names. */
  key: number;
  name: string;
  description: string;
  type: AttributeType;
  multiValued: boolean;
  required: boolean;
  caseExact: boolean;
  mutability: AttributeMutability;
  returned: AttributeReturned;
  canonicalValues: string;
  subAttributes: readonly AttributeValues[];
}

let lastKey = 0;

export function newAttribute(): AttributeValues {
  lastKey += 1;
  return {
    key: lastKey,
    name: '',
    description: '',
    type: 'STRING',
    multiValued: false,
    required: false,
    caseExact: false,
    mutability: 'READ_WRITE',
    returned: 'DEFAULT',
    canonicalValues: '',
    subAttributes: [],
  };
}

const TYPES: readonly AttributeType[] = [
  'STRING',
  'BOOLEAN',
  'INTEGER',
  'DECIMAL',
  'DATE_TIME',
  'BINARY',
  'REFERENCE',
  'COMPLEX',
];
const MUTABILITIES: readonly AttributeMutability[] = ['READ_WRITE', 'READ_ONLY', 'IMMUTABLE', 'WRITE_ONLY'];
const RETURNEDS: readonly AttributeReturned[] = ['DEFAULT', 'ALWAYS', 'REQUEST', 'NEVER'];

interface AttributeFieldsProps {
  values: AttributeValues;
  onChange: (changes: Partial<AttributeValues>) => void;
  inner?: boolean;
}

export function AttributeFields({ values, onChange, inner = false }: AttributeFieldsProps) {
  const { t } = useTranslation('extensions');
  const types = inner ? TYPES.filter((type) => type !== 'COMPLEX') : TYPES;
  return (
    <div className="attribute">
      <div className="attribute-row">
        <TextField
          label={t('attributeName')}
          help={inner ? undefined : t('attributeNameHelp')}
          required
          technical
          value={values.name}
          onChange={(name) => onChange({ name })}
        />
        <SelectField
          label={t('type')}
          value={values.type}
          choices={types.map((value) => ({ value, text: t(`types.${value}`) }))}
          onChange={(type) =>
            onChange({
              type,
              ...(type === 'COMPLEX' && values.subAttributes.length === 0 && { subAttributes: [newAttribute()] }),
            })
          }
        />
      </div>
      <TextField label={t('description')} value={values.description} onChange={(description) => onChange({ description })} />
      <div className="attribute-row">
        <SelectField
          label={t('mutability')}
          value={values.mutability}
          choices={MUTABILITIES.map((value) => ({ value, text: t(`mutabilities.${value}`) }))}
          onChange={(mutability) => onChange({ mutability })}
        />
        <SelectField
          label={t('returned')}
          value={values.returned}
          choices={RETURNEDS.map((value) => ({ value, text: t(`returneds.${value}`) }))}
          onChange={(returned) => onChange({ returned })}
        />
      </div>
      <div className="attribute-row">
        <CheckField label={t('required')} checked={values.required} onChange={(required) => onChange({ required })} />
        <CheckField label={t('multiValued')} checked={values.multiValued} onChange={(multiValued) => onChange({ multiValued })} />
        <CheckField label={t('caseExact')} checked={values.caseExact} onChange={(caseExact) => onChange({ caseExact })} />
      </div>
      {values.type === 'STRING' && (
        <TextField
          label={t('values')}
          help={t('valuesHelp')}
          value={values.canonicalValues}
          onChange={(canonicalValues) => onChange({ canonicalValues })}
        />
      )}
      {values.type === 'COMPLEX' && (
        <fieldset className="field inner-attributes">
          <legend>{t('subAttributes')}</legend>
          {values.subAttributes.map((attribute) => (
            <div key={attribute.key} className="inner-attribute">
              <AttributeFields
                inner
                values={attribute}
                onChange={(changed) =>
                  onChange({
                    subAttributes: values.subAttributes.map((each) => (each === attribute ? { ...each, ...changed } : each)),
                  })
                }
              />
              {values.subAttributes.length > 1 && (
                <Button
                  kind="quiet"
                  icon="close"
                  onPress={() => onChange({ subAttributes: values.subAttributes.filter((each) => each !== attribute) })}
                >
                  {t('dropAttribute')}
                </Button>
              )}
            </div>
          ))}
          <div className="actions">
            <Button onPress={() => onChange({ subAttributes: [...values.subAttributes, newAttribute()] })}>
              {t('addSubAttribute')}
            </Button>
          </div>
        </fieldset>
      )}
    </div>
  );
}
