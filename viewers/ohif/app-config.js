// OHIF's configuration. The server gives this file in place of the one that OHIF ships with.
// Everything is of one origin; what is named here runs as code, so nothing else may be.
// It lies at the root of the server, wherever a proxy offers that.
const root = new URL('.', document.currentScript.src).pathname;
window.config = {
  name: 'radedit',
  routerBasename: root,
  extensions: [`${root}radedit/extension.mjs`],
  modes: [`${root}radedit/mode.mjs`],
  customizationService: {},
  showStudyList: true,
  maxNumberOfWebWorkers: 2,
  showWarningMessageForCrossOrigin: false,
  showCPUFallbackMessage: true,
  showLoadingIndicator: true,
  strictZSpacingForVolumeViewport: true,
  dangerouslyUseDynamicConfig: { enabled: false },
  investigationalUseDialog: { option: 'never' },
  defaultDataSourceName: 'archive',
  dataSources: [
    {
      namespace: '@ohif/extension-default.dataSourcesModule.dicomweb',
      sourceName: 'archive',
      configuration: {
        friendlyName: 'Archive',
        name: 'archive',
        wadoUriRoot: `${root}dicom-web`,
        qidoRoot: `${root}dicom-web`,
        wadoRoot: `${root}dicom-web`,
        qidoSupportsIncludeField: false,
        imageRendering: 'wadors',
        thumbnailRendering: 'wadors',
        enableStudyLazyLoad: true,
        // Cut out by OHIF itself, frames of no whole number of bytes are displaced.
        loadMultiframeAsPart10: false,
        supportsFuzzyMatching: false,
        supportsWildcard: true,
        dicomUploadEnabled: false,
        omitQuotationForMultipartRequest: true,
        bulkDataURI: { enabled: true, relativeResolution: 'studies' },
      },
    },
  ],
};
