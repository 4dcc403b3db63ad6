// The original laid over the edited image and taken away again, so that the eye finds the change.

const PERIOD_MS = 600; // below three changes a second, above which some people are harmed

/** Start; gives back what stops it. Both viewports must be linked, else the pictures differ. */
export function startFlicker(films, { left, right }) {
  const element = id =>
    films.services.cornerstoneViewportService.getCornerstoneViewport(id)?.element ?? null;
  const cover = document.createElement('canvas');
  cover.className = 'radedit-flicker';
  cover.setAttribute('aria-hidden', 'true');
  const badge = document.createElement('div');
  badge.className = 'radedit-badge';
  badge.setAttribute('role', 'status');
  const target = element(right);
  target.append(cover, badge);
  let original = false;

  const draw = () => {
    const from = element(left)?.querySelector('canvas.cornerstone-canvas');
    if (!from || !target.isConnected) return stop();
    original = !original;
    cover.hidden = !original;
    badge.textContent = original ? 'ORIGINAL' : 'EDITED';
    badge.dataset.shows = original ? 'original' : 'edited';
    if (!original) return undefined;
    cover.width = from.width;
    cover.height = from.height;
    cover.getContext('2d').drawImage(from, 0, 0);
    return undefined;
  };
  const timer = setInterval(draw, PERIOD_MS);
  function stop() {
    clearInterval(timer);
    cover.remove();
    badge.remove();
  }
  draw();
  return stop;
}
