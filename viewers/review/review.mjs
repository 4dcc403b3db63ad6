// The review page: a list of edits, the films, what is known of them, and the reader's word.
import * as api from './api.mjs';
import { aboutEdit, agreementTables } from './about.mjs';
import { Stage } from './stage.mjs';

const $ = id => document.getElementById(id);
const KEPT = 'radedit-review'; // of this tab only: workstations are shared
const VERDICTS = { accept: 'Accept', reject: 'Reject', unsure: 'Unsure' };
const NEEDS_REASON = new Set(['reject', 'unsure']);
const GUESSES = { a: 'Left is edited', b: 'Right is edited', unsure: 'Cannot tell' };
const state = {
  reader: '', blinded: false, edits: [], current: null, hidden: false, masks: true, difference: false,
};
const stage = new Stage($('stage'), border => {
  $('slider').value = border;
});

// --- what goes wrong is said, wherever it happens ---

async function attempt(action) {
  $('message').textContent = '';
  try {
    return await action();
  } catch (error) {
    $('message').textContent = error.message;
    return undefined;
  }
}

// --- the reader ---

function welcome() {
  $('reader').value = state.reader;
  $('blinded').checked = state.blinded;
  $('welcome').showModal();
}

$('welcome').addEventListener('close', () => {
  const name = $('reader').value.trim();
  if (!name) return welcome();
  Object.assign(state, { reader: name, blinded: $('blinded').checked });
  sessionStorage.setItem(KEPT, JSON.stringify({ reader: name, blinded: state.blinded }));
  return attempt(start);
});

async function start() {
  await list();
  $('who').textContent = `Reader: ${state.reader}${state.blinded ? ', blinded first' : ''}`;
  const next = state.edits.find(edit => !edit.decision) ?? state.edits[0];
  if (next) await show(next.uid);
  else $('message').textContent = 'The archive holds no edits yet; make one in the viewer.';
}

// --- the list ---

async function list() {
  const found = await api.edits(state.reader, state.blinded);
  state.reader = found.reader; // as the server knows it
  state.blinded = state.blinded || found.blinded_first;
  state.edits = found.edits;
  const done = state.edits.filter(edit => edit.decision).length;
  $('progress').textContent = `${done} of ${state.edits.length} read`;
  $('edits').replaceChildren(...state.edits.map(row));
}

function row(edit) {
  const button = document.createElement('button');
  button.type = 'button';
  button.dataset.uid = edit.uid;
  button.dataset.decision = edit.decision ?? '';
  button.append(part('number', String(edit.number)), part('prompt', edit.prompt ?? 'not told yet'));
  button.append(part('decision', edit.decision ?? 'to read'));
  if (edit.uid === state.current) button.setAttribute('aria-current', 'true');
  button.addEventListener('click', () => attempt(() => show(edit.uid)));
  const item = document.createElement('li');
  item.append(button);
  return item;
}

function part(name, text) {
  const element = document.createElement('span');
  element.className = name;
  element.textContent = text;
  return element;
}

function step(by) {
  const place = state.edits.findIndex(edit => edit.uid === state.current);
  const next = state.edits[place + by];
  if (next) attempt(() => show(next.uid));
}

// --- one edit ---

async function show(uid) {
  state.current = uid;
  const edit = state.edits.find(each => each.uid === uid);
  for (const button of $('edits').querySelectorAll('button')) {
    button.toggleAttribute('aria-current', button.dataset.uid === uid);
  }
  state.hidden = state.blinded && !edit.known;
  $('tools').hidden = state.hidden;
  $('about').replaceChildren();
  stage.clear(); // nobody shall judge one edit by the pictures of another
  buttons();
  await (state.hidden ? ask(uid) : tell(uid, edit));
}

async function ask(uid) {
  const text = document.createElement('p');
  text.textContent = 'One of these two films was edited. Which one?';
  $('about').replaceChildren(text);
  await stage.hide(uid, state.reader);
}

async function tell(uid, edit) {
  if (!edit.known) {
    await api.say(uid, { reader: state.reader, kind: 'opened' });
    edit.known = true;
  }
  const told = await api.edit(uid, state.reader);
  if (uid !== state.current) return;
  $('about').replaceChildren(...aboutEdit(told, event => attempt(() => keep(event))));
  setMasks(state.masks);
  setDifference(false);
  setPressed('flicker', false);
  await stage.open(uid, state.reader, told.masks);
}

async function keep(event) {
  await api.store(event.number);
  $('message').textContent = 'The reading is stored in the archive, in the study of the edit.';
}

// --- what the reader says ---

