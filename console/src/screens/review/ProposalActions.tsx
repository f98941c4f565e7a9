// The two answers to a proposal: the connection gets the account, or the account stays as it is.
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useAction } from '../../app/useAction.ts';
import { useViewer } from '../../app/viewer.tsx';
import { Button } from '../../components/Button.tsx';
import { ConfirmDialog } from '../../components/ConfirmDialog.tsx';
import { TextField } from '../../components/forms.tsx';
import { notify } from '../../components/toasts.tsx';
import type { AdoptionCause } from '../../generated/graphql.ts';
import { graphql } from '../../generated/index.ts';

const acceptMutation = graphql(`
  mutation AdoptionProposalAccept($input: AdoptionProposalAcceptInput!) {
    adoptionProposalAccept(input: $input) {
      adoptionProposal { id state }
      userErrors { code reason message nextStep }
    }
  }
`);

const dismissMutation = graphql(`
  mutation AdoptionProposalDismiss($input: AdoptionProposalDismissInput!) {
    adoptionProposalDismiss(input: $input) {
      adoptionProposal { id state }
      userErrors { code reason message nextStep }
    }
  }
`);

interface ProposalActionsProps {
  proposal: { id: string; cause: AdoptionCause };
  onDecided: () => void;
  /** Opens one of the questions from outside, for example by a key. */
  asking?: 'accept' | 'dismiss' | undefined;
  onAsked?: () => void;
}

export function ProposalActions({ proposal, onDecided, asking: asked, onAsked }: ProposalActionsProps) {
  const { t } = useTranslation('review');
  const { t: common } = useTranslation();
  const viewer = useViewer();
  const [opened, setOpened] = useState<'accept' | 'dismiss'>();
  const [reason, setReason] = useState('');
  const { run: accept } = useAction(acceptMutation);
  const { run: dismiss } = useAction(dismissMutation);
  const asking = asked ?? opened;
  const close = () => {
    setOpened(undefined);
    onAsked?.();
  };
  if (!viewer.may('REVIEW_WRITE')) return null;
  // An account of another connection must be ended there first.
  const possible = proposal.cause !== 'OWNED';
  return (
    <>
      <div className="actions">
        {possible && <Button onPress={() => setOpened('accept')}>{t('proposal.accept')}</Button>}
        <Button onPress={() => setOpened('dismiss')}>{t('proposal.dismiss')}</Button>
      </div>
      <ConfirmDialog
        isOpen={asking !== undefined}
        onClose={close}
        title={asking === 'accept' ? t('proposal.acceptTitle') : t('proposal.dismissTitle')}
        consequences={
          asking === 'accept'
            ? [t('proposal.acceptOwner'), t('proposal.acceptKeeps'), t('proposal.acceptNext')]
            : [t('proposal.dismissKeeps'), t('proposal.dismissNext')]
        }
        confirmLabel={asking === 'accept' ? t('proposal.accept') : t('proposal.dismiss')}
        onConfirm={async () => {
          const input = { id: proposal.id, reason: reason.trim() || null };
          const { problem } = asking === 'accept' ? await accept({ input }) : await dismiss({ input });
          if (!problem) {
            notify({ kind: 'success', text: asking === 'accept' ? t('proposal.accepted') : t('proposal.dismissed') });
            onDecided();
          }
          return problem;
        }}
      >
        <TextField label={common('dialog.reason')} value={reason} onChange={setReason} maxLength={1000} />
      </ConfirmDialog>
    </>
  );
}
