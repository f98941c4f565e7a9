// The page of a setup link, for an IT administrator without an account: an entry of its own.
import '../styles/base.css';
import '../styles/frame.css';
import '../styles/components.css';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { startTexts } from '../texts/load.ts';
import { SetupPage } from './SetupPage.tsx';

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
