// The extension that OHIF loads at run time: one panel, filled with plain DOM.
import { librariesOf } from './films.mjs';
import { createPanel } from './panel.mjs';
import { mendSpacing } from './spacing.mjs';

// OHIF does not hand out its React, and a second one would not share its state. A React 18
// element is a plain object, so one is written here; its ref is where our own elements go.
const host = ref => ({
  $$typeof: Symbol.for('react.element'),
  type: 'div',
  key: null,
  ref,
  props: { className: 'radedit-host' },
  _owner: null,
  _store: {},
});

function addStyles() {
  const id = 'radedit-styles';
  if (document.getElementById(id)) return;
  const link = document.createElement('link');
  Object.assign(link, { id, rel: 'stylesheet', href: new URL('radedit.css', import.meta.url).pathname });
  document.head.append(link);
}

export default {
  id: 'radedit',
  version: '1.0.0',

  onModeEnter({ extensionManager }) {
    mendSpacing(librariesOf(extensionManager).cornerstone);
  },

  getPanelModule({ servicesManager, commandsManager, extensionManager }) {
    addStyles();
    const ohif = { services: servicesManager.services, commandsManager, extensionManager };
    // One panel for as long as the page lives: what was typed survives a change of tabs.
    let panel = null;
    const place = element => {
      if (!element) return;
      panel ??= createPanel(ohif);
      element.replaceChildren(panel);
    };
    return [
      {
        name: 'edit',
        iconName: 'tab-roi-threshold',
        iconLabel: 'RadEdit',
        label: 'RadEdit',
        component: () => host(place),
      },
    ];
  },
};
