// A mode: OHIF's segmentation mode, with its brushes, and the RadEdit panel beside it.
const EXTENSION = new URL('extension.mjs', import.meta.url).pathname;
const PANEL = 'radedit.panelModule.edit';
const BRUSHES = '@ohif/extension-cornerstone.panelModule.panelSegmentationWithToolsLabelMap';

const mode = {
  id: 'radedit-mode',

  async modeFactory({ loadModules }) {
    const [basic, segmentation] = await loadModules([
      '@ohif/mode-basic',
      '@ohif/mode-segmentation',
    ]);
    const shown = basic.modeInstance.routes[0];
    const layoutInstance = {
      ...shown.layoutInstance,
      props: {
        ...shown.layoutInstance.props,
        rightPanels: [PANEL, BRUSHES],
        rightPanelClosed: false,
        rightPanelInitialExpandedWidth: 380,
      },
    };
    return {
      ...segmentation.modeInstance,
      id: 'radedit-mode',
      routeName: 'radedit-edit',
      displayName: 'RadEdit',
      hide: false,
      // The basic mode stays on the panel that a person is in; the segmentation mode leaves it.
      onModeEnter: basic.modeInstance.onModeEnter,
      hangingProtocol: basic.modeInstance.hangingProtocol,
      sopClassHandlers: basic.modeInstance.sopClassHandlers,
      isValidMode: ({ modalities }) => ({
        valid: modalities.split('\\').some(modality => ['CR', 'DX'].includes(modality)),
        description: 'RadEdit edits radiographs (CR, DX).',
      }),
      routes: [{ ...shown, path: 'radedit', layoutInstance }],
      extensions: { ...segmentation.modeInstance.extensions, [EXTENSION]: '^1.0.0' },
    };
  },
};

export default mode;
