// The workbook in one language: a cell tagged lang-vi is hidden in English, one tagged lang-en in Vietnamese.
// JupyterLab loads this file as a module container, of the form its bundler would write: init gives the modules
// that Lab shares, get gives ours.
(() => {
  const NAME = "vramlib-language";
  const ENGLISH = "en";
  const STYLE = `[data-vramlib-foreign] { display: none !important; }
    jp-tree-item:has(> .jp-tocItem-heading > [data-vramlib-foreign])::part(positioning-region) { display: none; }`;
  let shared = {};

  const chosen = () => {
    const page = document.getElementById("jupyter-config-data");
    return JSON.parse(page?.textContent || "{}").vramLanguage || ENGLISH;
  };

  const tags = cell => cell.model.sharedModel.getMetadata("tags") || [];

  const isForeign = (cell, language) => {
    const languages = tags(cell).filter(tag => String(tag).startsWith("lang-"));
    return languages.length > 0 && !languages.includes(`lang-${language}`);
  };

  // A heading that is not seen ends no section: closing the one before it folds what follows both.
  const NO_HEADING = { configurable: true, get: () => ({ text: "", level: -1 }) };

  // Lab hides cells under a closed heading by the same switch, so only what was hidden here is shown again.
  const apply = (notebook, language, hidden) => {
    for (const cell of notebook.widgets) {
      if (isForeign(cell, language)) {
        if (!hidden.has(cell)) Object.defineProperty(cell, "headingInfo", NO_HEADING);
        hidden.add(cell);
        if (!cell.isHidden) cell.setHidden(true);
      } else if (hidden.delete(cell)) {
        delete cell.headingInfo;
        cell.setHidden(false);
      }
    }
  };

  const follow = (panel, language) => {
    const hidden = new WeakSet();
    const again = () => requestAnimationFrame(() => panel.isDisposed || apply(panel.content, language, hidden));
    const start = () => {
      apply(panel.content, language, hidden);
      if (panel.content.activeCell?.isHidden) {
        panel.content.activeCellIndex = panel.content.widgets.findIndex(cell => !cell.isHidden);
      }
      panel.content.model?.cells.changed.connect(again);
      panel.content.model?.contentChanged.connect(again); // a tag that somebody edits
      panel.content.activeCellChanged.connect(again); // a heading that somebody opens
    };
    panel.context.ready.then(start);
  };

  // The table of contents beside the page keeps all headings, as Lab counts on their places, and shows what is seen.
  const shorten = (contents, language) => {
    document.head.append(Object.assign(document.createElement("style"), { textContent: STYLE }));
    const make = contents.getModel.bind(contents);
    contents.getModel = (...given) => {
      const model = make(...given);
      const headings = model?.getHeadings.bind(model);
      if (model) model.getHeadings = async () => mark(await headings(), language);
      return model;
    };
  };

  const mark = (headings, language) => {
    for (const heading of headings || []) {
      if (heading.cellRef?.model && isForeign(heading.cellRef, language)) {
        heading.dataset = { ...heading.dataset, "data-vramlib-foreign": "" };
      }
    }
    return headings;
  };

  const plugin = (tracker, registry) => ({
    id: `${NAME}:plugin`,
    autoStart: true,
    requires: [tracker, registry],
    activate: (_, panels, contents) => {
      const language = chosen();
      shorten(contents, language);
      panels.forEach(panel => follow(panel, language));
      panels.widgetAdded.connect((_, panel) => follow(panel, language));
    },
  });

  // The newest of a module's versions that Lab shares; there is one.
  const load = async name => (await Object.values(shared[name])[0].get())();

  window._JUPYTERLAB = window._JUPYTERLAB || {};
  window._JUPYTERLAB[NAME] = {
    init: scope => {
      shared = scope;
    },
    get: async () => {
      const { INotebookTracker } = await load("@jupyterlab/notebook");
      const { ITableOfContentsRegistry } = await load("@jupyterlab/toc");
      return () => ({ __esModule: true, default: plugin(INotebookTracker, ITableOfContentsRegistry) });
    },
  };
})();
