// Makes a destination, or changes one. Only what was changed is sent.
import { type FormEvent, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useAction } from '../../app/useAction.ts';
import { useViewer } from '../../app/viewer.tsx';
import { Button } from '../../components/Button.tsx';
import { PlainDialog } from '../../components/ConfirmDialog.tsx';
import { RadioField, SelectField, TextField } from '../../components/forms.tsx';
import { ErrorPanel, type Problem } from '../../components/states.tsx';
import type { DestinationFieldsFragment, DestinationPayload } from '../../generated/graphql.ts';
import { CHOICES, type EventChoice, choiceOf, createMutation, updateMutation } from './destination.ts';

const EVENT_CHOICES = Object.keys(CHOICES) as EventChoice[];
const PAYLOADS: readonly DestinationPayload[] = ['REFERENCE', 'FULL'];

interface DestinationDialogProps {
  /** Left out: a new one. */
  destination: DestinationFieldsFragment | undefined;
  onClose: () => void;
  onDone: (id: string | undefined, secret: string | undefined) => void;
}

export function DestinationDialog({ destination, onClose, onDone }: DestinationDialogProps) {
  const { t } = useTranslation('destinations');
  const { t: common } = useTranslation();
  const viewer = useViewer();
  const [description, setDescription] = useState(destination?.description ?? '');
  const [url, setUrl] = useState(destination?.url ?? 'https://');
  const [payload, setPayload] = useState<DestinationPayload>(destination?.payload ?? 'REFERENCE');
  const before = destination ? choiceOf(destination.eventActions) : undefined;
  const [events, setEvents] = useState<EventChoice | 'keep'>(destination ? (before ?? 'keep') : 'all');
  const [problem, setProblem] = useState<Problem>();
  const { run: create, running: creating } = useAction(createMutation);
  const { run: update, running: updating } = useAction(updateMutation);
  const choices = [...EVENT_CHOICES, ...(destination && before === undefined ? (['keep'] as const) : [])];

  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setProblem(undefined);
    const eventActions = events === 'keep' ? undefined : [...CHOICES[events]];
    if (destination) {
      const answer = await update({
        input: {
          id: destination.id,
          ...(description.trim() !== destination.description && { description: description.trim() }),
          ...(url.trim() !== destination.url && { url: url.trim() }),
          ...(payload !== destination.payload && { payload }),
          ...(eventActions && events !== before && { eventActions }),
        },
      });
      if (answer.problem) setProblem(answer.problem);
      else onDone(destination.id, undefined);
      return;
    }
    const answer = await create({
      input: { kind: 'WEBHOOK', url: url.trim(), description: description.trim(), payload, eventActions: eventActions ?? [] },
    });
    if (answer.problem) setProblem(answer.problem);
    else onDone(answer.payload.destination?.id, answer.payload.secret ?? undefined);
  };

  return (
    <PlainDialog isOpen onClose={onClose} title={destination ? t('editTitle') : t('createTitle')}>
      <form className="form" onSubmit={(event) => void submit(event)}>
        <TextField label={t('description')} help={t('descriptionHelp')} required value={description} onChange={setDescription} autoFocus />
        <TextField label={t('url')} help={t('urlHelp')} type="url" technical required value={url} onChange={setUrl} />
        <SelectField
          label={t('events')}
          help={t(`eventsHelp.${events}`)}
          value={events}
          choices={choices.map((value) => ({ value, text: t(`eventChoices.${value}`) }))}
          onChange={setEvents}
        />
        <RadioField
          label={t('payload')}
          value={payload}
          choices={PAYLOADS.filter((value) => value === 'REFERENCE' || viewer.may('USER_READ') || payload === 'FULL').map((value) => ({
            value,
            text: t(`payloads.${value}`),
            help: t(`payloadHelp.${value}`),
          }))}
          onChange={setPayload}
        />
        {problem && <ErrorPanel problem={problem} />}
        <div className="actions dialog-actions">
          <Button onPress={onClose}>{common('dialog.cancel')}</Button>
          <Button kind="primary" type="submit" busy={creating || updating}>
            {destination ? t('save') : t('create')}
          </Button>
        </div>
      </form>
    </PlainDialog>
  );
}
