// The secret of the link stands in the fragment, which browsers do not send. Only the button spends
// it: programs that look at links in mails spend nothing.
'use strict';
const texts = {
  en: {
    title: 'You are invited', ask: 'Accept the invitation with the button.', accept: 'Accept',
    none: 'The address of this page is not complete. Copy the whole link from the mail.',
    waits: (name) => `Almost done: sign in to ${name} with the address that this mail came to. ` +
      'You get what you were invited to with that sign-in.',
    failed: 'The server was not reached. Try again.',
  },
  de: {
    title: 'Sie sind eingeladen', ask: 'Nehmen Sie die Einladung mit dem Knopf an.', accept: 'Annehmen',
    none: 'Die Adresse dieser Seite ist unvollständig. Kopieren Sie den ganzen Link aus der E-Mail.',
    waits: (name) => `Fast fertig: Melden Sie sich bei ${name} mit der Adresse an, an die diese ` +
      'E-Mail ging. Mit dieser Anmeldung bekommen Sie, wozu Sie eingeladen sind.',
    failed: 'Der Server war nicht erreichbar. Versuchen Sie es noch einmal.',
  },
};
const language = navigator.language.startsWith('de') ? 'de' : 'en';
const words = texts[language];
const part = (id) => document.getElementById(id);
const say = (text) => { part('message').textContent = text; };
document.documentElement.lang = language;
document.title = words.title;
part('title').textContent = words.title;
const secret = new URLSearchParams(location.hash.slice(1)).get('link');
// The history of the browser keeps no secret.
history.replaceState(null, '', location.pathname);
if (secret) {
  const button = part('accept');
  say(words.ask);
  button.textContent = words.accept;
  button.hidden = false;
  button.addEventListener('click', async () => {
    button.disabled = true;
    try {
      const answer = await fetch('invitation/redeem', {
        method: 'POST', headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ secret }),
      });
      const body = await answer.json();
      if (!answer.ok) {
        say(`${body.message} ${body.nextStep}`);
        button.hidden = answer.status < 500 && answer.status !== 429;
      } else {
        say(words.waits(body.organizationName));
        button.hidden = true;
      }
    } catch {
      say(words.failed);
    }
    button.disabled = false;
  });
} else {
  say(words.none);
}
