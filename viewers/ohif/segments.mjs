// The segments of a segmentation that OHIF has just made, in the colours of our masks.
const COLOURS = { 'edit mask': [255, 112, 67, 255], 'keep mask': [64, 196, 255, 255] };
const OTHER = [255, 202, 92, 255];

/** The colour that a mask is shown in: red, green, blue, opacity, each 0 to 255. */
export const colourOf = label => COLOURS[label] ?? OTHER;

/** Replace whatever segments there are by those of {segmentIndex, label}. */
export function setSegments(service, segmentationId, viewportId, segments) {
  for (const index of Object.keys(service.getSegmentation(segmentationId)?.segments ?? {})) {
    service.removeSegment(segmentationId, Number(index));
  }
  for (const { segmentIndex, label } of segments.filter(Boolean)) {
    service.addSegment(segmentationId, { segmentIndex, label });
    service.setSegmentColor(viewportId, segmentationId, segmentIndex, colourOf(label));
  }
}

/** Where the pixels of a segment are: ids of label images, and the value that stands for it. */
export function voxelsOf(segmentation, segmentIndex) {
  const { imageIds, labelmaps, segmentBindings } = segmentation.representationData.Labelmap;
  // Segments that overlap lie in label images of their own.
  const binding = segmentBindings?.[segmentIndex];
  return {
    imageIds: labelmaps?.[binding?.labelmapId]?.imageIds ?? imageIds,
    value: binding?.labelValue ?? segmentIndex,
  };
}
