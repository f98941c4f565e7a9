// The page of a setup link, for an IT administrator without an account: an entry of its own.
import '../styles/base.css';
import '../styles/frame.css';
import '../styles/components.css';
import '../styles/shared.css';
import '../styles/tables.css';
import './setup.css';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { SetupPage } from './SetupPage.tsx';
import { takeSecret } from './link.ts';
import { startTexts } from './texts.ts';

// Before anything else: the secret of the link leaves the address bar.
takeSecret();
const root = document.getElementById('root');
if (root) {
  void startTexts().then(() =>
    createRoot(root).render(
      <StrictMode>
        <SetupPage />
      </StrictMode>,
    ),
  );
}
