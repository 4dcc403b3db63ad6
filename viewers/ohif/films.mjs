// Which film is worked on, and an edit shown beside it.
import { Outlines, outlineOf } from './outlines.mjs';
import { voxelsOf } from './segments.mjs';

const LINK = 'radedit-link';
const WINDOW_LINK = 'radedit-window-link';
const WAIT_MS = 30000;

export class Films {
  constructor(ohif) {
    this.services = ohif.services;
    this.commands = ohif.commandsManager;
    this.extensions = ohif.extensionManager;
    this.outlined = new Outlines(this.libraries.cornerstone);
  }

  /** The libraries that OHIF draws with. */
  get libraries() {
    return librariesOf(this.extensions);
  }

  /** The viewport that is worked in, and what it shows. */
  active() {
    const { viewports, activeViewportId } = this.services.viewportGridService.getState();
    const uids = viewports.get(activeViewportId)?.displaySetInstanceUIDs ?? [];
    const shown = uids.map(uid => this.services.displaySetService.getDisplaySetByUID(uid));
    return { viewportId: activeViewportId, film: shown.find(isRadiograph) ?? null };
  }

  /** The film that an edited one was made of, if OHIF knows it; a film itself is its own. */
  originalOf(film) {
    if (!film || !isEdited(film)) return film;
    const sources = [instanceOf(film).SourceImageSequence ?? []].flat();
    const uids = sources.map(source => source.ReferencedSOPInstanceUID);
    const known = this.services.displaySetService.getActiveDisplaySets().filter(isRadiograph);
    return known.find(set => uids.includes(instanceOf(set).SOPInstanceUID)) ?? null;
  }

  /** Have a viewport show a film. */
  async put(viewportId, film) {
    const grid = this.services.viewportGridService;
    const displaySetInstanceUIDs = [film.displaySetInstanceUID];
    const shown = grid.getState().viewports.get(viewportId)?.displaySetInstanceUIDs ?? [];
    if (shown.includes(film.displaySetInstanceUID)) return;
    grid.setDisplaySetsForViewports([{ viewportId, displaySetInstanceUIDs }]);
    await this.shows(viewportId, film);
  }

  /** Put an edit to the right of the film it was made of, both with the outlines of its masks. */
  async compare(film, edit) {
    this.outlined.clear();
    const [result, masks] = await this.load(edit);
    await this.commands.run('setViewportGridLayout', { numRows: 1, numCols: 2 });
    const grid = this.services.viewportGridService;
    const shown = () => [...grid.getState().viewports.keys()];
    await until(() => shown().length === 2, 'The viewer shows no second place; reload the page.');
    const [left, right] = shown();
    grid.setDisplaySetsForViewports([
      { viewportId: left, displaySetInstanceUIDs: [film.displaySetInstanceUID] },
      { viewportId: right, displaySetInstanceUIDs: [result.displaySetInstanceUID] },
    ]);
    await this.shows(left, film);
    await this.shows(right, result);
    this.outlined.show([film, result].flatMap(imageIdsOf), masks ? await this.outlines(masks, result) : []);
    this.link([left, right]);
    grid.setActiveViewportId(left);
    return { left, right };
  }

  /** Fetch the image and the masks of an edit, and wait until OHIF has made display sets. */
  async load(edit) {
    const source = this.extensions.getActiveDataSource()[0];
    const { study, series } = edit;
    const sets = this.services.displaySetService;
    const missing = [series.sc, series.seg].filter(uid => uid && !sets.getDisplaySetsForSeries(uid)?.length);
    if (missing.length) {
      // OHIF keeps what it once heard of a study, under a name that its own removal misses.
      source.deleteStudyMetadataPromise(study);
      source.deleteStudyMetadataPromise(`${source.getConfig().name}:${study}`);
      await source.retrieve.series.metadata({
        StudyInstanceUID: study,
        filters: { seriesInstanceUID: missing },
      });
    }
    const find = uid => () => sets.getDisplaySetsForSeries(uid)?.[0];
    const result = await until(find(series.sc), 'The edited image does not appear; reload the page.');
    const masks = series.seg ? await until(find(series.seg), 'The masks do not appear.') : null;
    keepInAddress(study);
    return [result, masks];
  }

  /** Wait until a viewport shows a display set. */
  async shows(viewportId, displaySet) {
    const wanted = new Set(imageIdsOf(displaySet));
    await until(() => {
      const viewport = this.services.cornerstoneViewportService.getCornerstoneViewport(viewportId);
      const shown = viewport?.getCurrentImageId?.();
      return shown && (!wanted.size || wanted.has(shown)) && viewport.getImageData?.();
    }, 'The image does not appear in the viewer; reload the page.');
  }

