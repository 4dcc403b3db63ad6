// The edits of a film that the archive holds, each of which can be opened and used again.
import { el } from './dom.mjs';

export class History {
  constructor({ open, reuse }) {
    this.edits = [];
    this.open = open;
    this.reuse = reuse;
    this.list = el('ol', { class: 'radedit-edits' });
    this.element = el(
      'section',
      { class: 'radedit-history', 'aria-label': 'Edits of this film' },
      el('h3', {}, 'Edits of this film'),
      this.list
    );
  }

  clear() {
    this.edits = [];
    this.list.replaceChildren();
  }

  show(edits) {
    // What was cut short has no image to show.
    this.edits = edits.filter(edit => edit.uids.sc).map(flat);
    const rows = this.edits.map(edit => this.row(edit));
    this.list.replaceChildren(...(rows.length ? rows : [el('li', {}, 'None yet.')]));
  }

  find(id) {
    return this.edits.find(edit => edit.edit_id === id);
  }

  mark(id) {
    for (const row of this.list.children) {
      row.toggleAttribute('aria-current', row.dataset.edit === id);
    }
  }

  row(edit) {
    const { parameters } = edit;
    const when = new Date(edit.created).toLocaleString();
    const act = (text, action) =>
      el('button', { type: 'button', class: 'radedit-button', click: () => action(edit) }, text);
    return el(
      'li',
      { 'data-edit': edit.edit_id },
      el('q', {}, parameters.prompt ?? ''),
      el('small', {}, `${parameters.method}, ${parameters.steps} steps, guidance ${parameters.guidance}, seed ${parameters.seed}`),
      el('small', {}, when),
      el('div', { class: 'radedit-actions' }, act('Open', this.open), act('Use settings', this.reuse))
    );
  }
}

/** Bring an edit of the server's list to {edit_id, created, parameters, study, sc, seg, series}. */
const flat = ({ edit_id, created, parameters, study, uids, series }) => ({
  edit_id,
  created,
  parameters,
  study,
  sc: uids.sc,
  seg: uids.seg,
  series,
});
