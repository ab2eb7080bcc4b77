// Makes berrymq_jupyter/static: a script and a style sheet for each view and for the hub's page, and the licences of
// the libraries in them.

import { readFileSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { build } from "esbuild";

const TARGET = "berrymq_jupyter/static";
const VIEWS = ["message_log", "network_view", "progress_view", "queue_view", "send_form"];

/** The charts have their own legend, so the rules for that of uPlot are left out. */
const withoutLegend = {
  name: "without-legend",
  setup({ onLoad }) {
    onLoad({ filter: /uPlot\.min\.css$/ }, ({ path }) => ({
      contents: readFileSync(path, "utf8").replace(/[^{}]*\.u-(legend|inline|series|marker|live|label|value)\b[^{}]*\{[^}]*\}/g, ""),
      loader: "css",
    }));
  },
};

/**
 * The charts draw straight lines over numbers, and have marks and a legend of their own. What uPlot has beside that is
 * cut out, so that nothing refers to it and the bundle leaves it away: other courses, dates, the table below.
 */
const CUTS = [
  [/^uPlot\.assign = assign;[\s\S]*?(?=^export )/m, ""],
  [/\bconst FEAT_TIME\s+= true;/, "const FEAT_TIME = false;"],
  [/^const \[ timeIncrs.*\n/gm, ""],
  [/^\tconst _(tzDate|fmtDate|timeAxisSplits|timeAxisVals|timeSeriesVal)\s+= .*\n/gm, ""],
  [/\blet isTime = [^;]*;/g, ""],
  [/\bisTime\b/g, "false"],
  [/\bmode == 1\b/g, "true"],
  [/\bmode == 2\b/g, "false"],
  [/\bconst showLegend\s*= [^;]*;/, ""],
  [/\bshowLegend\b/g, "false"],
];

const withoutTheRest = {
  name: "without-the-rest",
  setup({ onLoad }) {
    onLoad({ filter: /uPlot\.esm\.js$/ }, ({ path }) => ({
      contents: CUTS.reduce((text, [pattern, replacement]) => {
        const cut = text.replace(pattern, replacement);
        if (cut === text) throw new Error(`This version of uPlot has nothing like ${pattern}.`);
        return cut;
      }, readFileSync(path, "utf8")),
      loader: "js",
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
  plugins: [withoutLegend, withoutTheRest],
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