  /** Read the masks of a SEG: [{label, path}], in pixels of the film. */
  async outlines(masks, result) {
    const { segmentationService } = this.services;
    const { cornerstone } = this.libraries;
    masks.referencedDisplaySetInstanceUID = result.displaySetInstanceUID;
    await masks.load?.({ headers: {} });
    const segmentation = segmentationService.getSegmentation(masks.displaySetInstanceUID);
    const { Rows, Columns } = instanceOf(result);
    return Object.values(segmentation.segments)
      .filter(Boolean)
      .map(({ segmentIndex, label }) => {
        const { imageIds, value } = voxelsOf(segmentation, segmentIndex);
        const layers = imageIds.map(id => cornerstone.cache.getImage(id));
        if (layers.some(layer => layer.rows !== Rows || layer.columns !== Columns)) {
          throw new Error('The masks of the edit are of another size than the film; report this edit.');
        }
        const values = layers.map(layer => layer.voxelManager.getScalarData());
        const isInside = index => values.some(layer => layer[index] === value);
        return { label, path: outlineOf(isInside, Rows, Columns) };
      });
  }

  /**
   * Point each SEG to the first series it refers to. OHIF takes whichever of them it met first,
   * which for a SEG of an edit in its film's own study is the original.
   */
  mendReferences() {
    const sets = this.services.displaySetService;
    for (const masks of sets.getActiveDisplaySets().filter(set => set.Modality === 'SEG')) {
      const [first] = sets.getDisplaySetsForSeries(masks.referencedSeriesInstanceUID) ?? [];
      if (first && !masks.isLoaded) {
        masks.referencedDisplaySetInstanceUID = first.displaySetInstanceUID;
      }
    }
  }

  /** Let viewports be moved, zoomed and windowed as one. */
  link(viewportIds) {
    for (const viewportId of viewportIds) {
      const viewport = this.services.cornerstoneViewportService.getCornerstoneViewport(viewportId);
      const engine = viewport.getRenderingEngine().id;
      for (const link of [LINK, WINDOW_LINK]) {
        this.services.syncGroupService.removeViewportFromSyncGroup(viewportId, engine, link);
      }
      this.services.syncGroupService.addViewportToSyncGroup(viewportId, engine, [
        { type: 'zoompan', id: LINK, source: true, target: true },
        { type: 'voi', id: WINDOW_LINK, source: true, target: true },
      ]);
    }
  }

  unlink(viewportIds) {
    for (const viewportId of viewportIds) {
      const viewport = this.services.cornerstoneViewportService.getCornerstoneViewport(viewportId);
      if (!viewport) continue;
      const engine = viewport.getRenderingEngine().id;
      for (const link of [LINK, WINDOW_LINK]) {
        this.services.syncGroupService.removeViewportFromSyncGroup(viewportId, engine, link);
      }
    }
  }
}

export function librariesOf(extensionManager) {
  const name = '@ohif/extension-cornerstone.utilityModule.common';
  return extensionManager.getModuleEntry(name).exports.getCornerstoneLibraries();
}

/** Whether a display set is a film, edited or not. */
export function isRadiograph(displaySet) {
  return ['CR', 'DX'].includes(displaySet?.Modality) && Boolean(instanceOf(displaySet));
}

/** Whether a display set says of itself that it was edited; a phantom is made, but not edited. */
export function isEdited(displaySet) {
  const instance = instanceOf(displaySet);
  const isPhantom = valueOf(instance, 'QualityControlSubject', '00100200') === 'YES';
  return (
    valueOf(instance, 'ConversionType', '00080064') === 'SYN' ||
    (valueOf(instance, 'SyntheticData', '0008001C') === 'YES' && !isPhantom) ||
    /AI-EDITED/.test(displaySet?.SeriesDescription ?? '')
  );
}

// Attributes newer than OHIF's dictionary are known to it by their number only.
const valueOf = (instance, keyword, tag) => instance?.[keyword] ?? instance?.[tag];

export const imageIdsOf = film => film.imageIds ?? film.images?.map(image => image.imageId) ?? [];

export const instanceOf = displaySet => displaySet?.instances?.[0] ?? displaySet?.instance ?? null;

/** Ask until there is an answer, once a frame. */
export async function until(find, otherwise) {
  const end = performance.now() + WAIT_MS;
  for (;;) {
    const found = find();
    if (found) return found;
    if (performance.now() > end) throw new Error(otherwise);
    await new Promise(resolve => setTimeout(resolve, 50));
  }
}

/** Name a study in the page's address, so that a reload shows it again. */
function keepInAddress(study) {
  const address = new URL(window.location.href);
  const named = address.searchParams.getAll('StudyInstanceUIDs').flatMap(uids => uids.split(','));
  if (named.includes(study)) return;
  address.searchParams.set('StudyInstanceUIDs', [...named, study].join(','));
  window.history.replaceState(window.history.state, '', address);
}
