// Makes a destination, or changes one. Only what was changed is sent.
import { type FormEvent, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useAction } from '../../app/useAction.ts';
import { useViewer } from '../../app/viewer.tsx';
import { Button } from '../../components/Button.tsx';
import { PlainDialog } from '../../components/ConfirmDialog.tsx';
import { RadioField, SelectField, TextField } from '../../components/forms.tsx';
import { ErrorPanel, type Problem } from '../../components/states.tsx';
import type { DestinationFieldsFragment, DestinationPayload, EventSubjectFormat } from '../../generated/graphql.ts';
import { CHOICES, type EventChoice, choiceOf, createMutation, updateMutation } from './destination.ts';

const EVENT_CHOICES = Object.keys(CHOICES) as EventChoice[];
const KINDS = ['WEBHOOK', 'EVENT_STREAM'] as const;
const FORMATS: readonly EventSubjectFormat[] = ['ISS_SUB', 'OPAQUE', 'EMAIL'];
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
  const [kind, setKind] = useState<(typeof KINDS)[number]>(destination?.kind === 'EVENT_STREAM' ? 'EVENT_STREAM' : 'WEBHOOK');
  const isStream = kind === 'EVENT_STREAM';
  const [url, setUrl] = useState(destination ? (destination.url ?? '') : 'https://');
  const [audience, setAudience] = useState('');
  const [format, setFormat] = useState<EventSubjectFormat>('ISS_SUB');
  const [authorization, setAuthorization] = useState('');
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
          ...(url.trim() !== (destination.url ?? '') && { url: url.trim() }),
          ...(payload !== destination.payload && { payload }),
          ...(eventActions && events !== before && { eventActions }),
        },
      });
      if (answer.problem) setProblem(answer.problem);
      else onDone(destination.id, undefined);
      return;
    }
    const answer = await create({
      input: {
        kind,
        // A stream without an address is polled.
        url: isStream && (url.trim() === '' || url.trim() === 'https://') ? null : url.trim(),
        description: description.trim(),
        payload,
        eventActions: eventActions ?? [],
        ...(isStream && {
          stream: {
            subjectFormat: format,
            signingAlgorithm: 'RS256',
            ...(audience.trim() && { audience: audience.trim() }),
            ...(authorization && { authorizationHeader: authorization }),
          },
        }),
      },
    });
    if (answer.problem) setProblem(answer.problem);
    else onDone(answer.payload.destination?.id, answer.payload.secret ?? undefined);
  };

  return (
    <PlainDialog isOpen onClose={onClose} title={destination ? t('editTitle') : t('createTitle')}>
      <form className="form" onSubmit={(event) => void submit(event)}>
        <TextField label={t('description')} help={t('descriptionHelp')} required value={description} onChange={setDescription} autoFocus />
        {!destination && (
          <RadioField
            label={t('kind')}
            value={kind}
            choices={KINDS.map((value) => ({ value, text: t(`kinds.${value}`), help: t(`kindHelp.${value}`) }))}
            onChange={(value) => {
              setKind(value);
              setUrl(value === 'EVENT_STREAM' ? '' : 'https://');
            }}
          />
        )}
        {(!destination || destination.url != null) && (
          <TextField
            label={t('url')}
            help={isStream ? t('urlStreamHelp') : t('urlHelp')}
            type="url"
            technical
            required={!isStream || destination !== undefined}
            value={url}
            onChange={setUrl}
          />
        )}
        {isStream && !destination && (
          <>
            <TextField label={t('stream.audience')} help={t('stream.audienceHelp')} technical value={audience} onChange={setAudience} />
            <SelectField
              label={t('stream.subject')}
              help={t(`stream.subjectHelp.${format}`)}
              value={format}
              choices={FORMATS.map((value) => ({ value, text: t(`stream.subjects.${value}`) }))}
              onChange={setFormat}
            />
            {url.trim() !== '' && (
              <TextField
                label={t('stream.authorization')}
                help={t('stream.authorizationHelp')}
                type="password"
                technical
                value={authorization}
                onChange={setAuthorization}
              />
            )}
          </>
        )}
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
