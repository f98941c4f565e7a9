// Fields to choose a role, a group or a person: typing asks the server.
import { useEffect, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Button as AriaButton } from 'react-aria-components/Button';
import { ComboBox } from 'react-aria-components/ComboBox';
import { Input } from 'react-aria-components/Input';
import { Label } from 'react-aria-components/Label';
import { ListBox, ListBoxItem } from 'react-aria-components/ListBox';
import { Popover } from 'react-aria-components/Popover';
import { Text } from 'react-aria-components/Text';
import { useQuery } from 'urql';
import { Icon } from '../../components/Icon.tsx';
import { graphql } from '../../generated/index.ts';
import './access.css';

const TYPING_MILLISECONDS = 200;

export interface Choice {
  id: string;
  /** Empty while it is not known. */
  name: string;
  detail?: string;
}

interface PickerProps {
  label: string;
  chosen: Choice | undefined;
  onChoose: (choice: Choice | undefined) => void;
  help?: string;
  isRequired?: boolean;
}

interface PickerFieldProps extends PickerProps {
  choices: readonly Choice[];
  loading: boolean;
  text: string;
  onText: (text: string) => void;
}

function PickerField({ label, chosen, onChoose, help, isRequired, choices, loading, text, onText }: PickerFieldProps) {
  const { t } = useTranslation('access');
  return (
    <ComboBox
      className="field picker"
      items={choices}
      inputValue={text}
      onInputChange={onText}
      value={chosen?.id ?? null}
      onChange={(key) => {
        const choice = choices.find(({ id }) => id === key);
        if (choice) onText(choice.name);
        onChoose(choice);
      }}
      menuTrigger="input"
      allowsEmptyCollection
      isRequired={isRequired ?? false}
    >
      <Label>{label}</Label>
      <div className="picker-line">
        <Input dir="auto" />
        <AriaButton className="button button-quiet button-bare">
          <Icon name={loading ? 'spinner' : 'chevronDown'} spin={loading} />
        </AriaButton>
      </div>
      {help && (
        <Text slot="description" className="muted">
          {help}
        </Text>
      )}
      <Popover className="popover picker-popover">
        <ListBox<Choice> className="menu picker-list" renderEmptyState={() => <p className="muted picker-none">{loading ? t('picker.loading') : t('picker.none')}</p>}>
          {(choice) => (
            <ListBoxItem id={choice.id} textValue={choice.name} className="picker-item">
              <span dir="auto">{choice.name}</span>
              {choice.detail && <small className="muted"> {choice.detail}</small>}
            </ListBoxItem>
          )}
        </ListBox>
      </Popover>
    </ComboBox>
  );
}

/** What is typed, a moment later; not what was chosen. */
function useTyped(chosen: Choice | undefined) {
  const [text, setText] = useState(chosen?.name ?? '');
  const [asked, setAsked] = useState('');
  useEffect(() => {
    // A choice from outside, such as an address, fills the field as soon as its name is known.
    if (chosen === undefined) setText('');
    else if (chosen.name) setText(chosen.name);
  }, [chosen?.id, chosen?.name]);
  useEffect(() => {
    const timer = setTimeout(() => setAsked(text === chosen?.name ? '' : text.trim()), TYPING_MILLISECONDS);
    return () => clearTimeout(timer);
  }, [text, chosen?.name]);
  return { text, setText, asked };
}

const rolePickerQuery = graphql(`
  query RolePicker($search: String) {
    organization {
      id
      roles(first: 50, filter: { search: $search }, orderBy: { field: NAME }) {
        nodes { id name description management }
      }
    }
  }
`);

export function RolePicker(props: PickerProps) {
  const { t } = useTranslation('access');
  const { text, setText, asked } = useTyped(props.chosen);
  const [{ data, fetching }] = useQuery({ query: rolePickerQuery, variables: { search: asked || null } });
  const choices = (data?.organization?.roles?.nodes ?? []).map(({ id, name, management }) => ({
    id,
    name,
    ...(management && { detail: t('management') }),
  }));
  return <PickerField {...props} choices={choices} loading={fetching} text={text} onText={setText} />;
}

const groupPickerQuery = graphql(`
  query GroupPicker($search: String) {
    organization {
      id
      groups(first: 50, filter: { search: $search }, orderBy: { field: DISPLAY_NAME }) {
        nodes { id displayName connection { id name } }
      }
    }
  }
`);

export function GroupPicker(props: PickerProps) {
  const { text, setText, asked } = useTyped(props.chosen);
  const [{ data, fetching }] = useQuery({ query: groupPickerQuery, variables: { search: asked || null } });
  const choices = (data?.organization?.groups?.nodes ?? []).map(({ id, displayName, connection }) => ({
    id,
    name: displayName,
    ...(connection && { detail: connection.name }),
  }));
  return <PickerField {...props} choices={choices} loading={fetching} text={text} onText={setText} />;
}

const personPickerQuery = graphql(`
  query PersonPicker($search: String) {
    organization {
      id
      users(first: 50, filter: { search: $search }, orderBy: { field: USER_NAME }) {
        nodes { id userName displayName }
      }
    }
  }
`);

export function PersonPicker(props: PickerProps) {
  const { text, setText, asked } = useTyped(props.chosen);
  const [{ data, fetching }] = useQuery({ query: personPickerQuery, variables: { search: asked || null } });
  const choices = (data?.organization?.users?.nodes ?? []).map(({ id, userName, displayName }) => ({
    id,
    name: displayName,
    detail: userName,
  }));
  return <PickerField {...props} choices={choices} loading={fetching} text={text} onText={setText} />;
}

const connectionChoicesQuery = graphql(`
  query ConnectionChoices {
    organization {
      id
      connections(first: 100, orderBy: { field: NAME }) { nodes { id name } }
    }
  }
`);

/** The connections, for filters; empty for whoever may not read them. */
export function useConnectionChoices(pause: boolean): { value: string; text: string }[] {
  const [{ data }] = useQuery({ query: connectionChoicesQuery, pause });
  return (data?.organization?.connections?.nodes ?? []).map(({ id, name }) => ({ value: id, text: name }));
}

const nameQuery = graphql(`
  query NameOfNode($id: ID!, $people: Boolean!) {
    node(id: $id) {
      id
      ... on Role { name }
      ... on Group { displayName }
      ... on User @include(if: $people) { displayName }
      ... on IdentitySource { connectionName: name }
    }
  }
`);

/** The name of what an address names by its id. */
export function useNameOf(id: string | undefined, people: boolean): string | undefined {
  const [{ data }] = useQuery({ query: nameQuery, variables: { id: id ?? '', people }, pause: id === undefined });
  const node = data?.node;
  if (!node) return undefined;
  if ('displayName' in node) return node.displayName;
  if ('name' in node) return node.name;
  if ('connectionName' in node) return node.connectionName;
  return undefined;
}
