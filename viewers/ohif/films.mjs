// Which film is worked on, and an edit shown beside it.
import { setSegments } from './segments.mjs';

const LINK = 'radedit-link';
const OUTLINES = { renderOutline: true, outlineWidth: 2, renderFill: true, fillAlpha: 0.06 };
const WAIT_MS = 30000;

export class Films {
  constructor(ohif) {
    this.services = ohif.services;
    this.commands = ohif.commandsManager;
    this.extensions = ohif.extensionManager;
  }

  /** The libraries that OHIF draws with. */
  get libraries() {
    const name = '@ohif/extension-cornerstone.utilityModule.common';
    return this.extensions.getModuleEntry(name).exports.getCornerstoneLibraries();
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

  /** Put an edit to the right of the film it was made of, its masks on top. */
  async compare(film, edit) {
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
    if (masks) {
      await this.overlay(right, masks, result);
      await this.echo(left, masks);
    }
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
    const wanted = new Set(displaySet.images?.map(image => image.imageId) ?? []);
    await until(() => {
      const viewport = this.services.cornerstoneViewportService.getCornerstoneViewport(viewportId);
      const shown = viewport?.getCurrentImageId?.();
      return shown && (!wanted.size || wanted.has(shown)) && viewport.getImageData?.();
    }, 'The image does not appear in the viewer; reload the page.');
  }

  /** Lay the masks of a SEG over a viewport as outlines. */
  async overlay(viewportId, masks, result) {
    const { segmentationService } = this.services;
    masks.referencedDisplaySetInstanceUID = result.displaySetInstanceUID;
    await masks.load?.({ headers: {} });
    const segmentationId = masks.displaySetInstanceUID;
    const type = 'Labelmap';
    await segmentationService.addSegmentationRepresentation(viewportId, { segmentationId, type });
    segmentationService.setStyle({ viewportId, segmentationId, type }, OUTLINES);
  }

  /** Lay the same masks over the original: its pixels are the same, only its series is another. */
  async echo(viewportId, masks) {
    const { segmentationService } = this.services;
    const from = segmentationService.getSegmentation(masks.displaySetInstanceUID);
    const segmentationId = `${masks.displaySetInstanceUID}-on-original`;
    const type = 'Labelmap';
    if (segmentationService.getSegmentation(segmentationId)) {
      await segmentationService.addSegmentationRepresentation(viewportId, { segmentationId, type });
    } else {
      await this.commands.run('createLabelmapForViewport', {
        viewportId,
        options: { segmentationId, label: 'of an edit', createInitialSegment: false },
      });
      this.copy(from, segmentationId, viewportId);
    }
    segmentationService.setStyle({ viewportId, segmentationId, type }, OUTLINES);
  }

  copy(from, segmentationId, viewportId) {
    const { segmentationService } = this.services;
    const { cornerstone, cornerstoneTools } = this.libraries;
    const to = segmentationService.getSegmentation(segmentationId);
    setSegments(segmentationService, segmentationId, viewportId, Object.values(from.segments));
    const voxels = segmentation =>
      segmentation.representationData.Labelmap.imageIds.map(
        id => cornerstone.cache.getImage(id).voxelManager
      );
    const [target] = voxels(to);
    const values = target.getScalarData();
    for (const source of voxels(from)) {
      source.getScalarData().forEach((value, index) => {
        if (value) values[index] = value;
      });
    }
    target.setScalarData(values);
    const { triggerSegmentationEvents } = cornerstoneTools.segmentation;
    triggerSegmentationEvents.triggerSegmentationDataModified(segmentationId);
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
      this.services.syncGroupService.removeViewportFromSyncGroup(viewportId, engine, LINK);
      this.services.syncGroupService.addViewportToSyncGroup(viewportId, engine, [
        { type: 'zoompan', id: LINK, source: true, target: true },
      ]);
    }
  }

  unlink(viewportIds) {
    for (const viewportId of viewportIds) {
      const viewport = this.services.cornerstoneViewportService.getCornerstoneViewport(viewportId);
      if (!viewport) continue;
      const engine = viewport.getRenderingEngine().id;
      this.services.syncGroupService.removeViewportFromSyncGroup(viewportId, engine, LINK);
    }
  }
}

/** Whether a display set is a film, edited or not. */
export function isRadiograph(displaySet) {
  return ['CR', 'DX'].includes(displaySet?.Modality) && Boolean(instanceOf(displaySet));
}

/** Whether a display set says of itself that it was edited. */
export function isEdited(displaySet) {
  const instance = instanceOf(displaySet);
  return (
    instance?.SyntheticData === 'YES' ||
    instance?.['0008001C'] === 'YES' ||
    /AI-EDITED/.test(displaySet?.SeriesDescription ?? '')
  );
}

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
