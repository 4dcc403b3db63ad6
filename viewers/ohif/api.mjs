// What the panel asks of the server. Refusals become errors with the server's own sentence.

// This file lies at radedit/ of the server, wherever a proxy offers that.
const HERE = new URL('.', import.meta.url).pathname;
const LOGIN = new URL('../login', import.meta.url).pathname;

async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { credentials: 'same-origin', ...options });
  } catch {
    throw new Error('The server cannot be reached; see whether it runs, then try again.');
  }
  const body = await answer.json().catch(() => ({}));
  if (answer.ok) return body;
  if (answer.status === 401) throw new Error(`You are not logged in any more; open ${LOGIN}.`);
  const said = typeof body.detail === 'string' ? body.detail : `status ${answer.status}`;
  throw new Error(said);
}

const query = values => new URLSearchParams(values).toString();

export const options = () => ask(`${HERE}options`);

export const imageOf = async film =>
  (await ask(`${HERE}images?${query({ sop_instance_uid: film })}`)).image;

export const editsOf = async film =>
  (await ask(`${HERE}edits?${query({ sop_instance_uid: film })}`)).edits;

export const jobsOf = async image => (await ask(`${HERE}jobs?${query({ image })}`)).jobs;

export const submit = request =>
  ask(`${HERE}jobs`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(request),
  });

export const retry = id =>
  ask(`${HERE}jobs/${encodeURIComponent(id)}/retry`, { method: 'POST' });

export const cancel = id => ask(`${HERE}jobs/${encodeURIComponent(id)}`, { method: 'DELETE' });

/** How many workers are ready to edit. */
export const workers = async () => (await ask('/health')).warm_workers;

const SILENT_MS = 10000; // the server says something every second
const LOST = 'The connection to the server is lost; it is tried again. The edit goes on there meanwhile.';

/**
 * Follow a job until it ends. A lost connection is taken up again by the browser itself, and
 * `trouble` hears of it meanwhile.
 */
export function follow(id, told, trouble) {
  const source = new EventSource(`${HERE}jobs/${encodeURIComponent(id)}/events`);
  return new Promise((resolve, reject) => {
    let silent;
    const listen = () => {
      clearTimeout(silent);
      silent = setTimeout(() => trouble(LOST), SILENT_MS);
    };
    listen();
    const take = event => {
      listen();
      const job = JSON.parse(event.data);
      told(job);
      return job;
    };
    source.addEventListener('progress', take);
    source.addEventListener('end', event => {
      source.close();
      const job = take(event);
      clearTimeout(silent);
      resolve(job);
    });
    source.addEventListener('error', () => {
      clearTimeout(silent);
      if (source.readyState !== EventSource.CLOSED) return trouble(LOST);
      reject(new Error('The job cannot be followed any more; reload the page to see it again.'));
    });
  });
}
