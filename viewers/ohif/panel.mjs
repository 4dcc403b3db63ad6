// The RadEdit panel: a prompt, two masks, parameters, the run, and the edits there are.
import * as api from './api.mjs';
import { el, field, select } from './dom.mjs';
import { brushed, putAway, setBrush, startDrawing, stopHolding, takeTool } from './drawing.mjs';
import { Films, instanceOf, isEdited } from './films.mjs';
import { startFlicker } from './flicker.mjs';
import { Parameters } from './form.mjs';
import { History } from './history.mjs';
import { maskChoices, maskOf, named } from './masks.mjs';
import { ROI_TOOLS, roisOf } from './rois.mjs';

const MASKS = ['edit', 'keep'];
const DESCRIBED = {
  edit: ['Edit mask', 'what may change', 'nothing chosen yet'],
  keep: ['Keep mask', 'what must stay', 'none'],
};
const TOOLS = [
  ['draw', 'Brush'],
  ['erase', 'Eraser'],
  ['rectangle', 'Rectangle'],
  ['ellipse', 'Ellipse'],
  ['freehand', 'Freehand'],
];
const SILENT_MS = 4000; // a job waits so long before it is asked whether anything works
const STUDIES = [
  ['same', "into this film's study"],
  ['new', 'into a QA study of its own'],
];

export function createPanel(ohif) {
  return new Panel(ohif).element;
}

class Panel {
  constructor(ohif) {
    this.films = new Films(ohif);
    this.film = null;
    this.viewportId = null;
    this.pair = null;
    this.stopFlicker = null;
    this.job = null;
    this.drawing = null;
    this.options = {};
    this.history = new History({
      open: edit => this.attempt(() => this.open(edit)),
      reuse: edit => this.reuse(edit),
    });
    this.build();
    this.watch();
    this.start();
  }

  build() {
    this.prompt = el('textarea', {
      name: 'prompt',
      rows: 3,
      placeholder: 'what the film should show, for example: no pneumothorax',
    });
    this.suggestions = select('suggestion', [['', 'suggestions …']], () => this.suggest());
    this.suggestions.setAttribute('aria-label', 'Suggested prompts');
    this.masks = Object.fromEntries(MASKS.map(which => [which, this.maskRow(which)]));
    this.brush = el('input', {
      type: 'range', min: '0.005', max: '0.12', step: '0.005', value: '0.04',
      input: () => this.attempt(() => setBrush(this.films, this.film, Number(this.brush.value))),
    });
    this.brushes = el(
      'div',
      { class: 'radedit-brushes', hidden: true },
      (this.tools = TOOLS.map(([tool, name]) => {
        const made = button(name, () => this.attempt(() => this.take(tool)));
        made.dataset.tool = tool;
        return made;
      })),
      button('Done', () => this.stopDrawing()),
      field('Brush size', this.brush)
    );
    this.study = select('study_mode', STUDIES);
    this.run = button('Run', () => this.attempt(() => this.submit()), 'radedit-run');
    this.cancel = button('Cancel', () => this.attempt(() => api.cancel(this.job.id)));
    this.cancel.hidden = true;
    this.bar = el('progress', { max: '1', value: '0', 'aria-label': 'Progress of the edit' });
    this.bar.hidden = true;
    this.status = el('p', { class: 'radedit-status', role: 'status' });
    this.element = el(
      'section',
      // OHIF's shortcuts must not hear what is typed here.
      { class: 'radedit', 'aria-label': 'RadEdit', keydown: event => event.stopPropagation() },
      el('p', { class: 'radedit-warning' }, 'Research and QA only. Never for diagnosis.'),
      field('Edit prompt', this.prompt),
      this.suggestions,
      MASKS.map(which => this.masks[which].element),
      this.brushes,
      (this.form = el('div')),
      field('Result goes', this.study),
      el(
        'div',
        { class: 'radedit-foot' },
        el('div', { class: 'radedit-actions' }, this.run, this.cancel),
        this.bar,
        this.status,
        this.comparison()
      ),
      this.history.element
    );
  }

