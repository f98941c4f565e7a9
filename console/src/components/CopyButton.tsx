// Puts a text into the clipboard. The green check says that, and nothing about what the text leads to.
import { useEffect, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Button as AriaButton } from 'react-aria-components/Button';
import { Icon } from './Icon.tsx';
import { notify } from './toasts.tsx';

const CHECK_MILLISECONDS = 2_000;

export function CopyButton({ text, label }: { text: string; label: string }) {
  const { t } = useTranslation();
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    if (!copied) return;
    const timer = setTimeout(() => setCopied(false), CHECK_MILLISECONDS);
    return () => clearTimeout(timer);
  }, [copied]);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      setCopied(true);
    } catch {
      // Without TLS or by choice of the user the clipboard is closed: the text can still be selected.
      notify({ kind: 'error', text: t('copy.refused') });
    }
  };
  return (
    <AriaButton
      className={copied ? 'button button-quiet button-bare copied' : 'button button-quiet button-bare'}
      onPress={() => void copy()}
      aria-label={copied ? t('copy.done', { label }) : t('copy.action', { label })}
    >
      <Icon name={copied ? 'check' : 'copy'} />
      <span className="visually-hidden" role="status">
        {copied ? t('copy.done', { label }) : ''}
      </span>
    </AriaButton>
  );
}

/** A value in a fixed-width font with its copy button. */
export function CopyRow({ label, text }: { label: string; text: string }) {
  return (
    <div className="copy-row">
      <dt>{label}</dt>
      <dd>
        <code dir="ltr">{text}</code>
        <CopyButton text={text} label={label} />
      </dd>
    </div>
  );
}
