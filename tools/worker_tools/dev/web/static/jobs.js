// The list of jobs; rows are made for what is scrolled to, and changed in place.

import { h, setText } from "./dom.js";
import * as format from "./format.js";
import { JobDetail } from "./job_detail.js";

const STEP = 100;

const COLUMNS = [
  ["Job", "name", null],
  ["State", "state", null],
  ["Submitted", "at", (job) => format.clock(job.at)],
  ["Queued", "number", (job) => format.milliseconds(job.taken)],
  ["First chunk", "number", (job) => format.milliseconds(since(job.taken, job.first))],
  ["Total", "number", (job) => format.milliseconds(job.ended)],
  ["Tokens in", "number", (job) => format.count(job.in)],
  ["Tokens out", "number", (job) => format.count(job.out)],
  ["Tokens/s", "number", (job) => format.rate(format.tokensPerSecond(job))],
  ["Posts", "number", (job) => format.count(job.posts)],
  ["Size", "number", (job) => format.bytes(job.bytes)],
];

function since(began, at) {
  return began === null || at === null ? null : at - began;
}

/** Show the list, or one job. */
export function mount(root, context, jobId) {
  const view = jobId ? new JobDetail(root, context, jobId) : new JobTable(root, context);
  view.build();
  return () => view.leave();
}

class JobTable {
  #root;
  #jobs;
  #rows = new Map();
  #body = h("tbody", {});
  #limit = STEP;
  #due = 0;
  #count = h("p", { class: "hint", role: "status" });
  #search;
  #state;
  #more;
  #observer;
  #onChange = (event) => this.#change(event.detail);

  constructor(root, context) {
    this.#root = root;
    this.#jobs = context.jobs;
  }

  build() {
    const again = () => this.#drawAll();
    this.#search = h("input", { type: "search", placeholder: "Id, kind, model or error", oninput: again });
    this.#state = h(
      "select",
      { onchange: again },
      h("option", { value: "" }, "All states"),
      Object.entries(format.STATES).map(([value, label]) => h("option", { value }, label)),
    );
    this.#more = h("button", { type: "button", hidden: true, onclick: () => this.#showMore() }, "Show more");
    this.#observer = new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting)) this.#showMore();
    });
    this.#observer.observe(this.#more);
    this.#root.append(
      h("h1", {}, "Jobs"),
      h(
        "div",
        { class: "row toolbar" },
        h("label", {}, h("span", {}, "Search"), this.#search),
        h("label", {}, h("span", {}, "State"), this.#state),
        this.#count,
      ),
      h(
        "div",
        { class: "table-frame", tabindex: "0", role: "region", "aria-label": "Jobs, scrollable" },
        h(
          "table",
          { class: "jobs-table" },
          h("caption", { class: "hidden" }, "Jobs, the newest first"),
          h("thead", {}, h("tr", {}, COLUMNS.map(([label, kind]) => h("th", { scope: "col", class: kind }, label)))),
          this.#body,
        ),
      ),
      this.#more,
    );
    this.#jobs.addEventListener("change", this.#onChange);
    this.#drawAll();
    this.#jobs.load().catch((error) => setText(this.#count, error.message));
  }

  leave() {
    this.#jobs.removeEventListener("change", this.#onChange);
    this.#observer.disconnect();
    cancelAnimationFrame(this.#due);
  }

  #change(changed) {
    const known = changed.length > 0 && changed.every((job) => this.#rows.has(job.id));
    if (known) for (const job of changed) this.#rows.get(job.id).update(job);
    else this.#due ||= requestAnimationFrame(() => this.#drawAll());
  }

  #matches(job) {
    const state = this.#state.value;
    const text = this.#search.value.trim().toLowerCase();
    if (state && job.status !== state) return false;
    return !text || `${job.id} ${job.kind} ${job.model} ${job.code}`.toLowerCase().includes(text);
  }

  #showMore() {
    if (this.#more.hidden) return;
    this.#limit += STEP;
    this.#drawAll();
  }

  #drawAll() {
    this.#due = 0;
    const all = this.#jobs.sorted();
    const found = all.filter((job) => this.#matches(job));
    const shown = found.slice(0, this.#limit);
    const rows = shown.map((job) => {
      const row = this.#rows.get(job.id) ?? new Row();
      row.update(job);
      this.#rows.set(job.id, row);
      return row.element;
    });
    this.#place(rows);
    const kept = new Set(shown.map((job) => job.id));
    for (const id of this.#rows.keys()) if (!kept.has(id)) this.#rows.delete(id);
    this.#more.hidden = found.length <= shown.length;
    const running = all.filter((job) => !format.FINAL.has(job.status)).length;
    const filtered = found.length === all.length ? "" : `${found.length} of `;
    setText(this.#count, `${filtered}${all.length} jobs, ${running} not ended`);
  }

  /** Put the rows in order, moving only those that are out of place; focus stays where it is. */
  #place(rows) {
    if (!rows.length) {
      const text = this.#jobs.size ? "No job matches." : "No jobs yet. Send one from the playground, or with the API.";
      this.#body.replaceChildren(h("tr", {}, h("td", { colspan: COLUMNS.length, class: "empty" }, text)));
      return;
    }
    let next = this.#body.firstChild;
    for (const row of rows) {
      if (row === next) next = next.nextSibling;
      else this.#body.insertBefore(row, next);
    }
    while (next) {
      const following = next.nextSibling;
      next.remove();
      next = following;
    }
  }
}

class Row {
  #link = h("a", {});
  #kind = h("span", { class: "kind" });
  #badge = h("span", {});
  #code = h("span", { class: "kind" });
  #cells;

  constructor() {
    this.#cells = COLUMNS.map(([label, kind]) => h("td", { class: kind, "data-label": label }));
    const name = h("th", { scope: "row", class: "name", "data-label": "Job" }, this.#link, this.#kind);
    this.#cells[1].append(this.#badge, this.#code);
    this.element = h("tr", {}, name, this.#cells.slice(1));
  }

  update(job) {
    this.#link.href = `#/jobs/${encodeURIComponent(job.id)}`;
    setText(this.#link, shorten(job.id));
    this.#link.title = job.id;
    setText(this.#kind, `${job.kind}${job.stream ? ", streamed" : ""}`);
    setText(this.#badge, format.STATES[job.status] ?? job.status);
    this.#badge.className = `badge ${job.status.toLowerCase()}`;
    setText(this.#code, job.code ?? "");
    COLUMNS.forEach(([, , show], place) => {
      if (show) setText(this.#cells[place], show(job));
    });
  }
}

function shorten(id) {
  return id.length > 18 ? `${id.slice(0, 17)}…` : id;
}