  maskRow(which) {
    const [label, meaning, empty] = DESCRIBED[which];
    const choice = select(`${which}_mask`, [['', empty]]);
    const expression = el('input', {
      name: `${which}_expression`,
      placeholder: 'or an expression: task:lung_segmentation:left',
      'aria-label': `${label} as an expression`,
    });
    const draw = button('Draw', () => this.attempt(() => this.draw(which)));
    draw.setAttribute('aria-label', `Draw the ${label.toLowerCase()}`);
    const element = el(
      'fieldset',
      { class: `radedit-mask radedit-${which}` },
      el('legend', {}, label, el('small', {}, ` ${meaning}`)),
      el('div', { class: 'radedit-row' }, field(`${label} from`, choice), draw),
      expression
    );
    return { element, choice, expression, empty };
  }

  comparison() {
    this.flicker = button('Flicker', () => this.attempt(() => this.toggleFlicker()));
    this.flicker.setAttribute('aria-pressed', 'false');
    this.linked = el('input', {
      type: 'checkbox', checked: true, change: () => this.attempt(() => this.setLinked()),
    });
    this.shownMasks = el('input', {
      type: 'checkbox', checked: true,
      change: () => this.films.outlined.setShown(this.shownMasks.checked),
    });
    this.compare = el(
      'div',
      { class: 'radedit-compare', hidden: true },
      this.flicker,
      el('label', {}, this.shownMasks, ' masks'),
      el('label', {}, this.linked, ' move, zoom and window together')
    );
    return this.compare;
  }

  watch() {
    const { viewportGridService, displaySetService, segmentationService } = this.films.services;
    const listen = (service, ...names) =>
      names
        .map(name => service.EVENTS[name])
        .filter(Boolean)
        .forEach(event => service.subscribe(event, () => this.soon()));
    listen(viewportGridService, 'ACTIVE_VIEWPORT_ID_CHANGED', 'GRID_STATE_CHANGED', 'VIEWPORTS_READY');
    listen(displaySetService, 'DISPLAY_SETS_ADDED', 'DISPLAY_SETS_CHANGED');
    const { DISPLAY_SETS_ADDED } = displaySetService.EVENTS;
    displaySetService.subscribe(DISPLAY_SETS_ADDED, () => this.films.mendReferences());
    listen(segmentationService, 'SEGMENTATION_ADDED', 'SEGMENTATION_MODIFIED', 'SEGMENTATION_REMOVED');
    const { cornerstone, cornerstoneTools } = this.films.libraries;
    const { ANNOTATION_COMPLETED, ANNOTATION_REMOVED } = cornerstoneTools.Enums.Events;
    cornerstone.eventTarget.addEventListener(ANNOTATION_COMPLETED, event =>
      this.regionDrawn(event.detail.annotation)
    );
    cornerstone.eventTarget.addEventListener(ANNOTATION_REMOVED, () => this.soon());
  }

