// Live plots of vLLM's metrics: the last ten minutes. uPlot draws; it is loaded before this module.

import { fill, h, setText } from "./dom.js";
import { clock, rate, seconds } from "./format.js";
import { get } from "./server.js";

const WINDOW_S = 600;
const HEIGHT = 190;

const PLOTS = [
  { title: "Requests", lines: [["running", "Running", "--line-1"], ["waiting", "Waiting", "--line-2"]], show: (value) => String(value ?? "—"), steps: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000] },
  { title: "Tokens per second", lines: [["tokens_out", "Generated", "--line-1"], ["tokens_in", "Prompt", "--line-2"]], show: (value) => rate(value) },
  { title: "KV cache in use", lines: [["cache", "In use", "--line-1"]], show: (value) => (value === null || value === undefined ? "—" : `${(value * 100).toFixed(1)} %`), most: 1 },
  { title: "Time to first token", lines: [["first_s", "Mean", "--line-1"]], show: (value) => seconds(value), gaps: false },
];

export function mount(root, context) {
  const view = new Engine(root);
  view.build();
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const redraw = () => view.redraw();
  dark.addEventListener("change", redraw);
  const ends = [
    context.events.on("sample", (sample) => view.add(sample)),
    context.events.on("again", () => view.read()),
  ];
  return () => {
    ends.forEach((end) => end());
    dark.removeEventListener("change", redraw);
    view.leave();
  };
}

class Engine {
  #root;
  #series = [];
  #samples = [];
  #plots = [];
  #note = h("p", { class: "hint", role: "status" });
  #grid = h("div", { class: "plots" });

  constructor(root) {
    this.#root = root;
  }

  build() {
    this.#root.append(h("h1", {}, "Engine"), this.#note, this.#grid);
    this.redraw();
    this.read();
  }

  leave() {
    this.#plots.forEach((plot) => plot.destroy());
  }

  async read() {
    const found = await get("metrics").catch(() => null);
    if (!found) return;
    this.#series = found.series;
    this.#samples = found.samples;
    this.#draw();
  }

  add(sample) {
    if (!this.#series.length) return;
    this.#samples.push(sample);
    const oldest = sample[0] - WINDOW_S * 1000;
    while (this.#samples.length && this.#samples[0][0] < oldest) this.#samples.shift();
    this.#draw();
  }

  redraw() {
    this.leave();
    fill(this.#grid);
    this.#plots = PLOTS.map((options) => new Plot(this.#grid, options));
    this.#draw();
  }

  #draw() {
    const last = this.#samples.at(-1);
    setText(
      this.#note,
      last
        ? "From vLLM's metrics, every two seconds while a page is open."
        : "No samples yet: they are taken while the worker is ready and a page is open.",
    );
    for (const plot of this.#plots) plot.update(this.#series, this.#samples);
  }
}

class Plot {
  #options;
  #plot;
  #observer;
  #values;

  constructor(place, options) {
    this.#options = options;
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(name).trim();
    this.#values = options.lines.map(([, label, line]) => {
      const value = h("strong", {}, "—");
      const swatch = h("span", { class: `swatch ${line.slice(2)}` });
      return { value, element: h("span", {}, swatch, `${label} `, value) };
    });
    const canvas = h("div", { "aria-hidden": "true" });
    place.append(
      h(
        "section",
        { class: "card plot", "aria-label": options.title },
        h("h2", {}, options.title),
        h("p", { class: "values" }, this.#values.map((value) => value.element)),
        canvas,
      ),
    );
    const axis = { stroke: color("--muted"), grid: { stroke: color("--border"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
    this.#plot = new window.uPlot(
      {
        width: 400,
        height: HEIGHT,
        legend: { show: false },
        cursor: { drag: { setScale: false } },
        scales: { x: { range: () => this.#window() }, y: { range: (_plot, _low, high) => [0, options.most ?? Math.max(high * 1.1 || 1, 0.001)] } },
        axes: [
          { ...axis, size: 28, values: (_plot, ticks) => ticks.map((at) => clock(at * 1000).slice(0, 5)) },
          { ...axis, size: 60, space: 28, incrs: options.steps, values: (_plot, ticks) => ticks.map(options.show) },
        ],
        series: [
          {},
          ...options.lines.map(([, label, line], place_) => ({
            label,
            stroke: color(line),
            width: 2,
            spanGaps: options.gaps === false,
            points: { show: options.gaps === false },
            fill: place_ === 0 ? `${color(line)}22` : undefined,
          })),
        ],
      },
      [[], ...options.lines.map(() => [])],
      canvas,
    );
    this.#observer = new ResizeObserver(() => {
      if (canvas.clientWidth) this.#plot.setSize({ width: canvas.clientWidth, height: HEIGHT });
    });
    this.#observer.observe(canvas);
  }

  update(series, samples) {
    const columns = this.#options.lines.map(([name]) => series.indexOf(name));
    const rows = columns.map((column) => samples.map((sample) => sample[column]));
    this.#plot.setData([samples.map((sample) => sample[0] / 1000), ...rows]);
    rows.forEach((row, place) => {
      const known = this.#options.gaps === false ? row.findLast((value) => value !== null) : row.at(-1);
      setText(this.#values[place].value, this.#options.show(known ?? null));
    });
  }

  destroy() {
    this.#observer.disconnect();
    this.#plot.destroy();
  }

  #window() {
    const now = Date.now() / 1000;
    return [now - WINDOW_S, now];
  }
}
