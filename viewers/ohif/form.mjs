// The form of an edit: from the server's own table of parameters, and back into a request.
import { el, field, select } from './dom.mjs';

/** Parameters shown at once; the others wait in the details. */
const FIRST = ['method', 'steps', 'guidance', 'seed'];
const APART = new Set(['prompt', 'edit_mask', 'keep_mask', 'masks', 'study_mode']);
const TEXTS = { str: 'text', int: 'number', float: 'number' };

export class Parameters {
  constructor(table) {
    const names = Object.keys(table).filter(name => !APART.has(name) && !table[name].hidden);
    this.table = table;
    this.controls = Object.fromEntries(names.map(name => [name, controlOf(name, table[name])]));
    const rows = chosen => chosen.map(name => field(plain(name), this.controls[name], table[name].help));
    this.element = el(
      'div',
      { class: 'radedit-parameters' },
      rows(names.filter(name => FIRST.includes(name))),
      el(
        'details',
        {},
        el('summary', {}, 'More parameters'),
        rows(names.filter(name => !FIRST.includes(name)))
      )
    );
  }

  /** Values by name, of the type that the server wants; what was left empty is left out. */
  values() {
    const found = {};
    for (const [name, control] of Object.entries(this.controls)) {
      if (control.value === '') continue;
      if (!control.checkValidity()) {
        throw new Error(`${plain(name)}: ${control.validationMessage}`);
      }
      const { type } = this.table[name];
      found[name] = type === 'str' ? control.value : Number(control.value);
    }
    return found;
  }

  /** Take up the values of an earlier edit; what it does not say goes back to its default. */
  set(values) {
    for (const [name, control] of Object.entries(this.controls)) {
      const given = name === 'edit_model' ? (values.edit_model ?? values.model) : values[name];
      control.value = given ?? this.table[name].default ?? '';
    }
  }
}

function controlOf(name, about) {
  if (about.choices?.length) {
    const control = select(name, about.choices.map(choice => [choice, choice]));
    control.value = about.default;
    return control;
  }
  return el('input', {
    name,
    type: TEXTS[about.type] ?? 'text',
    value: String(about.default ?? ''),
    min: about.minimum,
    max: about.maximum,
    step: about.type === 'int' ? '1' : 'any',
  });
}

export const plain = name => name.replaceAll('_', ' ').replace(' px', ' (model pixels)');
