// The masks of an edit as outlines over the films that they belong to.
//
// They are drawn by us and not by OHIF as segmentations: it would need a copy of them for the
// original, and gives such a copy its colours in another turn of the event loop than its
// pixels. When a viewport is laid out anew in between, the copy is painted opaque black.
// Here each picture that a viewport has drawn is followed by the outlines of the image in it,
// so that whatever is shown, and however it came there, has its own outlines or none.
import { colourOf } from './segments.mjs';

const WIDTH_PX = 2;
const OVERLAY = 'radedit-outlines';

export class Outlines {
  constructor(cornerstone) {
    this.cornerstone = cornerstone;
    this.masks = new Map(); // image id to its masks
    this.isShown = true;
    this.watched = new WeakSet();
    const { ELEMENT_ENABLED } = cornerstone.Enums.Events;
    cornerstone.eventTarget.addEventListener(ELEMENT_ENABLED, event => this.watch(event.detail.element));
    this.redraw();
  }

  /** Outline masks on images: [{label, path}], where paths are in pixels of the image. */
  show(imageIds, masks) {
    this.masks = new Map(imageIds.map(imageId => [imageId, masks]));
    this.redraw();
  }

  clear() {
    this.masks.clear();
    this.redraw();
  }

  setShown(isShown) {
    this.isShown = isShown;
    this.redraw();
  }

  redraw() {
    for (const { viewport } of this.cornerstone.getEnabledElements()) {
      this.watch(viewport.element);
      this.draw(viewport);
    }
  }

  watch(element) {
    if (this.watched.has(element)) return;
    this.watched.add(element);
    element.addEventListener(this.cornerstone.Enums.Events.IMAGE_RENDERED, () => {
      const enabled = this.cornerstone.getEnabledElement(element);
      if (enabled) this.draw(enabled.viewport);
    });
  }

  draw(viewport) {
    const masks = this.isShown ? (this.masks.get(viewport.getCurrentImageId?.()) ?? []) : [];
    const overlay = overlayOf(viewport.element, masks.length > 0);
    if (!overlay) return;
    const { clientWidth, clientHeight } = viewport.element;
    const ratio = window.devicePixelRatio || 1;
    overlay.width = Math.round(clientWidth * ratio);
    overlay.height = Math.round(clientHeight * ratio);
    const toScreen = placeOf(viewport);
    if (!masks.length || !toScreen) return;
    const context = overlay.getContext('2d');
    context.lineWidth = WIDTH_PX * ratio;
    for (const { label, path } of masks) {
      const onScreen = new Path2D();
      onScreen.addPath(path, new DOMMatrix().scaleSelf(ratio).multiplySelf(toScreen));
      context.strokeStyle = `rgb(${colourOf(label).slice(0, 3).join(' ')})`;
      context.stroke(onScreen);
    }
  }
}

function overlayOf(element, isNeeded) {
  const found = element.querySelector(`:scope > .${OVERLAY}`);
  if (found || !isNeeded) return found;
  const overlay = document.createElement('canvas');
  overlay.className = OVERLAY;
  overlay.setAttribute('aria-hidden', 'true');
  element.append(overlay);
  return overlay;
}

/** The matrix from pixels of the image, its corner at 0, 0, to those of the viewport. */
function placeOf(viewport) {
  const image = viewport.getImageData?.()?.imageData;
  if (!image) return null;
  // VTK counts from the middle of the first pixel.
  const [corner, right, below] = [[0, 0], [1, 0], [0, 1]].map(([x, y]) =>
    viewport.worldToCanvas(image.indexToWorld([x - 0.5, y - 0.5, 0]))
  );
  return new DOMMatrix([
    right[0] - corner[0], right[1] - corner[1],
    below[0] - corner[0], below[1] - corner[1],
    corner[0], corner[1],
  ]);
}

/** The edges between the pixels for which `isInside(index)` holds and those around them. */
export function outlineOf(isInside, rows, columns) {
  const path = new Path2D();
  const at = (row, column) =>
    row >= 0 && row < rows && column >= 0 && column < columns && isInside(row * columns + column);
  trace(rows, columns, (line, along) => at(line - 1, along) !== at(line, along),
    (line, from, to) => { path.moveTo(from, line); path.lineTo(to, line); });
  trace(columns, rows, (line, along) => at(along, line - 1) !== at(along, line),
    (line, from, to) => { path.moveTo(line, from); path.lineTo(line, to); });
  return path;
}

/** Draw each run of edges on each line between pixels. */
function trace(lines, length, isEdge, draw) {
  for (let line = 0; line <= lines; line += 1) {
    let from = -1;
    for (let along = 0; along <= length; along += 1) {
      const edge = along < length && isEdge(line, along);
      if (edge && from < 0) from = along;
      if (!edge && from >= 0) {
        draw(line, from, along);
        from = -1;
      }
    }
  }
}
