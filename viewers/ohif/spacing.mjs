// Some consoles write a pixel spacing of 0, which would shrink the film to nothing on the screen.
// Such a film is shown as one without spacing: in pixels.

const MODULE = 'imagePlaneModule';
const BEFORE_OTHERS = 20000;
let isAdded = false;

export function mendSpacing({ metaData }) {
  if (isAdded) return;
  isAdded = true;
  let asking = false;
  metaData.addProvider((type, imageId) => {
    if (type !== MODULE || asking) return undefined;
    asking = true;
    try {
      const found = metaData.get(type, imageId);
      return isZero(found) ? withoutSpacing(found) : undefined;
    } finally {
      asking = false;
    }
  }, BEFORE_OTHERS);
}

function isZero(plane) {
  const given = [plane?.rowPixelSpacing, plane?.columnPixelSpacing, plane?.pixelSpacing ?? []].flat();
  return given.some(spacing => spacing !== null && spacing !== undefined && Number(spacing) === 0);
}

const withoutSpacing = plane => ({
  ...plane,
  usingDefaultValues: true,
  pixelSpacing: [1, 1],
  rowPixelSpacing: 1,
  columnPixelSpacing: 1,
});
