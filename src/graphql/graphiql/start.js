// Puts GraphiQL on the page. Everything it asks goes to this same address; subscriptions come as server-sent events.
'use strict';

async function* answers(response) {
  let text = '';
  const decoder = new TextDecoder();
  const reader = response.body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      text += decoder.decode(value, { stream: true });
      const events = text.split('\n\n');
      text = events.pop();
      for (const event of events) {
        const lines = event.split('\n');
        if (lines.includes('event: complete')) return;
        const data = lines.find((line) => line.startsWith('data: '));
        if (data) yield JSON.parse(data.slice(6));
      }
    }
  } finally {
    reader.cancel();
  }
}

async function ask(request, options) {
  const response = await fetch(location.pathname, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'application/graphql-response+json, application/json, text/event-stream',
      ...options?.headers,
    },
    body: JSON.stringify(request),
  });
  const events = response.headers.get('content-type')?.startsWith('text/event-stream');
  return events ? answers(response) : response.json();
}

const PLACEHOLDER = 'rck_your-key';
// The time that a person needs to finish typing or pasting.
const TYPING_PAUSE_MILLISECONDS = 400;

// The credential that the text of the headers holds; null for none, or for the placeholder.
function findCredential(text) {
  let headers;
  try {
    headers = JSON.parse(text);
  } catch {
    return null;
  }
  const name = Object.keys(headers ?? {}).find((known) => known.toLowerCase() === 'authorization');
  const value = name ? String(headers[name]).trim() : '';
  const secret = value.replace(/^bearer\b\s*/i, '');
  return secret && secret !== PLACEHOLDER ? value : null;
}

// GraphiQL asks for the schema as soon as it is shown, and shows a red error where the answer is 401. With the
// schema `null` it does not ask; with `undefined` it does. So it begins with `null`, and each new credential makes
// it ask.
function Page() {
  const [schema, setSchema] = React.useState(null);
  const credential = React.useRef(null);
  const timer = React.useRef(0);
  const onEditHeaders = React.useCallback((text) => {
    clearTimeout(timer.current);
    timer.current = setTimeout(() => {
      const found = findCredential(text);
      if (found === credential.current) return;
      credential.current = found;
      setSchema(null);
      if (found) timer.current = setTimeout(() => setSchema(undefined));
    }, TYPING_PAUSE_MILLISECONDS);
  }, []);
  return React.createElement(GraphiQL, {
    fetcher: ask,
    schema,
    onEditHeaders,
    defaultHeaders: `{\n  "Authorization": "Bearer ${PLACEHOLDER}"\n}`,
    defaultQuery:
      '# Put your API key into "Headers" below. Then this page knows the schema.\n' +
      '{\n  viewer {\n    name\n    permissions\n  }\n}\n',
    defaultEditorToolsVisibility: 'headers',
    shouldPersistHeaders: false,
  });
}

ReactDOM.createRoot(document.getElementById('graphiql')).render(React.createElement(Page));
