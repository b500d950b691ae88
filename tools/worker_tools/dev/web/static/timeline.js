// The timeline of a job, to scale: queued, until the first chunk, until the end, and each chunk.

import { h, svg } from "./dom.js";
import * as format from "./format.js";

const HEIGHT = 92;
const BAR = { y: 40, height: 18 };
const MARGIN = 8;
const TICKS = 6;

/** Return the phases of a job as [name, class, from, to] in milliseconds. */
export function phasesOf(job, now) {
  const end = job.ended ?? now;
  const found = [["queued", "queued", 0, job.taken ?? end]];
  if (job.taken === null) return found;
  const first = job.first ?? end;
  found.push([job.first === null ? "working" : "until the first chunk", "working", job.taken, first]);
  if (job.first !== null) found.push(["streaming", "streaming", first, end]);
  return found;
}

/** Draw a job; the picture follows the width of its place. */
export function drawTimeline(job, now) {
  const phases = phasesOf(job, now);
  const end = Math.max(phases.at(-1)[3], 1);
  const label = phases.map(([name, , from, to]) => `${name} ${format.milliseconds(to - from)}`).join(", ");
  const picture = svg("svg", { class: "timeline", role: "img", "aria-label": `Timeline: ${label}`, height: HEIGHT });
  const draw = () => {
    const width = picture.clientWidth || 600;
    picture.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    const x = (at) => MARGIN + (at / end) * (width - 2 * MARGIN);
    picture.replaceChildren(
      ...drawAxis(end, x, width),
      ...phases.map(([, kind, from, to]) =>
        svg("rect", { class: kind, x: x(from), y: BAR.y, width: Math.max(x(to) - x(from), 1), height: BAR.height, rx: 2 }),
      ),
      ...drawPosts(job.timeline, x, end),
    );
  };
  const observer = new ResizeObserver(draw);
  observer.observe(picture);
  const legend = h(
    "ul",
    { class: "legend" },
    phases.map(([name, kind, from, to]) =>
      h("li", {}, h("span", { class: `swatch ${kind}` }), `${name}: ${format.milliseconds(to - from)}`),
    ),
    job.timeline.length ? h("li", {}, h("span", { class: "swatch post" }), "chunks, taller when larger") : null,
  );
  return h("div", {}, picture, legend);
}

function drawAxis(end, x, width) {
  const ticks = width < 500 ? TICKS / 2 : TICKS;
  const marks = Array.from({ length: ticks + 1 }, (_, place) => (end * place) / ticks);
  return marks.flatMap((at, place) => [
    svg("line", { class: "grid", x1: x(at), x2: x(at), y1: 8, y2: 66 }),
    svg(
      "text",
      { x: x(at), y: 84, "text-anchor": place === 0 ? "start" : place === ticks ? "end" : "middle" },
      format.milliseconds(at),
    ),
  ]);
}

function drawPosts(posts, x, end) {
  const largest = Math.max(1, ...posts.map(([, , size]) => size));
  return posts
    .filter(([, at]) => at <= end * 1.001)
    .map(([operation, at, size, late]) => {
      const height = 4 + 24 * (Math.log1p(size) / Math.log1p(largest));
      const mark = svg("rect", {
        class: late ? "post late" : `post ${operation}`,
        x: x(at) - 0.75,
        y: BAR.y - 3 - height,
        width: 1.5,
        height,
      });
      mark.append(svg("title", {}, `${operation}, ${format.milliseconds(at)}, ${format.bytes(size)}`));
      return mark;
    });
}

/** The chunks as a table, for those who do not see the picture. */
export function postTable(job) {
  let before = job.taken ?? 0;
  return h(
    "table",
    {},
    h("caption", { class: "hidden" }, "Posts of the worker"),
    h("thead", {}, h("tr", {}, ["Post", "After", "Since the last", "Size"].map((text) => h("th", { scope: "col" }, text)))),
    h(
      "tbody",
      {},
      job.timeline.map(([operation, at, size, late]) => {
        const gap = at - before;
        before = at;
        return h(
          "tr",
          {},
          h("td", {}, late ? `${operation}, late` : operation),
          h("td", { class: "number" }, format.milliseconds(at)),
          h("td", { class: "number" }, format.milliseconds(gap)),
          h("td", { class: "number" }, format.bytes(size)),
        );
      }),
    ),
  );
}
