// What the page asks of the server. Refusals become errors with the server's own sentence.

// This file lies at review/files/ of the server, wherever a proxy offers that.
const API = new URL('../api/', import.meta.url).pathname;
const LOGIN = new URL('../../login', import.meta.url).pathname;

async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(`${API}${path}`, { credentials: 'same-origin', ...options });
  } catch {
    throw new Error('The server cannot be reached; see whether it runs, then try again.');
  }
  const body = await answer.json().catch(() => ({}));
  if (answer.ok) return body;
  if (answer.status === 401) throw new Error(`You are not logged in any more; open ${LOGIN}.`);
  throw new Error(typeof body.detail === 'string' ? body.detail : `status ${answer.status}`);
}

const query = values => new URLSearchParams(values).toString();
const post = body => ({
  method: 'POST',
  headers: { 'Content-Type': 'application/json' },
  body: JSON.stringify(body),
});

export const edits = (reader, blinded) => ask(`edits?${query({ reader, blinded })}`);
export const edit = (uid, reader) => ask(`edits/${uid}?${query({ reader })}`);
export const say = (uid, said) => ask(`edits/${uid}/events`, post(said));
export const agreement = () => ask('agreement');
export const store = number => ask(`events/${number}/report`, { method: 'POST' });
export const report = number => `${API}events/${number}/report.dcm`;

/** Address of a picture: original, edited, edit-mask, keep-mask or difference. */
export const picture = (uid, shown, reader, side) =>
  `${API}edits/${uid}/pictures/${shown}.png?${query({ reader, side })}`;

/** Address of one of the two pictures, a or b, that do not say which is edited. */
export const hidden = (uid, which, reader, side) =>
  `${API}edits/${uid}/blinded/${which}.png?${query({ reader, side })}`;
