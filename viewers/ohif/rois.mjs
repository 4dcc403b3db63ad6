// Regions drawn with OHIF's measuring tools, as masks: rectangles, ellipses and closed outlines.
import { imageIdsOf } from './films.mjs';

/** The tools by the word for what they draw. */
export const ROI_TOOLS = {
  rectangle: 'RectangleROI',
  ellipse: 'EllipticalROI',
  freehand: 'PlanarFreehandROI',
};
const WORDS = Object.fromEntries(Object.entries(ROI_TOOLS).map(([word, tool]) => [tool, word]));
const UPRIGHT_PX = 0.5; // corners of an upright shape are off by less

/** The regions on a film, the oldest first: [{value, label, annotation}]. */
export function roisOf(films, film) {
  const ids = new Set(imageIdsOf(film));
  return films.libraries.cornerstoneTools.annotation.state
    .getAllAnnotations()
    .filter(({ metadata }) => metadata.toolName in WORDS && ids.has(metadata.referencedImageId))
    .map((annotation, index) => ({
      value: `roi:${annotation.annotationUID}`,
      label: `${WORDS[annotation.metadata.toolName]} ${index + 1}`,
      annotation,
    }));
}

/**
 * Give {expression, isInside}: an upright rectangle or ellipse in the mask grammar's words, or
 * else whether the middle of a pixel (x, y) is inside.
 */
export function regionOf(films, annotation) {
  const { toolName, referencedImageId } = annotation.metadata;
  const { worldToImageCoords } = films.libraries.cornerstone.utilities;
  const inPixels = points => points.map(point => worldToImageCoords(referencedImageId, point));
  if (toolName === ROI_TOOLS.freehand) {
    const { closed, polyline } = annotation.data.contour;
    if (!closed) throw new Error('The outline is not closed; draw it round to where it began.');
    return { isInside: insideOf(inPixels(polyline)) };
  }
  const points = inPixels(annotation.data.handles.points);
  return toolName === ROI_TOOLS.ellipse ? ellipse(points) : rectangle(points);
}

function rectangle([a, b, c, d]) {
  const [xs, ys] = [0, 1].map(axis => [a, b, c, d].map(corner => corner[axis]));
  const box = [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
  const isUpright = [a, b, c, d].every(([x, y]) =>
    near(x, box[0], box[2]) && near(y, box[1], box[3])
  );
  // The handles are two corners, then those on their other diagonal.
  if (!isUpright) return { isInside: insideOf([a, b, d, c]) };
  return { expression: `box:${box.map(Math.round).join(',')}` };
}

const near = (value, ...others) => others.some(other => Math.abs(value - other) < UPRIGHT_PX);

/** From the ends of the two axes, each after the other. */
function ellipse([lower, upper, left, right]) {
  const [x, y] = [0, 1].map(axis => (lower[axis] + upper[axis]) / 2);
  const half = (from, to) => [(to[0] - from[0]) / 2, (to[1] - from[1]) / 2];
  const [u, v] = [half(left, right), half(upper, lower)];
  const area = u[0] * v[1] - u[1] * v[0];
  if (Math.abs(area) < 1) throw new Error('The ellipse has no area; draw a larger one.');
  for (const [across, down] of [[u, v], [v, u]]) {
    if (Math.abs(across[1]) < UPRIGHT_PX && Math.abs(down[0]) < UPRIGHT_PX) {
      const shape = [x, y, Math.abs(across[0]), Math.abs(down[1])];
      return { expression: `ellipse:${shape.map(each => each.toFixed(1)).join(',')}` };
    }
  }
  return {
    isInside: (atX, atY) => {
      const [dx, dy] = [atX - x, atY - y];
      return ((dx * v[1] - dy * v[0]) / area) ** 2 + ((u[0] * dy - u[1] * dx) / area) ** 2 <= 1;
    },
  };
}

/** Whether a place is inside a polygon: a ray to the right crosses its edges an odd number of times. */
function insideOf(polygon) {
  let row = null;
  let crossings = []; // of that row, which is asked for pixel after pixel
  return (x, y) => {
    if (y !== row) {
      row = y;
      crossings = crossingsOf(polygon, y);
    }
    let count = 0;
    for (const crossing of crossings) if (crossing > x) count += 1;
    return count % 2 === 1;
  };
}

function crossingsOf(polygon, y) {
  const found = [];
  polygon.forEach(([x0, y0], index) => {
    const [x1, y1] = polygon[(index + 1) % polygon.length];
    if (y0 > y !== y1 > y) found.push(x0 + ((y - y0) * (x1 - x0)) / (y1 - y0));
  });
  return found;
}
