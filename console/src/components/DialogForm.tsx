// The form of a dialog: its fields, what went wrong, and the two buttons.
import { type ReactNode, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Button } from './Button.tsx';
import { ErrorPanel, type Problem } from './states.tsx';

interface DialogFormProps {
  action: string;
  /** False while something that is needed is missing. */
  ready?: boolean;
  onClose: () => void;
  /** Does it; returns what went wrong. */
  onSubmit: () => Promise<Problem | undefined> | undefined;
  children: ReactNode;
}

export function DialogForm({ action, ready = true, onClose, onSubmit, children }: DialogFormProps) {
  const { t } = useTranslation();
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem>();
  const submit = async () => {
    if (busy || !ready) return;
    setBusy(true);
    setProblem(undefined);
    const failed = await onSubmit();
    setBusy(false);
    setProblem(failed);
  };
  return (
    <form
      className="form"
      onSubmit={(event) => {
        event.preventDefault();
        void submit();
      }}
    >
      {children}
      {problem && <ErrorPanel problem={problem} />}
      <div className="actions dialog-actions">
        <Button onPress={onClose}>{t('dialog.cancel')}</Button>
        <Button kind="primary" type="submit" busy={busy} isDisabled={!ready}>
          {action}
        </Button>
      </div>
    </form>
  );
}
