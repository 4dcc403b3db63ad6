// Drawing a mask without leaving the panel: a segmentation of our own, and OHIF's brushes.
const NAME = 'RadEdit';
const SEGMENTS = { edit: 1, keep: 2 };
const LABELS = { edit: 'edit mask', keep: 'keep mask' };
const COLOURS = { edit: [255, 112, 67, 255], keep: [64, 196, 255, 255] };
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
    setSegments(segmentationService, segmentationId, viewportId);
  }
  segmentationService.setActiveSegmentation(viewportId, segmentationId);
  segmentationService.setActiveSegment(segmentationId, SEGMENTS[which]);
  return `drawn:${segmentationId}:${SEGMENTS[which]}`;
}

function setSegments(service, segmentationId, viewportId) {
  for (const index of Object.keys(service.getSegmentation(segmentationId)?.segments ?? {})) {
    service.removeSegment(segmentationId, Number(index));
  }
  for (const which of ['edit', 'keep']) {
    const segmentIndex = SEGMENTS[which];
    service.addSegment(segmentationId, { segmentIndex, label: LABELS[which] });
    service.setSegmentColor(viewportId, segmentationId, segmentIndex, COLOURS[which]);
  }
}

/** Take up a brush, an eraser, or lay both down. */
export function takeTool(films, tool) {
  films.commands.run('setToolActive', { toolName: TOOLS[tool], toolGroupId: GROUP });
}

/** Set the brush's radius as a share of the film's shorter side, 0 to 1. */
export function setBrush(films, film, share) {
  const imageId = film.imageIds?.[0] ?? film.images?.[0]?.imageId;
  const plane = films.libraries.cornerstone.metaData.get('imagePlaneModule', imageId);
  const side = Math.min(
    plane.rows * (plane.rowPixelSpacing || 1),
    plane.columns * (plane.columnPixelSpacing || 1)
  );
  films.commands.run('setBrushSize', { value: share * side });
}
