// The texts of the setup page: those that all pages share, and its own.
import i18next from 'i18next';
import { initReactI18next } from 'react-i18next';
import { type Language, getPreferences } from '../app/preferences.ts';

const loaders: Record<Language, () => Promise<{ texts: Record<string, object> }>> = {
  en: () => import('./texts-en.ts'),
  de: () => import('./texts-de.ts'),
};

export async function setLanguage(language: Language) {
  const { texts } = await loaders[language]();
  for (const [namespace, inner] of Object.entries(texts)) {
    i18next.addResourceBundle(language, namespace, inner, true, true);
  }
  await i18next.changeLanguage(language);
  document.documentElement.lang = language;
  document.documentElement.dir = i18next.dir(language);
}

export async function startTexts() {
  await i18next.use(initReactI18next).init({
    lng: 'en',
    fallbackLng: false,
    ns: ['common', 'setup'],
    defaultNS: 'common',
    resources: {},
    // React writes every value as text.
    interpolation: { escapeValue: false },
    returnNull: false,
    showSupportNotice: false,
  } as Parameters<typeof i18next.init>[0]);
  await setLanguage(getPreferences().language);
}
