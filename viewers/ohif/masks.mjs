// Where a mask can come from: what was drawn here, a SEG of the archive, a task.
import { imageIdsOf, instanceOf } from './films.mjs';
import { regionOf, roisOf } from './rois.mjs';
import { voxelsOf } from './segments.mjs';

/**
 * List the places a mask can come from, for a select: [value, text] in groups.
 * Values are kept between listings, so that a choice survives a segment more or less.
 */
export function maskChoices(films, film, options) {
  const groups = [
    {
      group: 'Drawn here',
      options: [...drawn(films, film), ...roisOf(films, film)].map(each => [each.value, each.label]),
    },
    { group: 'Segmentations in the archive', options: archived(films, film) },
    { group: 'Tasks of this server', options: tasks(options) },
  ];
  return groups.filter(group => group.options.length);
}

/** Give {expression, png}: what the server is asked for, and the drawing if it is one. */
export async function maskOf(films, film, choice, name) {
  if (!choice) return null;
  const [kind] = choice.split(':', 1);
  if (kind === 'drawn') {
    const segment = drawn(films, film).find(each => each.value === choice);
    if (!segment) throw new Error('That segment is gone; choose a mask again.');
    const png = await pngOf(films, segment);
    if (!png) throw new Error(`Nothing is drawn in "${segment.label}" yet; draw the ${name} mask first.`);
    return { expression: `uploaded:${name}`, png };
  }
  if (kind === 'roi') {
    const roi = roisOf(films, film).find(each => each.value === choice);
    if (!roi) throw new Error('That region is gone; choose a mask again.');
    const { expression, isInside } = regionOf(films, roi.annotation);
    if (expression) return { expression };
    const png = regionPng(film, isInside);
    if (!png) throw new Error(`No pixel is inside ${roi.label}; draw a larger ${name} mask.`);
    return { expression: `uploaded:${name}`, png };
  }
  return { expression: choice };
}

/** Write a mask's name in the grammar's own way: what holds blanks or operators goes in quotes. */
export const named = (kind, name) =>
  /[\s"+,()~]/.test(name) ? `${kind}:"${name}"` : `${kind}:${name}`;

function drawn(films, film) {
  const wanted = new Set(imageIdsOf(film));
  const found = [];
  for (const segmentation of films.services.segmentationService.getSegmentations()) {
    for (const segment of Object.values(segmentation.segments ?? {})) {
      if (!segment || !segmentation.representationData?.Labelmap) continue;
      const index = segment.segmentIndex;
      const { imageIds, value: voxel } = voxelsOf(segmentation, index);
      const imageId = imageIds?.find(id => refersTo(films, id, wanted));
      if (!imageId) continue;
      const value = `drawn:${segmentation.segmentationId}:${index}`;
      found.push({ value, label: `${segment.label} (${segmentation.label})`, imageId, voxel });
    }
  }
  return found;
}

function refersTo(films, imageId, wanted) {
  return wanted.has(films.libraries.cornerstone.cache.getImage(imageId)?.referencedImageId);
}

function archived(films, film) {
  const series = instanceOf(film).SeriesInstanceUID;
  const labels = films.services.displaySetService
    .getActiveDisplaySets()
    .filter(set => set.Modality === 'SEG' && set.referencedSeriesInstanceUID === series)
    .flatMap(set => [instanceOf(set)?.SegmentSequence ?? []].flat(2))
    .map(segment => segment.SegmentLabel)
    .filter(Boolean);
  return [...new Set(labels)].map(label => [named('seg', label), label]);
}

function tasks(options) {
  return (options?.mask_tasks ?? []).flatMap(task => {
    const labels = (task.labels ?? []).map((label, index) => [
      named('task', `${task.name}:${label}`),
      task.titles?.[index] ?? label,
    ]);
    const whole = [named('task', task.name), `${task.name}, all of it`];
    return labels.length === 1 ? labels : [...labels, whole];
  });
}

/** The drawing as a PNG of the film's size (base64), or null if it is empty. */
async function pngOf(films, { imageId, voxel }) {
  const image = films.libraries.cornerstone.cache.getImage(imageId);
  const values = image.voxelManager.getScalarData();
  return png(image.columns, image.rows, index => values[index] === voxel);
}

function regionPng(film, isInside) {
  const { Rows, Columns } = instanceOf(film);
  const middle = index => [(index % Columns) + 0.5, Math.floor(index / Columns) + 0.5];
  return png(Columns, Rows, index => isInside(...middle(index)));
}

function png(columns, rows, isInside) {
  const canvas = document.createElement('canvas');
  canvas.width = columns;
  canvas.height = rows;
  const context = canvas.getContext('2d');
  const picture = context.createImageData(columns, rows);
  const pixels = new Uint32Array(picture.data.buffer);
  let count = 0;
  for (let i = 0; i < pixels.length; i += 1) {
    const inside = isInside(i);
    if (inside) count += 1;
    pixels[i] = inside ? 0xffffffff : 0xff000000;
  }
  if (!count) return null;
  context.putImageData(picture, 0, 0);
  return canvas.toDataURL('image/png').split(',', 2)[1];
}
