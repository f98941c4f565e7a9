// The schemas that the organization added to its users and groups.
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useQuery } from 'urql';
import { useLocation } from 'wouter';
import { screenPath } from '../../app/paths.ts';
import { useAction } from '../../app/useAction.ts';
import { useViewer } from '../../app/viewer.tsx';
import { Button } from '../../components/Button.tsx';
import { ConfirmDialog } from '../../components/ConfirmDialog.tsx';
import { CopyButton } from '../../components/CopyButton.tsx';
import { type Column, DataTable } from '../../components/DataTable.tsx';
import { TextField } from '../../components/forms.tsx';
import { Card, Page } from '../../components/Page.tsx';
import { EmptyState, ErrorPanel, Skeleton, toProblem } from '../../components/states.tsx';
import { notify } from '../../components/toasts.tsx';
import type { SchemaExtensionsQuery } from '../../generated/graphql.ts';
import { graphql } from '../../generated/index.ts';
import './extensions.css';

const extensionsQuery = graphql(`
  query SchemaExtensions {
    organization {
      id
      schemaExtensions {
        id
        urn
        resource
        name
        description
        createdAt
        attributes {
          ...AttributeFields
          subAttributes { ...AttributeFields }
        }
      }
    }
  }
`);

export const attributeFields = graphql(`
  fragment AttributeFields on AttributeDefinition {
    name
    description
    type
    multiValued
    required
    caseExact
    mutability
    returned
    canonicalValues
  }
`);

const removeMutation = graphql(`
  mutation SchemaExtensionRemove($input: SchemaExtensionRemoveInput!) {
    schemaExtensionRemove(input: $input) {
      removedSchemaExtensionId
      userErrors { code reason message nextStep }
    }
  }
`);

type Extension = NonNullable<NonNullable<SchemaExtensionsQuery['organization']>['schemaExtensions']>[number];
type Attribute = Extension['attributes'][number]['subAttributes'][number] & { path: string };

export default function ExtensionsScreen() {
  const { t } = useTranslation('extensions');
  const { t: common } = useTranslation();
  const viewer = useViewer();
  const [, navigate] = useLocation();
  const [{ data, error }, ask] = useQuery({ query: extensionsQuery });
  const reload = () => ask({ requestPolicy: 'network-only' });
  const extensions = data?.organization?.schemaExtensions;
  const register = viewer.may('IAM_WRITE') && (
    <Button kind="primary" onPress={() => navigate(screenPath(viewer.organization.slug, 'extensions/new'))}>
      {t('register')}
    </Button>
  );
  return (
    <Page title={common('menu.extensions')} lead={t('lead')} actions={register}>
      {error && <ErrorPanel problem={toProblem(error)} onRetry={reload} />}
      {!extensions && !error && <Skeleton lines={6} />}
      {extensions?.length === 0 && (
        <EmptyState icon="mapping" title={t('none')} actions={register}>
          <p>{t('noneText')}</p>
        </EmptyState>
      )}
      {extensions?.map((extension) => (
        <ExtensionCard key={extension.id} extension={extension} onRemoved={reload} />
      ))}
    </Page>
  );
}

function ExtensionCard({ extension, onRemoved }: { extension: Extension; onRemoved: () => void }) {
  const { t } = useTranslation('extensions');
  const { t: common } = useTranslation();
  const viewer = useViewer();
  const [asking, setAsking] = useState(false);
  const [reason, setReason] = useState('');
  const { run } = useAction(removeMutation);
  const attributes: Attribute[] = extension.attributes.flatMap((attribute) => [
    { ...attribute, path: attribute.name },
    ...attribute.subAttributes.map((inner) => ({ ...inner, path: `${attribute.name}.${inner.name}` })),
  ]);
  const columns: Column<Attribute>[] = [
    {
      key: 'name',
      title: t('attribute'),
      header: true,
      cell: (attribute) => (
        <>
          <code>{attribute.path}</code>
          {attribute.description && (
            <>
              <br />
              <small className="muted">{attribute.description}</small>
            </>
          )}
        </>
      ),
    },
    {
      key: 'type',
      title: t('type'),
      cell: (attribute) => (
        <>
          {t(`types.${attribute.type}`)}
          {attribute.multiValued && <> · {t('multiValued')}</>}
        </>
      ),
    },
    { key: 'required', title: t('required'), cell: (attribute) => (attribute.required ? common('state.yes') : common('state.no')) },
    { key: 'mutability', title: t('mutability'), cell: (attribute) => t(`mutabilities.${attribute.mutability}`) },
    { key: 'returned', title: t('returned'), cell: (attribute) => t(`returneds.${attribute.returned}`) },
    { key: 'values', title: t('values'), cell: (attribute) => attribute.canonicalValues.join(', ') },
  ];
  return (
    <Card
      title={extension.name}
      id={`extension-${extension.id}`}
      actions={
        viewer.may('IAM_WRITE') && (
          <Button kind="danger" icon="trash" aria-label={t('removeLabel', { name: extension.name })} onPress={() => setAsking(true)}>
            {t('remove')}
          </Button>
        )
      }
    >
      <p className="urn">
        <code dir="ltr">{extension.urn}</code>
        <CopyButton text={extension.urn} label={t('urn')} />
        <span className="muted">{t(`resources.${extension.resource}`)}</span>
      </p>
      {extension.description && <p>{extension.description}</p>}
      <DataTable
        label={t('attributesOf', { name: extension.name })}
        columns={columns}
        rows={attributes}
        rowKey={(attribute) => attribute.path}
      />
      <ConfirmDialog
        isOpen={asking}
        onClose={() => setAsking(false)}
        title={t('removeTitle', { name: extension.name })}
        consequences={[t('removeValues'), t('removeLater'), t('removeUndo')]}
        typed={{ label: t('removeTyped', { name: extension.name }), expected: extension.name.trim() }}
        confirmLabel={t('remove')}
        danger
        onConfirm={async () => {
          const { problem } = await run({ input: { id: extension.id, reason: reason.trim() || null } });
          if (!problem) {
            notify({ kind: 'success', text: t('removed', { name: extension.name }) });
            onRemoved();
          }
          return problem;
        }}
      >
        <TextField label={common('dialog.reason')} value={reason} onChange={setReason} maxLength={1000} />
      </ConfirmDialog>
    </Card>
  );
}
