// The segments of a segmentation that OHIF has just made, in the colours of our masks.
const COLOURS = { 'edit mask': [255, 112, 67, 255], 'keep mask': [64, 196, 255, 255] };
const OTHER = [255, 202, 92, 255];

/** Replace whatever segments there are by those of {segmentIndex, label}. */
export function setSegments(service, segmentationId, viewportId, segments) {
  for (const index of Object.keys(service.getSegmentation(segmentationId)?.segments ?? {})) {
    service.removeSegment(segmentationId, Number(index));
  }
  for (const { segmentIndex, label } of segments.filter(Boolean)) {
    service.addSegment(segmentationId, { segmentIndex, label });
    service.setSegmentColor(viewportId, segmentationId, segmentIndex, COLOURS[label] ?? OTHER);
  }
}
