import type { ReactNode } from 'react';
import { Button as AriaButton, type ButtonProps as AriaButtonProps } from 'react-aria-components/Button';
import { Icon, type IconName } from './Icon.tsx';

interface ButtonProps extends Omit<AriaButtonProps, 'children' | 'className' | 'style'> {
  children?: ReactNode;
  kind?: 'primary' | 'secondary' | 'danger' | 'quiet';
  icon?: IconName;
  /** Disabled, with a spinning icon. */
  busy?: boolean;
}

export function Button({ children, kind = 'secondary', icon, busy = false, isDisabled, ...rest }: ButtonProps) {
  const shown = busy ? (icon ?? 'spinner') : icon;
  return (
    <AriaButton {...rest} isDisabled={busy || isDisabled} className={`button button-${kind}${children ? '' : ' button-bare'}`}>
      {shown && <Icon name={shown} spin={busy} />}
      {children && <span>{children}</span>}
    </AriaButton>
  );
}
