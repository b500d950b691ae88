// One job: its timeline, figures, request, reply, log lines and error.

import { AnswerView, showError } from "./answer_view.js";
import { copyAsButton } from "./copy_as.js";
import { copyButton, fill, h, setText } from "./dom.js";
import * as format from "./format.js";
import { Answer } from "./reader.js";
import { get, runpod } from "./server.js";
import { drawTimeline, postTable } from "./timeline.js";

const PAUSE_MS = 500;

export class JobDetail {
  #root;
  #context;
  #id;
  #job = null;
  #timer = 0;
  #end = null;
  #gone = false;

  constructor(root, context, id) {
    this.#root = root;
    this.#context = context;
    this.#id = id;
  }

  build() {
    this.#end = this.#context.events.on("jobs", (changed) => {
      if (changed.some((job) => job.id === this.#id)) this.#later();
    });
    this.#read();
  }

  leave() {
    this.#gone = true;
    clearTimeout(this.#timer);
    this.#end();
  }

  #later() {
    this.#timer ||= setTimeout(() => this.#read(), PAUSE_MS);
  }

  async #read() {
    this.#timer = 0;
    try {
      this.#job = await get(`jobs/${encodeURIComponent(this.#id)}`);
    } catch (error) {
      if (!this.#gone) fill(this.#root, backLink(), h("p", { class: "problem" }, error.message));
      return;
    }
    if (!this.#gone) this.#draw(this.#job);
  }

  #draw(job) {
    const open = new Set([...this.#root.querySelectorAll("details[open]")].map((part) => part.dataset.name));
    const focused = document.activeElement?.dataset?.action;
    const now = Date.now() - job.at;
    fill(
      this.#root,
      backLink(),
      h(
        "div",
        { class: "row spread" },
        h("h1", { class: "job-id" }, job.id),
        h("span", { class: `badge ${job.status.toLowerCase()}` }, format.STATES[job.status] ?? job.status),
      ),
      this.#actions(job),
      job.error && showError(job.error),
      h("section", { class: "card", "aria-label": "Timeline" }, h("h2", {}, "Timeline"), drawTimeline(job, now)),
      figures(job),
      h(
        "div",
        { class: "halves" },
        panel("Request", showValue(job.request)),
        panel("Reply", showReply(job)),
      ),
      job.timeline.length ? fold("chunks", `Posts (${job.posts})`, [postTable(job), hidden(job.hiddenPosts)]) : null,
      fold("raw", "Reply as the worker sent it", showRaw(job)),
      fold("log", `Log lines (${job.log.length})`, showLines(job.log)),
    );
    for (const part of this.#root.querySelectorAll("details")) if (open.has(part.dataset.name)) part.open = true;
    if (focused) this.#root.querySelector(`[data-action="${focused}"]`)?.focus();
  }

  #actions(job) {
    const note = h("p", { class: "hint", role: "status" });
    const act = async (operation) => {
      try {
        await runpod(`${operation}/${encodeURIComponent(job.id)}`);
      } catch (error) {
        setText(note, error.message);
      }
      this.#later();
    };
    const whole = job.request.value !== undefined;
    return h(
      "div",
      { class: "row" },
      job.can.cancel && action("cancel", "Cancel", () => act("cancel")),
      job.can.retry && action("retry", "Retry", () => act("retry")),
      whole && action("resend", "Resend", () => this.#resend(job.request.value, note)),
      whole && action("change", "Resend with changes", () => this.#change(job.request.value)),
      whole && copyAsButton(() => job.request.value),
      note,
    );
  }

  async #resend(jobInput, note) {
    try {
      const job = await runpod("run", { input: jobInput });
      location.hash = `#/jobs/${encodeURIComponent(job.id)}`;
    } catch (error) {
      setText(note, error.message);
    }
  }

  #change(jobInput) {
    this.#context.drafts.json = { text: JSON.stringify(jobInput, null, 2) };
    location.hash = "#/playground/json";
  }
}

function action(name, label, onclick) {
  return h("button", { type: "button", "data-action": name, onclick }, label);
}

function backLink() {
  return h("p", {}, h("a", { href: "#/jobs" }, "← All jobs"));
}

function panel(title, ...children) {
  return h("section", { class: "card", "aria-label": title }, h("h2", {}, title), children);
}

function fold(name, title, children) {
  return h("details", { class: "card", "data-name": name }, h("summary", {}, title), children);
}

function hidden(count) {
  return count ? h("p", { class: "hint" }, `${count} more are not shown.`) : null;
}

function figures(job) {
  const first = job.first === null || job.taken === null ? null : job.first - job.taken;
  const list = [
    ["Kind", `${job.kind}${job.stream ? ", streamed" : ""}`],
    ["Model", job.model ?? "—"],
    ["Submitted", format.clock(job.at)],
    ["In queue", format.milliseconds(job.taken)],
    ["Time to first chunk", format.milliseconds(first)],
    ["Total", format.milliseconds(job.ended)],
    ["Tokens in", format.count(job.in)],
    ["Tokens out", format.count(job.out)],
    ["Tokens per second", format.rate(format.tokensPerSecond(job))],
    ["Posts", `${format.count(job.posts)}, ${format.bytes(job.bytes)}`],
    ["Worker", `${job.worker ?? "—"}, attempt ${job.attempts}${job.losses ? `, lost ${job.losses} times` : ""}`],
    job.webhook && ["Webhook", job.webhook],
  ];
  return h(
    "dl",
    { class: "figures card" },
    list.filter(Boolean).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
  );
}

function showValue(part) {
  const text = part.value === undefined ? `${part.start} …` : JSON.stringify(part.value, null, 2);
  return [
    h("pre", { tabindex: "0", role: "group", "aria-label": "JSON" }, text),
    part.value === undefined
      ? h("p", { class: "hint" }, `Only the beginning of ${format.bytes(part.bytes)} is shown.`)
      : copyButton(() => text),
  ];
}

function showReply(job) {
  const answer = new Answer();
  if (job.chunks.values.length) job.chunks.values.forEach((chunk) => answer.add(chunk));
  else if (job.output.value) answer.add(job.output.value);
  const view = new AnswerView();
  view.update(answer);
  if (view.element.childElementCount) return [view.element, hidden(job.chunks.hidden)];
  return h("p", { class: "empty" }, format.FINAL.has(job.status) ? "Nothing was sent." : "Nothing yet.");
}

function showRaw(job) {
  if (!job.chunks.values.length) return showValue(job.output);
  const lines = job.chunks.values.map((chunk) => (typeof chunk === "string" ? chunk : JSON.stringify(chunk)));
  return [h("pre", { tabindex: "0", role: "group", "aria-label": "Chunks" }, lines.join("\n")), hidden(job.chunks.hidden)];
}

/** Lines of a worker's output. */
export function showLines(lines) {
  if (!lines.length) return h("p", { class: "empty" }, "None.");
  return h("ol", { class: "lines" }, lines.map(showLine));
}

export function showLine(line) {
  return h(
    "li",
    { class: /^(ERROR|CRITICAL|FATAL)/.test(line.level) ? "bad" : /^WARN/.test(line.level) ? "warn" : "" },
    h("time", {}, format.clock(line.at)),
    " ",
    line.level ? `${line.level} ` : "",
    line.text,
  );
}
