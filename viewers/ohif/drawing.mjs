// Drawing a mask without leaving the panel: a segmentation of our own, and OHIF's brushes.
import { imageIdsOf } from './films.mjs';
import { ROI_TOOLS } from './rois.mjs';
import { setSegments } from './segments.mjs';

const NAME = 'RadEdit';
const SEGMENTS = { edit: 1, keep: 2 };
const LABELS = { edit: 'edit mask', keep: 'keep mask' };
const TOOLS = { draw: 'CircularBrush', erase: 'CircularEraser', look: 'WindowLevel', ...ROI_TOOLS };
const GROUP = 'default';

/** Make ready to draw the edit or the keep mask of the film in a viewport. */
export async function startDrawing(films, { viewportId, film }, which) {
  const { segmentationService } = films.services;
  const segmentationId = idOf(film);
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
  } else if (!segmentationService.getSegmentationRepresentations(viewportId, { segmentationId }).length) {
    const type = 'Labelmap';
    await segmentationService.addSegmentationRepresentation(viewportId, { segmentationId, type });
  }
  segmentationService.setActiveSegmentation(viewportId, segmentationId);
  hold(() => segmentationService.setActiveSegment(segmentationId, SEGMENTS[which]));
}

/** The choice that stands for what the brush has painted of a mask. */
export const brushed = (film, which) => `drawn:${idOf(film)}:${SEGMENTS[which]}`;

const idOf = film => `radedit-${film.displaySetInstanceUID}`;

/** Take what the brush has painted out of a viewport; it is still there to be chosen. */
export function putAway({ segmentationService }, viewportId, film) {
  segmentationService.removeRepresentationsFromViewport(viewportId, { segmentationId: idOf(film) });
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

/** Take up a brush, an eraser, a tool for regions, or lay them down. */
export function takeTool(films, tool) {
  const group = films.services.toolGroupService.getToolGroup(GROUP);
  // OHIF's mode for segmentations has no tools that measure.
  if (!group.hasTool(TOOLS[tool])) group.addTool(TOOLS[tool]);
  // A mask is wanted, not figures in front of the film.
  if (tool in ROI_TOOLS) group.setToolConfiguration(TOOLS[tool], { getTextLines: () => [] });
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
