// Rotating after a security concern: what stops, and when, is said before it is done.
import { useState } from 'react';
import { useId } from 'react';
import { useTranslation } from 'react-i18next';
import { useAction } from '../../app/useAction.ts';
import { ConfirmDialog } from '../../components/ConfirmDialog.tsx';
import { ReasonField } from '../../components/ReasonField.tsx';
import type { Connection } from './ConfigurationScreen.tsx';
import { ExpiryField, expiryInstant, type Lifetime } from './TokenFields.tsx';
import { rotateMutation } from './queries.ts';

const OVERLAPS = [0, 3_600, 86_400, 604_800] as const;
type Overlap = (typeof OVERLAPS)[number];

interface RotateDialogProps {
  connection: Connection;
  isOpen: boolean;
  onClose: () => void;
  onSecret: (secret: string) => void;
}

export function RotateDialog({ connection, isOpen, onClose, onSecret }: RotateDialogProps) {
  const { t } = useTranslation('configuration');
  const [overlap, setOverlap] = useState<Overlap>(0);
  const [lifetime, setLifetime] = useState<Lifetime>('never');
  const [reason, setReason] = useState('');
  const rotation = useAction(rotateMutation);
  const field = useId();
  return (
    <ConfirmDialog
      isOpen={isOpen}
      onClose={onClose}
      title={t('rotate.title')}
      consequences={[
        <strong key="stop">{overlap === 0 ? t('rotate.atOnce') : t('rotate.overlap', { time: t(`overlaps.${overlap}`) })}</strong>,
        t('rotate.cannotSync'),
        t('rotate.haveOpen'),
        t('rotate.quiet'),
        t('rotate.untouched'),
      ]}
      confirmLabel={t('rotate.confirm')}
      danger
      onConfirm={async () => {
        const expiresAt = expiryInstant(lifetime);
        const { payload, problem } = await rotation.run({
          input: {
            connectionId: connection.id,
            overlapSeconds: overlap,
            ...(expiresAt && { expiresAt }),
            ...(reason.trim() && { reason: reason.trim() }),
          },
        });
        if (problem) return problem;
        setReason('');
        if (payload.secret) onSecret(payload.secret);
        return undefined;
      }}
    >
      <div className="field">
        <label htmlFor={field}>{t('fields.overlap')}</label>
        <select id={field} value={overlap} onChange={(event) => setOverlap(Number(event.target.value) as Overlap)}>
          {OVERLAPS.map((seconds) => (
            <option key={seconds} value={seconds}>
              {seconds === 0 ? t('fields.atOnce') : t(`overlaps.${seconds}`)}
            </option>
          ))}
        </select>
      </div>
      <ExpiryField value={lifetime} onChange={setLifetime} />
      <ReasonField value={reason} onChange={setReason} />
    </ConfirmDialog>
  );
}
