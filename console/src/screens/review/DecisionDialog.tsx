// Asks what a decision about failures needs: a reason, how it was fixed, or who takes care of it.
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { ConfirmDialog } from '../../components/ConfirmDialog.tsx';
import { RadioField, TextField } from '../../components/forms.tsx';
import type { Problem } from '../../components/states.tsx';
import type { FailureFix } from '../../generated/graphql.ts';

export type Decision = 'dismiss' | 'resolve' | 'assign';

export interface DecisionValues {
  reason: string;
  fix: FailureFix;
  assignedTo: string;
}

const FIXES: readonly FailureFix[] = ['FIXED_AT_SOURCE', 'FIXED_HERE'];

interface DecisionDialogProps {
  decision: Decision;
  count: number;
  /** The one that it is about. */
  what: string | undefined;
  assignedTo: string;
  onClose: () => void;
  onDecide: (values: DecisionValues) => Promise<Problem | undefined>;
}

export function DecisionDialog({ decision, count, what, assignedTo, onClose, onDecide }: DecisionDialogProps) {
  const { t } = useTranslation('review');
  const [values, setValues] = useState<DecisionValues>({ reason: '', fix: 'FIXED_AT_SOURCE', assignedTo });
  const set = (changes: Partial<DecisionValues>) => setValues((before) => ({ ...before, ...changes }));
  return (
    <ConfirmDialog
      isOpen
      onClose={onClose}
      title={t(`decide.${decision}`, { count })}
      consequences={[...(what === undefined ? [] : [what]), t(`decide.${decision}Consequence`)]}
      confirmLabel={t(`act.${decision}`)}
      danger={decision === 'dismiss'}
      onConfirm={async () => {
        if (decision === 'dismiss' && values.reason.trim() === '') {
          return { code: 'INVALID', message: t('decide.needsReason'), nextStep: t('decide.needsReasonNext') };
        }
        return await onDecide(values);
      }}
    >
      {decision === 'resolve' && (
        <RadioField
          label={t('decide.fix')}
          value={values.fix}
          choices={FIXES.map((value) => ({ value, text: t(`resolution.${value}`) }))}
          onChange={(fix) => set({ fix })}
        />
      )}
      {decision === 'assign' ? (
        <TextField
          label={t('decide.assignee')}
          help={t('decide.assigneeHelp')}
          value={values.assignedTo}
          onChange={(next) => set({ assignedTo: next })}
          autoFocus
        />
      ) : (
        <TextField
          label={decision === 'dismiss' ? t('decide.why') : t('decide.what')}
          required={decision === 'dismiss'}
          maxLength={1000}
          value={values.reason}
          onChange={(reason) => set({ reason })}
          autoFocus
        />
      )}
    </ConfirmDialog>
  );
}
