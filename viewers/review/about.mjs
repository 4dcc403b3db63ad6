// What is told of an edit, and of the readers: made of elements and text, never of markup.
import { report } from './api.mjs';

export function aboutEdit(told, keep) {
  const {
    model, prompt, invert_prompt: invertPrompt, edit_mask: editMask, keep_mask: keepMask, ...figures
  } = told.parameters;
  return [
    titled('Prompt', make('blockquote', prompt)),
    invertPrompt && titled('Inverted with', make('blockquote', invertPrompt)),
    titled('Scores', table(Object.entries(told.scores).map(([name, value]) => [name, scored(value)]))),
    titled('Masks', table([['may change', editMask || '-'], ['must stay', keepMask || 'none']])),
    titled('Model', table([['name', model], ['weights', told.model_sha256.slice(0, 16)], ['program', told.tool_version]])),
    folded('Parameters', table([...Object.entries(figures), ['made', when(told.created)], ['edit', told.edit_id]])),
    told.events.some(event => event.kind !== 'opened') && titled('You said', said(told.events, keep)),
  ].filter(Boolean);
}

function said(events, keep) {
  const items = events.filter(event => event.kind !== 'opened').map(event => {
    const item = make('li', `${when(event.time)}: ${spoken(event)} `);
    if (event.kind === 'decision') {
      const link = make('a', 'DICOM SR');
      link.href = report(event.number);
      const store = make('button', 'Store in archive');
      store.type = 'button';
      store.addEventListener('click', () => keep(event));
      item.append(link, ' ', store);
    }
    return item;
  });
  return fill(make('ul'), items);
}

function spoken(event) {
  if (event.kind === 'decision') return event.reason ? `${event.answer}, “${event.reason}”` : event.answer;
  const right = { true: 'right', false: 'wrong', null: 'could not tell' };
  return `blinded: ${right[String(event.is_right)]}`;
}

export function agreementTables({ pairs, detections, decisions, first_changed: changed }) {
  const kappa = pairs.map(pair => [
    pair.readers.join(' and '),
    pair.edits,
    `${Math.round(pair.observed * 100)} %`,
    pair.kappa === null ? 'undefined: all answers alike' : figure(pair.kappa),
    pair.interval ? pair.interval.map(figure).join(' to ') : '-',
  ]);
  const blinded = detections.map(each => [each.reader, each.right, each.wrong, each.unsure]);
  return [
    make('p', changed === null
      ? 'The record of readings is unbroken.'
      : `The record of readings was changed at event ${changed}; these figures cannot be trusted.`),
    headed(['Readers', 'Edits', 'Same answer', 'Cohen’s kappa', '95 % interval'], kappa,
      'No two readers have decided on the same edit yet.'),
    ...pairs.map(pair => counted(pair, decisions)),
    headed(['Blinded reader', 'Right', 'Wrong', 'Could not tell'], blinded, 'Nobody has read blinded yet.'),
  ];
}

function counted(pair, decisions) {
  const [first, second] = pair.readers;
  const rows = pair.table.map((row, index) => [`${first}: ${decisions[index]}`, ...row]);
  return headed(['', ...decisions.map(decision => `${second}: ${decision}`)], rows, '');
}

function make(name, text = '') {
  const element = document.createElement(name);
  element.textContent = text;
  return element;
}

function fill(element, children) {
  element.append(...children);
  return element;
}

const titled = (title, content) => fill(make('section'), [make('h2', title), content]);

const folded = (title, content) => fill(make('details'), [make('summary', title), content]);

function table(rows) {
  return fill(make('table'), rows.map(([name, value]) => {
    const head = make('th', String(name).replaceAll('_', ' '));
    head.scope = 'row';
    return fill(make('tr'), [head, make('td', String(value))]);
  }));
}

function headed(heads, rows, none) {
  if (!rows.length) return make('p', none);
  const head = heads.map(text => Object.assign(make('th', text), { scope: 'col' }));
  const body = rows.map(row => fill(make('tr'), row.map(value => make('td', String(value)))));
  return fill(make('table'), [fill(make('tr'), head), ...body]);
}

const figure = value => value.toFixed(2);
const scored = value => {
  if (value === null) return 'not computed';
  return Math.abs(value) < 1000 ? value.toPrecision(3) : Math.round(value).toLocaleString();
};
const when = time => new Date(time).toLocaleString([], { dateStyle: 'short', timeStyle: 'short' });
