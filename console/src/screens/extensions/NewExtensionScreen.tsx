// Registers a schema extension.
import { type FormEvent, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link, useLocation } from 'wouter';
import { screenPath } from '../../app/paths.ts';
import { useAction } from '../../app/useAction.ts';
import { useViewer } from '../../app/viewer.tsx';
import { Button } from '../../components/Button.tsx';
import { RadioField, TextField } from '../../components/forms.tsx';
import { Icon } from '../../components/Icon.tsx';
import { Card, Page } from '../../components/Page.tsx';
import { ErrorPanel, type Problem } from '../../components/states.tsx';
import { notify } from '../../components/toasts.tsx';
import type { AttributeDefinitionInput, ExtendedResource } from '../../generated/graphql.ts';
import { graphql } from '../../generated/index.ts';
import { AttributeFields, type AttributeValues, newAttribute } from './AttributeFields.tsx';
import './extensions.css';

const registerMutation = graphql(`
  mutation SchemaExtensionRegister($input: SchemaExtensionRegisterInput!) {
    schemaExtensionRegister(input: $input) {
      schemaExtension { id name }
      userErrors { code reason message nextStep }
    }
  }
`);

const RESOURCES: readonly ExtendedResource[] = ['USER', 'GROUP'];

const toInput = (values: AttributeValues): AttributeDefinitionInput => ({
  name: values.name.trim(),
  description: values.description.trim(),
  type: values.type,
  multiValued: values.multiValued,
  required: values.required,
  caseExact: values.caseExact,
  mutability: values.mutability,
  returned: values.returned,
  canonicalValues: values.canonicalValues.split(',').map((value) => value.trim()).filter((value) => value !== ''),
  subAttributes: values.type === 'COMPLEX' ? values.subAttributes.map(toInput) : [],
});

export default function NewExtensionScreen() {
  const { t } = useTranslation('extensions');
  const { t: common } = useTranslation();
  const { organization } = useViewer();
  const [, navigate] = useLocation();
  const [urn, setUrn] = useState('urn:ietf:params:scim:schemas:extension:');
  const [resource, setResource] = useState<ExtendedResource>('USER');
  const [name, setName] = useState('');
  const [description, setDescription] = useState('');
  const [attributes, setAttributes] = useState<readonly AttributeValues[]>([newAttribute()]);
  const [problem, setProblem] = useState<Problem>();
  const { run, running } = useAction(registerMutation);
  const list = screenPath(organization.slug, 'extensions');
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setProblem(undefined);
    const answer = await run({
      input: { urn: urn.trim(), resource, name: name.trim(), description: description.trim(), attributes: attributes.map(toInput) },
    });
    if (answer.problem) {
      setProblem(answer.problem);
      return;
    }
    notify({ kind: 'success', text: t('registered', { name: name.trim() }) });
    navigate(list);
  };
  return (
    <Page title={t('newTitle')} lead={t('newLead')}>
      <p className="back-link">
        <Link href={list}>
          <Icon name="arrowLeft" /> {common('menu.extensions')}
        </Link>
      </p>
      <form className="form form-wide" onSubmit={(event) => void submit(event)}>
        <Card title={t('schema')}>
          <TextField label={t('name')} required value={name} onChange={setName} />
          <TextField label={t('urn')} help={t('urnHelp')} required technical value={urn} onChange={setUrn} />
          <RadioField
            label={t('resource')}
            value={resource}
            choices={RESOURCES.map((value) => ({ value, text: t(`resources.${value}`) }))}
            onChange={setResource}
          />
          <TextField label={t('description')} value={description} onChange={setDescription} />
        </Card>
        {attributes.map((attribute, index) => (
          <Card
            key={attribute.key}
            id={`attribute-${attribute.key}`}
            title={attribute.name.trim() || t('attributeNumber', { number: index + 1 })}
            actions={
              attributes.length > 1 && (
                <Button kind="quiet" icon="close" onPress={() => setAttributes(attributes.filter((each) => each !== attribute))}>
                  {t('dropAttribute')}
                </Button>
              )
            }
          >
            <AttributeFields
              values={attribute}
              onChange={(changed) =>
                setAttributes(attributes.map((each) => (each === attribute ? { ...each, ...changed } : each)))
              }
            />
          </Card>
        ))}
        <div className="actions">
          <Button onPress={() => setAttributes([...attributes, newAttribute()])}>{t('addAttribute')}</Button>
        </div>
        {problem && <ErrorPanel problem={problem} />}
        <div className="actions">
          <Button kind="primary" type="submit" busy={running}>
            {t('register')}
          </Button>
          <Button kind="quiet" onPress={() => navigate(list)}>
            {common('dialog.cancel')}
          </Button>
        </div>
      </form>
    </Page>
  );
}
