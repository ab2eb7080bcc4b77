// Makes berrymq_jupyter/static: a script and a style sheet for each view and for the hub's page, and the licences of
// the libraries in them.

import { readFileSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { build } from "esbuild";

const TARGET = "berrymq_jupyter/static";
const VIEWS = ["message_log", "network_view", "progress_view", "queue_view", "send_form"];

/**
 * What the charts have no use for is left out of uPlot: its bars, steps and splines, the joining of tables, and the rules
 * for its legend, for they have their own.
 */
const smaller = {
  name: "smaller",
  setup({ onLoad }) {
    onLoad({ filter: /uPlot\.esm\.js$/ }, ({ path }) => ({
      contents: readFileSync(path, "utf8").replace(/^\s*(\(paths\.(stepped|bars|spline)\b.*\)|uPlot\.join = join);$/gm, ""),
      loader: "js",
    }));
    onLoad({ filter: /uPlot\.min\.css$/ }, ({ path }) => ({
      contents: readFileSync(path, "utf8").replace(/[^{}]*\.u-(legend|inline|series|marker|live|label|value)\b[^{}]*\{[^}]*\}/g, ""),
      loader: "css",
    }));
  },
};

const { outputFiles, metafile } = await build({
  entryPoints: [...VIEWS.map((view) => `berrymq_jupyter/widgets/${view}.ts`), "berrymq_jupyter/server/web/hub.ts"],
  entryNames: "[name]",
  outdir: TARGET,
  bundle: true,
  format: "esm",
  target: ["chrome123", "firefox120", "safari17.5"],
  charset: "utf8",
  minify: true,
  legalComments: "none",
  metafile: true,
  plugins: [smaller],
  write: false,
});

const files = new Map(outputFiles.map(({ path, contents }) => [basename(path), contents]));
files.set("LICENSES.txt", licences(Object.keys(metafile.inputs)));
rmSync(join(TARGET, "sources.sha256"), { force: true });
mkdirSync(TARGET, { recursive: true });
for (const [name, contents] of files) {
  // By renaming: a kernel may be reading the old one.
  writeFileSync(join(TARGET, `${name}.new`), contents);
  renameSync(join(TARGET, `${name}.new`), join(TARGET, name));
}

/** The licences of the libraries from which something was taken. */
function licences(inputs) {
  const libraries = new Set(inputs.map((input) => input.match(/^node_modules\/((?:@[^/]+\/)?[^/]+)\//)?.[1]).filter(Boolean));
  const texts = [...libraries].sort().map((library) => {
    const about = JSON.parse(readFileSync(`node_modules/${library}/package.json`, "utf8"));
    return `${library} ${about.version} (${about.license})\n\n${readFileSync(`node_modules/${library}/LICENSE`, "utf8").trim()}\n`;
  });
  return `The pages of berrymq_jupyter hold code of these libraries.\n\n${texts.join(`\n${"-".repeat(78)}\n\n`)}`;
}
