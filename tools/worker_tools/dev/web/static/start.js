// The last start: its phases as bars, what would shorten it, and where the model fits.

import { fill, h, setText, svg } from "./dom.js";
import { seconds } from "./format.js";
import { showLine } from "./job_detail.js";
import { get } from "./server.js";

const ROW = 26;
const LABEL = 250;

export function mount(root, context) {
  const view = new Start(root, context);
  view.build();
  const { events } = context;
  const ends = [
    events.on("state", () => view.readStart()),
    events.on("log", () => view.readLog()),
    events.on("again", () => view.readAll()),
    events.on("ready", () => view.readAll()),
  ];
  return () => {
    ends.forEach((end) => end());
    view.leave();
  };
}

class Start {
  #root;
  #phases = h("div", {});
  #fit = h("div", {});
  #lines = h("ol", { class: "lines" });
  #log = h("div", { class: "output", tabindex: "0", role: "log", "aria-label": "Output of the workers" }, this.#lines);
  #last = 0;
  #timer = 0;
  #reading = false;

  constructor(root) {
    this.#root = root;
  }

  build() {
    this.#root.append(
      h("h1", {}, "Start"),
      h("section", { class: "card", "aria-label": "Phases" }, h("h2", {}, "Phases of the last start"), this.#phases),
      h("section", { class: "card", "aria-label": "Fit" }, h("h2", {}, "Where the model fits"), this.#fit),
      h("section", { class: "card", "aria-label": "Output" }, h("h2", {}, "Output of the workers"), this.#log),
    );
    this.readAll();
  }

  leave() {
    clearTimeout(this.#timer);
  }

  readAll() {
    this.readStart();
    this.readLog();
    this.#readFit();
  }

  async readStart() {
    clearTimeout(this.#timer);
    const found = await get("start").catch(() => null);
    if (!found) return;
    fill(this.#phases, found.report ? showReport(found.report) : showProgress(found));
    if (!found.report && found.state !== "failed") {
      this.#timer = setTimeout(() => this.readStart(), 1000);
    }
  }

  async readLog() {
    if (this.#reading) return;
    this.#reading = true;
    const found = await get(`log?after=${this.#last}`).catch(() => ({ lines: [] }));
    this.#reading = false;
    if (!found.lines.length) return;
    const atEnd = this.#log.scrollTop + this.#log.clientHeight >= this.#log.scrollHeight - 40;
    this.#last = found.lines.at(-1).n;
    this.#lines.append(...found.lines.map(showLine));
    while (this.#lines.childElementCount > 1000) this.#lines.firstChild.remove();
    if (atEnd) this.#log.scrollTop = this.#log.scrollHeight;
  }

  async #readFit() {
    fill(this.#fit, h("p", { class: "empty" }, "Reading …"));
    try {
      fill(this.#fit, showFit(await get("fit")));
    } catch (error) {
      setText(this.#fit.firstChild, error.message);
    }
  }
}

function showProgress(found) {
  const elapsed = (Date.now() - found.began) / 1000;
  const failed = found.workers.filter((worker) => worker.code !== null);
  return [
    failed.length
      ? h("p", { class: "problem", role: "alert" }, failed.map((worker) => `${worker.id} ended with status ${worker.code}; its output below has the reason. Change the setting and restart. `))
      : h("p", { role: "status" }, found.state === "ready" ? "Ready; the log level hides the report of the start." : `Starting for ${seconds(elapsed)} …`),
    found.phases.length
      ? h("ol", {}, found.phases.map((phase) => h("li", {}, `${phase.name}, after ${seconds(phase.at_s)}`)))
      : null,
  ];
}

/** The bars of a report: phases one after the other, vLLM's own, and what ran in parallel. */
function showReport(report) {
  let at = 0;
  const rows = Object.entries(report.phases).map(([name, duration]) => {
    const row = { name, from: at, duration, kind: "phase" };
    at += duration;
    return row;
  });
  const loading = rows.find((row) => row.name.startsWith("loading the model"));
  for (const [name, duration] of Object.entries(report.vllm_phases)) {
    rows.push({ name: `vLLM: ${name}`, from: loading?.from ?? 0, duration, kind: "part", floats: true });
  }
  for (const [name, task] of Object.entries(report.background)) {
    rows.push({ name: `in parallel: ${name}`, from: task.from_s, duration: task.seconds, kind: "parallel" });
  }
  return [
    h("p", {}, `Ready after ${seconds(report.seconds)}.`),
    drawBars(rows, report.seconds),
    report.suggestions.length
      ? [h("h3", {}, "What would shorten it"), h("ul", {}, report.suggestions.map((text) => h("li", {}, text)))]
      : h("p", { class: "hint" }, "No phase was so slow that a setting would help."),
  ];
}

function drawBars(rows, total) {
  const label = rows.map((row) => `${row.name} ${seconds(row.duration)}`).join(", ");
  const picture = svg("svg", { class: "bars", role: "img", "aria-label": `Phases: ${label}`, height: rows.length * ROW + 4 });
  const draw = () => {
    const width = picture.clientWidth || 700;
    const left = width < 560 ? 0 : LABEL;
    const tall = left ? ROW : ROW * 1.6;
    const height = rows.length * tall + 4;
    picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
    picture.setAttribute("height", height);
    const scale = (width - left - 70) / Math.max(total, 0.01);
    picture.replaceChildren(
      ...rows.flatMap((row, place) => {
        const y = place * tall + (left ? 0 : 16);
        const x = left + row.from * scale;
        const long = Math.max(row.duration * scale, 2);
        return [
          svg("text", { x: 0, y: left ? y + 17 : y - 3, class: "label" }, row.name),
          svg("rect", { class: row.kind, x, y: y + 5, width: long, height: left ? 16 : 12, rx: 3 }),
          svg("text", { x: x + long + 6, y: y + (left ? 17 : 15) }, seconds(row.duration)),
        ];
      }),
    );
  };
  new ResizeObserver(draw).observe(picture);
  return picture;
}

function showFit(found) {
  if (found.problems) return h("p", { class: "problem" }, "The configuration has problems; see the view Configuration.");
  if (found.unknown) {
    return h("p", {}, `No profile has facts about ${found.model}. Write your own profile with the facts of the model to see this table; see docs/profiles.md.`);
  }
  const columns = ["GPU", "GPUs", "Usable", "Cache", "Tokens", "Context", "Requests", "Price", "Fits"];
  return [
    h("p", {}, `${found.model} (profile ${found.profile}): ${found.weights} of weights, ${found.precision}.`),
    h("p", { class: "hint" }, found.here ? "The marked row is the GPU of this machine." : "This machine has no GPU. The marked row is the cheapest that fits: what worker deploy takes first."),
    h(
      "div",
      { class: "table-frame", tabindex: "0", role: "region", "aria-label": "GPUs, scrollable" },
      h(
        "table",
        {},
        h("caption", { class: "hidden" }, "GPUs, and how the model fits"),
        h("thead", {}, h("tr", {}, columns.map((text, place) => h("th", { scope: "col", class: place && text !== "Fits" ? "number" : "" }, text)))),
        h("tbody", {}, found.rows.map(fitRow)),
      ),
    ),
    found.advice.length ? [h("h3", {}, "To make it fit, any one of"), h("ul", {}, found.advice.map((text) => h("li", {}, text)))] : null,
    h("p", { class: "hint" }, `Prices as of 2026; current prices: ${found.prices}`),
  ];
}

function fitRow(row) {
  const figures = [row.gpus, row.usable, row.cache, row.tokens, row.context, row.requests, row.price];
  return h(
    "tr",
    { class: row.chosen ? "chosen" : "" },
    h("th", { scope: "row" }, row.gpu, row.chosen ? h("span", { class: "badge ready" }, "today's choice") : null),
    figures.map((figure) => h("td", { class: "number" }, String(figure))),
    h("td", { class: row.fits ? "good" : "bad" }, row.fits ? "yes" : "no"),
  );
}
