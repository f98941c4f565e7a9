// Asks again before something that takes away: what will happen first, then the question.
import { type ReactNode, useId, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Dialog, Heading, Modal, ModalOverlay } from 'react-aria-components/Modal';
import { Button } from './Button.tsx';
import { ErrorPanel, type Problem } from './states.tsx';

interface ConfirmDialogProps {
  isOpen: boolean;
  onClose: () => void;
  title: string;
  /** Shown before the question. */
  consequences: readonly ReactNode[];
  /** Further fields, for example a reason. */
  children?: ReactNode;
  /** What must be typed before the button works. */
  typed?: { label: ReactNode; expected: string };
  confirmLabel: string;
  danger?: boolean;
  /** Does it; returns what went wrong. The dialog closes by itself if nothing did. */
  onConfirm: () => Promise<Problem | undefined>;
}

export function ConfirmDialog(props: ConfirmDialogProps) {
  return (
    <ModalOverlay
      className="modal-overlay"
      isOpen={props.isOpen}
      onOpenChange={(open) => {
        if (!open) props.onClose();
      }}
    >
      <Modal className="modal">{props.isOpen && <ConfirmContent {...props} />}</Modal>
    </ModalOverlay>
  );
}

function ConfirmContent({ onClose, title, consequences, children, typed, confirmLabel, danger, onConfirm }: ConfirmDialogProps) {
  const { t } = useTranslation();
  const [text, setText] = useState('');
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem>();
  const field = useId();
  const ready = !typed || text.trim() === typed.expected;
  const confirm = async () => {
    if (!ready || busy) return;
    setBusy(true);
    setProblem(undefined);
    const failed = await onConfirm();
    setBusy(false);
    if (failed) setProblem(failed);
    else onClose();
  };
  return (
    <Dialog className="dialog" role="alertdialog">
      <Heading slot="title">{title}</Heading>
      <ul className="consequences">
        {consequences.map((consequence, index) => (
          <li key={index}>{consequence}</li>
        ))}
      </ul>
      {children}
      {typed && (
        <div className="field">
          <label htmlFor={field}>{typed.label}</label>
          <input
            id={field}
            value={text}
            onChange={(event) => setText(event.target.value)}
            onKeyDown={(event) => {
              if (event.key === 'Enter') void confirm();
            }}
            autoComplete="off"
            spellCheck={false}
          />
        </div>
      )}
      {problem && <ErrorPanel problem={problem} />}
      <div className="actions dialog-actions">
        <Button onPress={onClose} autoFocus={!typed}>
          {t('dialog.cancel')}
        </Button>
        <Button kind={danger ? 'danger' : 'primary'} busy={busy} isDisabled={!ready} onPress={() => void confirm()}>
          {confirmLabel}
        </Button>
      </div>
    </Dialog>
  );
}

interface PlainDialogProps {
  isOpen: boolean;
  onClose: () => void;
  title: string;
  /** False: only the dialog's own buttons close it. */
  dismissable?: boolean;
  children: ReactNode;
}

export const PlainDialog = ({ isOpen, onClose, title, dismissable = true, children }: PlainDialogProps) => (
  <ModalOverlay
    className="modal-overlay"
    isOpen={isOpen}
    isDismissable={dismissable}
    isKeyboardDismissDisabled={!dismissable}
    onOpenChange={(open) => {
      if (!open) onClose();
    }}
  >
    <Modal className="modal">
      <Dialog className="dialog">
        <Heading slot="title">{title}</Heading>
        {children}
      </Dialog>
    </Modal>
  </ModalOverlay>
);