function buttons() {
  const [words, keys] = state.hidden ? [GUESSES, ['1', '2', '3']] : [VERDICTS, ['A', 'R', 'U']];
  const made = Object.entries(words).map(([answer, text], index) => {
    const button = document.createElement('button');
    button.type = 'button';
    button.className = answer;
    const key = document.createElement('kbd');
    key.textContent = keys[index];
    button.append(`${text} `, key);
    button.addEventListener('click', () => (state.hidden ? guess(answer) : decide(answer)));
    return button;
  });
  $('verdicts').replaceChildren(...made);
}

function guess(answer) {
  if (stage.isBusy) return undefined;
  return attempt(async () => {
    const { is_right: isRight } = await api.say(state.current, {
      reader: state.reader, kind: 'blinded', answer,
    });
    await list();
    await show(state.current);
    const words = { true: 'You were right.', false: 'It was the other one.', null: 'Noted.' };
    $('message').textContent = words[String(isRight)];
  });
}

function decide(answer) {
  if (stage.isBusy) return;
  $('verdict').dataset.answer = answer;
  $('verdict-title').textContent = `${VERDICTS[answer]} this edit`;
  $('verdict-need').textContent = NEEDS_REASON.has(answer) ? '(needed)' : '(if you like)';
  $('reason').required = NEEDS_REASON.has(answer);
  $('reason').value = '';
  $('verdict').returnValue = '';
  $('verdict').showModal();
}

$('verdict-cancel').addEventListener('click', () => $('verdict').close('back'));
$('verdict').querySelector('form').addEventListener('submit', event => {
  event.preventDefault();
  attempt(async () => {
    const { answer } = $('verdict').dataset;
    const reason = $('reason').value;
    $('verdict').close('saved');
    await api.say(state.current, { reader: state.reader, kind: 'decision', answer, reason });
    await list();
    const next = state.edits.find(edit => !edit.decision);
    await show(next?.uid ?? state.current);
    $('message').textContent = `Noted: ${VERDICTS[answer].toLowerCase()}.`;
  });
});

// --- tools and keys ---

function setPressed(id, isPressed) {
  $(id).setAttribute('aria-pressed', String(isPressed));
}

function setMasks(isShown) {
  state.masks = isShown;
  $('stage').classList.toggle('with-masks', isShown);
  setPressed('masks', isShown);
}

function setDifference(isShown) {
  state.difference = isShown;
  $('stage').classList.toggle('with-difference', isShown);
  setPressed('difference', isShown);
}

function swap() {
  stage.swap();
  setPressed('flicker', false);
}

async function showAgreement() {
  $('agreement-tables').replaceChildren(...agreementTables(await api.agreement()));
  $('agreement').showModal();
}

const flicker = () => setPressed('flicker', stage.toggleFlicker());
$('slider').addEventListener('input', () => stage.setBorder(Number($('slider').value)));
$('flicker').addEventListener('click', flicker);
$('masks').addEventListener('click', () => setMasks(!state.masks));
$('difference').addEventListener('click', () => setDifference(!state.difference));
$('fit').addEventListener('click', () => stage.fit());
$('who').addEventListener('click', welcome);
$('show-help').addEventListener('click', () => $('help').showModal());
$('show-agreement').addEventListener('click', () => attempt(showAgreement));

const ANYWHERE = {
  n: () => step(1),
  p: () => step(-1),
  '+': () => stage.zoomBy(1.4),
  '=': () => stage.zoomBy(1.4),
  '-': () => stage.zoomBy(1 / 1.4),
  0: () => stage.fit(),
  '?': () => $('help').showModal(),
};
const OPEN = {
  a: () => decide('accept'),
  r: () => decide('reject'),
  u: () => decide('unsure'),
  f: flicker,
  m: () => setMasks(!state.masks),
  d: () => setDifference(!state.difference),
  ' ': swap,
  ArrowLeft: () => stage.setBorder(stage.border - 5),
  ArrowRight: () => stage.setBorder(stage.border + 5),
};
const HIDDEN = { 1: () => guess('a'), 2: () => guess('b'), 3: () => guess('unsure') };

document.addEventListener('keydown', event => {
  const busy = event.ctrlKey || event.metaKey || event.altKey || document.querySelector('dialog[open]');
  const inControl = event.target.closest('input, textarea, select');
  // Space on a button presses that button.
  const onButton = event.key === ' ' && event.target.closest('button, a');
  if (busy || inControl || onButton || !state.current) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const action = ANYWHERE[key] ?? (state.hidden ? HIDDEN : OPEN)[key];
  if (!action) return;
  event.preventDefault();
  action();
});

Object.assign(state, JSON.parse(sessionStorage.getItem(KEPT) ?? '{}'));
if (state.reader) attempt(start);
else welcome();
