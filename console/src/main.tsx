import './styles/base.css';
import './styles/frame.css';
import './styles/components.css';
import './styles/shared.css';
import './styles/tables.css';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { App } from './app/App.tsx';
import { takeLink } from './app/link.ts';
import { startTexts } from './texts/load.ts';

// Before anything else: the secret of a link leaves the address bar.
takeLink();
const root = document.getElementById('root');
if (root) {
  void startTexts().then(() =>
    createRoot(root).render(
      <StrictMode>
        <App />
      </StrictMode>,
    ),
  );
}
