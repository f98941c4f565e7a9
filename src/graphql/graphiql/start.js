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

ReactDOM.createRoot(document.getElementById('graphiql')).render(
  React.createElement(GraphiQL, {
    fetcher: ask,
    defaultHeaders: '{\n  "Authorization": "Bearer rck_your-key"\n}',
    defaultQuery: '{\n  viewer {\n    name\n    permissions\n  }\n}\n',
    shouldPersistHeaders: false,
  }),
);
