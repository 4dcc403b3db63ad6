// Elements without markup: text goes in as text, so that no prompt can become a script.

/** Make an element; properties that are no function or known field become attributes. */
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (typeof value === 'function') element.addEventListener(name, value);
    else if (name === 'value' || name === 'checked' || name === 'disabled') element[name] = value;
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.flat().filter(child => child !== null && child !== undefined));
  return element;
}

/** A labelled control; the label is the control's accessible name. */
export function field(label, control, hint = '') {
  return el('label', { class: 'radedit-field', title: hint }, el('span', {}, label), control);
}

/** A select of [value, text] pairs, or of {group, options} of such pairs. */
export function select(name, choices, onchange) {
  const option = ([value, text]) => el('option', { value }, text);
  const entries = choices.map(choice =>
    Array.isArray(choice)
      ? option(choice)
      : el('optgroup', { label: choice.group }, choice.options.map(option))
  );
  return el('select', { name, change: onchange }, entries);
}
