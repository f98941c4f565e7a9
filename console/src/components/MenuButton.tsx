// A button that opens a menu.
import type { ReactNode } from 'react';
import { Button as AriaButton } from 'react-aria-components/Button';
import { Header } from 'react-aria-components/Header';
import { Menu, MenuItem, MenuSection, MenuTrigger } from 'react-aria-components/Menu';
import { Popover } from 'react-aria-components/Popover';
import { Icon, type IconName } from './Icon.tsx';

export interface MenuChoice {
  id: string;
  text: string;
  detail?: string;
  icon?: IconName;
}

export interface MenuPart {
  id: string;
  title?: string;
  choices: readonly MenuChoice[];
  /** The chosen one; left out where the choices do something. */
  chosen?: string;
  onChoose: (id: string) => void;
}

interface MenuButtonProps {
  label: string;
  children: ReactNode;
  className?: string;
  parts: readonly MenuPart[];
}

export function MenuButton({ label, children, className = '', parts }: MenuButtonProps) {
  return (
    <MenuTrigger>
      <AriaButton className={`button button-quiet ${className}`} aria-label={label}>
        {children}
      </AriaButton>
      <Popover className="popover" placement="bottom end">
        <Menu className="menu" aria-label={label}>
          {parts.map((part) => (
            <MenuSection
              key={part.id}
              id={part.id}
              aria-label={part.title ?? label}
              {...(part.chosen === undefined
                ? {}
                : { selectionMode: 'single' as const, selectedKeys: [part.chosen], disallowEmptySelection: true })}
            >
              {part.title !== undefined && <Header className="menu-title">{part.title}</Header>}
              {part.choices.map((choice) => (
                <MenuItem key={choice.id} id={choice.id} textValue={choice.text} onAction={() => part.onChoose(choice.id)}>
                  {({ isSelected }) => (
                    <>
                      {isSelected ? <Icon name="check" /> : choice.icon ? <Icon name={choice.icon} /> : <span className="icon" />}
                      <span>
                        {choice.text}
                        {choice.detail && <small className="muted"> {choice.detail}</small>}
                      </span>
                    </>
                  )}
                </MenuItem>
              ))}
            </MenuSection>
          ))}
        </Menu>
      </Popover>
    </MenuTrigger>
  );
}
