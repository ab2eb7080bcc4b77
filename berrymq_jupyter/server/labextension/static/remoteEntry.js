// A command in JupyterLab and Notebook 7 that opens the hub's page: in the launcher, the Help menu and the palette. And
// what a view can't do by itself: it is shown in a panel of its own beside the notebook.
//
// Written by hand, as the module federation container that a build would make: JupyterLab calls `init` with the modules
// that it shares, then `get` for ours. Whatever is not there, as the launcher in Notebook 7, is left out.

(() => {
  "use strict";

  const COMMAND = "berrymq:open-hub";
  const OUTPUT_VIEW = "notebook:create-output-view";
  const ICON =
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><g fill="#c2255c"><circle cx="11" cy="14" r="4.6"/>' +
    '<circle cx="21" cy="14" r="4.6"/><circle cx="16" cy="12" r="4.6" fill="#d6336c"/>' +
    '<circle cx="12.5" cy="20" r="4.6" fill="#d6336c"/><circle cx="19.5" cy="20" r="4.6" fill="#a61e4d"/>' +
    '<circle cx="16" cy="25.5" r="4.4"/></g><path fill="#2f9e44" d="M16 9.5c-.6-3-2.4-4.8-5.5-5.8 3.6-1.2 6-.2 7.1 1.8' +
    ' 1.3-1.7 3.2-2.3 5.4-1.8-2.6 1-4.7 2.7-5.6 5.8z"/></svg>';

  let shared = {};

  /** A module that JupyterLab shares, or null. Of several versions the one in use, else the newest. */
  async function load(name) {
    const versions = Object.entries(shared[name] ?? {});
    if (versions.length === 0) return null;
    versions.sort(([one, a], [other, b]) =>
      Boolean(a.loaded) === Boolean(b.loaded) ? other.localeCompare(one, "en", { numeric: true }) : a.loaded ? -1 : 1,
    );
    const factory = await versions[0][1].get();
    return factory();
  }

  /** Show the output of the cell that a view is in, in a panel as well, when the view asks for it. */
  function openPanels(app) {
    if (!app.commands.hasCommand(OUTPUT_VIEW)) return; // as in Notebook 7
    document.documentElement.dataset.berrymqPanels = "";
    document.addEventListener("berrymq:panel", (event) => {
      for (const panel of app.shell.widgets("main")) {
        const index = panel.content?.widgets?.findIndex?.((cell) => cell.node.contains(event.target)) ?? -1;
        if (index < 0) continue;
        app.shell.activateById(panel.id);
        panel.content.activeCellIndex = index;
        app.commands.execute(OUTPUT_VIEW);
        return;
      }
    });
  }

  async function makePlugin() {
    const [coreutils, components, ...places] = await Promise.all(
      [
        "@jupyterlab/coreutils",
        "@jupyterlab/ui-components",
        "@jupyterlab/launcher",
        "@jupyterlab/mainmenu",
        "@jupyterlab/apputils",
      ].map(load),
    );
    const tokens = [places[0]?.ILauncher, places[1]?.IMainMenu, places[2]?.ICommandPalette];
    return {
      id: "berrymq:hub",
      description: "Opens the page of this server's berryMQ hub, and views in panels of their own.",
      autoStart: true,
      optional: tokens.filter(Boolean),
      activate(app, ...found) {
        app.restored.then(() => openPanels(app));
        if (!coreutils?.PageConfig.getOption("berrymqHub")) return; // the server is no hub
        app.commands.addCommand(COMMAND, {
          label: "berryMQ hub",
          caption: "See who is linked and which messages pass, in a browser tab of its own",
          icon: components ? new components.LabIcon({ name: "berrymq:berry", svgstr: ICON }) : undefined,
          execute() {
            window.open(`${app.serviceManager.serverSettings.baseUrl}berrymq/`, "berrymq-hub");
          },
        });
        const [launcher, menu, palette] = tokens.map((token) => (token ? found.shift() : null));
        launcher?.add({ command: COMMAND, category: "Other", rank: 100 });
        menu?.helpMenu.addGroup([{ command: COMMAND }], 30);
        palette?.addItem({ command: COMMAND, category: "Help" });
      },
    };
  }

  window._JUPYTERLAB ??= {};
  window._JUPYTERLAB.berrymq = {
    init(scope) {
      shared = scope;
    },
    async get(module) {
      if (module !== "./extension") throw new Error(`berrymq has no module ${module}`);
      const plugin = await makePlugin();
      return () => ({ __esModule: true, default: plugin });
    },
  };
})();
