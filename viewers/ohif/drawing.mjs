// Drawing a mask without leaving the panel: a segmentation of our own, and OHIF's brushes.
import { imageIdsOf } from './films.mjs';
import { setSegments } from './segments.mjs';

const NAME = 'RadEdit';
const SEGMENTS = { edit: 1, keep: 2 };
const LABELS = { edit: 'edit mask', keep: 'keep mask' };
const TOOLS = { draw: 'CircularBrush', erase: 'CircularEraser', look: 'WindowLevel' };
const GROUP = 'default';

/** Make ready to draw the edit or the keep mask of the film in a viewport; gives its choice. */
export async function startDrawing(films, { viewportId, film }, which) {
  const { segmentationService } = films.services;
  const segmentationId = `radedit-${film.displaySetInstanceUID}`;
  if (!segmentationService.getSegmentation(segmentationId)) {
    await films.commands.run('createLabelmapForViewport', {
      viewportId,
      options: { segmentationId, label: NAME, createInitialSegment: false },
    });
    const segments = ['edit', 'keep'].map(each => ({
      segmentIndex: SEGMENTS[each],
      label: LABELS[each],
    }));
    setSegments(segmentationService, segmentationId, viewportId, segments);
  }
  segmentationService.setActiveSegmentation(viewportId, segmentationId);
  hold(() => segmentationService.setActiveSegment(segmentationId, SEGMENTS[which]));
  return `drawn:${segmentationId}:${SEGMENTS[which]}`;
}

// After a stroke OHIF counts the segment's pixels and, when done, makes that segment the active
// one again, be another chosen meanwhile. So the choice is made anew as each stroke begins.
let choose = null;

function hold(chosen) {
  chosen();
  if (!choose) document.addEventListener('mousedown', () => choose?.(), { capture: true });
  choose = chosen;
}

export function stopHolding() {
  choose = () => {};
}

/** Take up a brush, an eraser, or lay both down. */
export function takeTool(films, tool) {
  films.commands.run('setToolActive', { toolName: TOOLS[tool], toolGroupId: GROUP });
}

/** Set the brush's radius as a share of the film's shorter side, 0 to 1. */
export function setBrush(films, film, share) {
  const imageId = imageIdsOf(film)[0];
  const plane = films.libraries.cornerstone.metaData.get('imagePlaneModule', imageId);
  const side = Math.min(
    plane.rows * (plane.rowPixelSpacing || 1),
    plane.columns * (plane.columnPixelSpacing || 1)
  );
  films.commands.run('setBrushSize', { value: share * side });
}