  /** Look again, once however many events came together. */
  soon() {
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => this.attempt(() => this.refresh()), 100);
  }

  async start() {
    await this.attempt(async () => {
      this.options = await api.options();
      this.parameters = new Parameters(this.options.parameters);
      this.form.replaceWith(this.parameters.element);
      this.fillSuggestions();
      await this.refresh();
    });
  }

  fillSuggestions() {
    const groups = new Map();
    for (const { text, group } of this.options.prompts ?? []) {
      groups.set(group, [...(groups.get(group) ?? []), [text, text]]);
    }
    const filled = select('suggestion', [
      ['', 'suggestions …'],
      ...[...groups].map(([group, options]) => ({ group, options })),
    ]);
    this.suggestions.replaceChildren(...filled.children);
    this.suggestions.value = '';
  }

  suggest() {
    if (this.suggestions.value) this.prompt.value = this.suggestions.value;
    this.suggestions.value = '';
  }

  /** Follow what the viewer shows: the film, its masks, its history. */
  async refresh() {
    const { viewportId, film: shown } = this.films.active();
    // An edited film may be looked at meanwhile; the one worked on stays its original.
    const film = this.film && shown && isEdited(shown) ? null : this.films.originalOf(shown);
    const isNew = film && film.displaySetInstanceUID !== this.film?.displaySetInstanceUID;
    if (!film && !this.film && shown) {
      return this.say('This film is an edit; open the film that it was made of to edit that one.', true);
    }
    if (film) this.viewportId = viewportId;
    if (isNew) this.film = film;
    this.run.disabled = !this.film || Boolean(this.job);
    if (this.film) for (const which of MASKS) this.fillMask(which);
    return isNew ? this.takeUp(film) : undefined;
  }

  /** A film is opened: show its history, and go on with a job that runs already. */
  async takeUp(film) {
    this.history.clear();
    this.say('');
    await Promise.all([this.loadHistory(film), this.goOn(film)]);
  }

  async loadHistory(film) {
    const edits = await api.editsOf(instanceOf(film).SOPInstanceUID);
    // Another film may have been opened meanwhile, and answers overtake each other.
    if (film === this.film) this.history.show(edits);
  }

  async goOn(film) {
    const jobs = await api.jobsOf(await api.imageOf(instanceOf(film).SOPInstanceUID));
    const running = jobs.find(job => ['queued', 'running'].includes(job.state));
    if (running && !this.job && film === this.film) await this.follow(running, film);
  }

  fillMask(which) {
    const { choice, empty } = this.masks[which];
    const chosen = choice.value;
    const filled = select('', [['', empty], ...maskChoices(this.films, this.film, this.options)]);
    if (filled.innerHTML === choice.innerHTML) return;
    choice.replaceChildren(...filled.children);
    choice.value = chosen;
    if (choice.selectedIndex < 0) choice.value = '';
  }

  async draw(which) {
    if (!this.film) throw new Error('Open a film first.');
    this.films.outlined.clear(); // those of an edit before are no part of what is drawn now
    await this.films.put(this.viewportId, this.film);
    await startDrawing(this.films, this, which);
    setBrush(this.films, this.film, Number(this.brush.value));
    this.drawing = which;
    this.take('draw');
    this.brushes.hidden = false;
    this.say(`Draw the ${which} mask on the film.`);
  }

  take(tool) {
    takeTool(this.films, tool);
    for (const each of this.tools) {
      each.setAttribute('aria-pressed', String(each.dataset.tool === tool));
    }
    // What was drawn last counts: going back to the brush is going back to what it painted.
    if (this.drawing && !(tool in ROI_TOOLS)) {
      this.choose(this.drawing, brushed(this.film, this.drawing));
    }
  }

  choose(which, value) {
    this.fillMask(which);
    this.masks[which].choice.value = value;
    this.masks[which].expression.value = '';
  }

  /** A region was drawn: it is the mask that is being drawn. */
  regionDrawn({ annotationUID }) {
    if (!this.film) return;
    const roi = roisOf(this.films, this.film).find(each => each.value === `roi:${annotationUID}`);
    if (!roi || !this.drawing) return this.soon();
    this.choose(this.drawing, roi.value);
    this.say(`The ${this.drawing} mask is ${roi.label}.`);
  }

  stopDrawing() {
    stopHolding();
    takeTool(this.films, 'look');
    this.drawing = null;
    this.brushes.hidden = true;
    this.say('');
  }

  async request(film) {
    if (!film) throw new Error('Open a film first.');
    const prompt = this.prompt.value.trim();
    if (!prompt) throw new Error('Say in the prompt what the film should show.');
    const body = {
      sop_instance_uid: instanceOf(film).SOPInstanceUID,
      prompt,
      study_mode: this.study.value,
      ...this.parameters.values(),
    };
    for (const which of MASKS) {
      const { choice, expression } = this.masks[which];
      const mask = expression.value.trim()
        ? { expression: expression.value.trim() }
        : await maskOf(this.films, film, choice.value, which);
      if (!mask) continue;
      body[`${which}_mask`] = mask.expression;
      if (mask.png) body.masks = { ...body.masks, [which]: mask.png };
    }
    if (!body.edit_mask) throw new Error('Choose or draw the edit mask: what may change.');
    return body;
  }

  async submit() {
    const { film } = this;
    const body = await this.request(film);
    this.run.disabled = true;
    this.say('Sending the request …');
    try {
      const job = await api.submit(body);
      // The same request is the same job: one that was cancelled is meant to run after all.
      const isOver = ['failed', 'cancelled'].includes(job.state);
      await this.follow(isOver ? await api.retry(job.id) : job, film);
    } finally {
      this.run.disabled = !this.film || Boolean(this.job);
    }
  }

  /** Follow a job of a film to its end; another film may have been opened when it comes. */
  async follow(job, film) {
    this.progress(job);
    let ended;
    try {
      ended = await api.follow(
        job.id,
        told => this.progress(told),
        trouble => this.say(trouble, true)
      );
    } finally {
      this.progress(null);
      // That film's own job was not followed as long as this one was.
      if (film !== this.film) this.attempt(() => this.goOn(this.film));
    }
    if (ended.state === 'cancelled') return this.say('The edit was cancelled.');
    if (ended.state !== 'done') throw new Error(ended.error ?? 'The edit failed.');
    return this.arrived(ended.result, film);
  }

  progress(job) {
    this.job = job;
    this.cancel.hidden = !job;
    this.bar.hidden = !job;
    this.run.disabled = Boolean(job);
    if (job?.state !== 'queued') this.queuedAt = null;
    if (!job) return undefined;
    this.bar.value = job.total ? job.done / job.total : 0;
    const steps = job.total ? ` step ${job.done} of ${job.total}` : '';
    if (job.state !== 'queued') return this.say(`${job.stage || 'Working'}${steps}`);
    this.queuedAt ??= performance.now();
    if (performance.now() - this.queuedAt < SILENT_MS) return this.say('Waiting for a free worker …');
    return this.attempt(() => this.sayWhyQueued(job.id));
  }

  async sayWhyQueued(id) {
    const workers = await api.workers();
    if (this.job?.id !== id || this.job.state !== 'queued') return;
    this.say(
      workers
        ? 'Waiting for a free worker …'
        : 'No worker is ready: the edit waits until one is started; it can be cancelled.',
      !workers
    );
  }

  async arrived(result, film) {
    await this.loadHistory(film);
    if (film !== this.film) return this.say('The edit of the film before is done; open that film.');
    const edit = this.history.find(result.edit_id);
    if (!edit) throw new Error('The edit is done, but the archive does not list it yet; reload.');
    await this.open(edit);
    const seconds = Object.values(result.seconds ?? {}).reduce((sum, each) => sum + each, 0);
    return this.say(`Done in ${seconds.toFixed(1)} s. The edited film is on the right.`);
  }

  async open(edit) {
    this.endFlicker();
    this.stopDrawing();
    const { film } = this;
    this.pair = await this.films.compare(film, edit);
    putAway(this.films.services, this.pair.left, film);
    this.compare.hidden = false;
    this.linked.checked = true;
    this.shownMasks.checked = true;
    this.films.outlined.setShown(true);
    this.history.mark(edit.edit_id);
    this.say('The edited film is on the right, the original on the left.');
  }

  reuse(edit) {
    const given = edit.parameters;
    this.prompt.value = given.prompt ?? '';
    this.parameters.set(given);
    for (const which of MASKS) {
      const expression = given[`${which}_mask`] ?? '';
      // A drawing is not in the record, but it is in the SEG of the edit.
      const isDrawn = expression.includes('uploaded:');
      this.masks[which].expression.value = isDrawn
        ? named('seg', `${which} mask@${edit.seg}`)
        : expression;
    }
    this.say('The parameters of that edit are in the form.');
  }

  toggleFlicker() {
    if (this.stopFlicker) return this.endFlicker();
    this.linked.checked = true;
    this.setLinked();
    this.stopFlicker = startFlicker(this.films, this.pair);
    this.flicker.setAttribute('aria-pressed', 'true');
    return undefined;
  }

  endFlicker() {
    this.stopFlicker?.();
    this.stopFlicker = null;
    this.flicker.setAttribute('aria-pressed', 'false');
  }

  setLinked() {
    const viewports = [this.pair.left, this.pair.right];
    if (this.linked.checked) return this.films.link(viewports);
    this.endFlicker();
    return this.films.unlink(viewports);
  }

  say(text, isError = false) {
    this.status.textContent = text;
    this.status.classList.toggle('radedit-error', isError);
  }

  /** Do something; what goes wrong is said in the panel. */
  async attempt(action) {
    try {
      return await action();
    } catch (error) {
      this.say(error.message, true);
      return undefined;
    }
  }
}

function button(text, click, className = '') {
  return el('button', { type: 'button', click, class: `radedit-button ${className}`.trim() }, text);
}
