// The pictures: original and edited film on one place with a border between them, or, blinded,
// two films beside each other. Zoomed and moved as one.
import { hidden, picture } from './api.mjs';

const SIDE = 1200;
const CLOSE_SIDE = 4096; // fetched when zoomed in
const MAX_ZOOM = 12;
const FLICKER_MS = 600; // below three changes a second, above which some people are harmed

export class Stage {
  constructor(element, moved) {
    this.element = element;
    this.moved = moved;
    this.panes = [];
    this.reset();
    element.addEventListener('wheel', event => this.wheel(event), { passive: false });
    element.addEventListener('pointerdown', event => this.drag(event));
  }

  reset() {
    this.zoom = 1;
    this.offset = [0, 0];
    this.border = 50;
    this.swapped = null;
    this.isClose = false; // the pictures of the next films come at the smaller size again
    this.stopFlicker();
  }

  /** Show nothing, until the next films are there. */
  clear() {
    this.reset();
    this.panes = [];
    this.element.replaceChildren();
    this.element.setAttribute('aria-busy', 'true');
  }

  get isBusy() {
    return this.element.getAttribute('aria-busy') !== 'false';
  }

  /** Show an edit openly; resolves when both films are there. */
  async open(uid, reader, masks) {
    this.reset();
    const address = (shown, side) => picture(uid, shown, reader, side);
    const layers = [film('original', 'Original film'), film('edited', 'Edited film, synthetic')];
    for (const shown of ['edit-mask', 'keep-mask']) {
      if (masks.includes(shown.replace('-', ' '))) layers.push(film(shown, `Outline of the ${shown}`));
    }
    layers.push(film('difference', 'What changed: red whiter, blue blacker'));
    const names = [tag('original', 'ORIGINAL'), tag('edited', 'EDITED, SYNTHETIC')];
    this.fill([pane([...layers, line()], address)], names);
    this.setBorder(50);
    await this.ready(layers);
  }

  /** Show two films without saying which is edited; resolves when both are there. */
  async hide(uid, reader) {
    this.reset();
    const panes = ['a', 'b'].map((which, index) => {
      const layer = film(which, index ? 'Right film' : 'Left film');
      return pane([layer], (shown, side) => hidden(uid, shown, reader, side));
    });
    this.fill(panes, []);
    await this.ready(panes.map(each => each.querySelector('img')));
  }

  async ready(layers) {
    await Promise.all(layers.map(layer => loaded(layer)));
    // Another edit may have been chosen meanwhile.
    if (layers[0].isConnected) this.element.setAttribute('aria-busy', 'false');
  }

  fill(panes, names) {
    this.panes = panes;
    this.element.replaceChildren(...panes, ...names);
    this.element.classList.toggle('two', panes.length === 2);
    this.load(SIDE);
    this.place();
  }

  load(side) {
    for (const each of this.panes) {
      for (const layer of each.querySelectorAll('img')) {
        layer.src = each.address(layer.dataset.shown, side);
      }
    }
  }

  setBorder(percent) {
    this.border = Math.min(100, Math.max(0, percent));
    this.swapped = null;
    this.place();
    this.moved(this.border);
  }

  /** Show only one of the two: "original", "edited", or null for both with a border. */
  only(which) {
    this.swapped = which;
    this.place();
  }

  swap() {
    const next = this.swapped === 'original' ? 'edited' : 'original';
    this.stopFlicker();
    this.only(next);
  }

  toggleFlicker() {
    if (this.timer) return this.stopFlicker();
    this.only('original');
    this.timer = setInterval(
      () => this.only(this.swapped === 'original' ? 'edited' : 'original'),
      FLICKER_MS
    );
    return true;
  }

  stopFlicker() {
    clearInterval(this.timer);
    this.timer = null;
    if (this.swapped) this.only(null);
    return false;
  }

  zoomBy(factor) {
    this.zoom = Math.min(MAX_ZOOM, Math.max(1, this.zoom * factor));
    if (this.zoom === 1) this.offset = [0, 0];
    if (this.zoom > 1.5 && !this.isClose) {
      this.isClose = true;
      this.load(CLOSE_SIDE);
    }
    this.place();
  }

  fit() {
    this.zoom = 1;
    this.offset = [0, 0];
    this.place();
  }

  place() {
    const shown = this.swapped ? { original: 100, edited: 0 }[this.swapped] : this.border;
    this.element.dataset.only = this.swapped ?? '';
    this.element.style.setProperty('--border', `${shown}%`);
    this.element.style.setProperty('--zoom', this.zoom);
    this.element.style.setProperty('--x', `${this.offset[0]}px`);
    this.element.style.setProperty('--y', `${this.offset[1]}px`);
  }

  wheel(event) {
    event.preventDefault();
    this.zoomBy(event.deltaY < 0 ? 1.15 : 1 / 1.15);
  }

  /** Drag the border; zoomed in, or blinded, drag the film. */
  drag(down) {
    const movesBorder = this.zoom === 1 && this.panes.length === 1;
    const start = [...this.offset];
    const move = event => {
      if (movesBorder) {
        const box = this.panes[0].querySelector('.layers').getBoundingClientRect();
        this.setBorder(((event.clientX - box.left) / box.width) * 100);
        return;
      }
      this.offset = [start[0] + event.clientX - down.clientX, start[1] + event.clientY - down.clientY];
      this.place();
    };
    const end = new AbortController();
    this.element.setPointerCapture(down.pointerId);
    this.element.addEventListener('pointermove', move, { signal: end.signal });
    for (const name of ['pointerup', 'pointercancel']) {
      this.element.addEventListener(name, () => end.abort(), { signal: end.signal });
    }
    if (movesBorder) move(down);
  }
}

function pane(layers, address) {
  const held = document.createElement('div');
  held.className = 'layers';
  held.append(...layers);
  const element = document.createElement('div');
  element.className = 'pane';
  element.append(held);
  element.address = address;
  return element;
}

function film(shown, alt) {
  const image = new Image();
  image.dataset.shown = shown;
  image.alt = alt;
  image.draggable = false;
  return image;
}

function line() {
  const element = document.createElement('div');
  element.className = 'border';
  return element;
}

function tag(name, text) {
  const element = document.createElement('span');
  element.className = `tag ${name}`;
  element.textContent = text;
  return element;
}

function loaded(image) {
  if (image.complete && image.naturalWidth) return Promise.resolve();
  return new Promise((resolve, reject) => {
    image.addEventListener('load', resolve, { once: true });
    image.addEventListener(
      'error',
      () => reject(new Error('A film cannot be shown; it may be gone from the archive.')),
      { once: true }
    );
  });
}
