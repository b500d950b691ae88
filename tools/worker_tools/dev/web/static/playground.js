// The playground: asks the worker, and shows the answer as it arrives.

import { AnswerView, showError } from "./answer_view.js";
import { copyAsButton } from "./copy_as.js";
import { choice, fill, h, newId, setText } from "./dom.js";
import { ParameterForm } from "./fields.js";
import { milliseconds, rate, tokensPerSecond } from "./format.js";
import { Composer } from "./composer.js";
import { Answer } from "./reader.js";
import { follow, get, runpod } from "./server.js";

const KINDS = [
  ["chat", "Chat", "/v1/chat/completions"],
  ["completion", "Completion", "/v1/completions"],
  ["native", "Native", null],
  ["embeddings", "Embeddings", "/v1/embeddings"],
  ["json", "JSON", null],
];
const ROUTES = Object.fromEntries(KINDS.map(([kind, , route]) => [kind, route]));

let forms = null;

/** Show the playground; `kind` is the kind of request. */
export function mount(root, context, kind) {
  const playground = new Playground(root, context, ROUTES[kind] === undefined ? "chat" : kind);
  playground.build();
  const endAgain = context.events.on("ready", () => playground.readAbilities());
  return () => {
    endAgain();
    playground.leave();
  };
}

class Playground {
  #root;
  #context;
  #kind;
  #composer = null;
  #form = null;
  #log = h("div", { class: "conversation", role: "log", "aria-label": "Answers" });
  #messages = [];
  #job = null;
  #stop = null;
  #tabs = h("div", {});
  #streams = null;

  constructor(root, context, kind) {
    this.#root = root;
    this.#context = context;
    this.#kind = kind;
  }

  async build() {
    forms ??= await get("forms");
    this.#choose(this.#kind);
    await this.readAbilities();
  }

  async readAbilities() {
    const found = await get("abilities").catch(() => ({ routes: null, images: null }));
    const offered = KINDS.filter(
      ([, , route]) => !route || !found.routes || found.routes.includes(route),
    );
    fill(this.#tabs, choice("Kind of request", offered, this.#kind, (kind) => this.#choose(kind)));
    this.#composer?.offerImages(found.images !== false);
  }

  leave() {
    this.#keep();
    this.#stop?.();
  }

  #keep() {
    if (!this.#composer) return;
    const { drafts } = this.#context;
    drafts[this.#kind] = { values: this.#form?.draft ?? {}, ...this.#composer.draft };
  }

  #choose(kind) {
    this.#keep();
    this.#kind = kind;
    this.#messages = [];
    fill(this.#log);
    const draft = this.#context.drafts[kind] ?? {};
    this.#composer = new Composer(kind, draft, {
      onSend: () => this.#send(),
      onStop: () => this.#cancel(),
      onClear: () => {
        this.#messages = [];
        fill(this.#log);
      },
    });
    this.#form = forms[kind] ? new ParameterForm(forms[kind], draft.values) : null;
    const stream = newId("stream");
    this.#streams = h("input", { type: "checkbox", id: stream, checked: true });
    const canStream = kind !== "embeddings" && kind !== "json";
    fill(
      this.#root,
      h("h1", { class: "hidden" }, "Playground"),
      this.#tabs,
      h(
        "div",
        { class: this.#form ? "columns" : "" },
        h("section", { "aria-label": "Request", class: "talk" }, this.#log, this.#composer.element),
        this.#form &&
          h(
            "section",
            { "aria-label": "Parameters", class: "card side" },
            h("h2", {}, "Parameters"),
            canStream &&
              h("p", { class: "check" }, this.#streams, h("label", { for: stream }, "Stream the answer")),
            this.#form.element,
          ),
      ),
    );
    this.#composer.addAction(copyAsButton(() => this.#read()));
    if (kind !== "json") this.#composer.addAction(this.#jsonButton());
  }

  #jsonButton() {
    const onclick = () => {
      const jobInput = this.#read();
      if (!jobInput) return;
      this.#context.drafts.json = { text: JSON.stringify(jobInput, null, 2) };
      this.#keep();
      this.#composer = null;
      this.#kind = "json";
      this.#choose("json");
      this.readAbilities();
    };
    return h("button", { type: "button", onclick }, "Edit as JSON");
  }

  /** The job's input as the page has it; null if a part cannot be read. */
  #read() {
    if (this.#kind === "json") return this.#composer.readJson();
    const body = {};
    const model = this.#context.about?.model;
    if (this.#kind !== "native" && model) body.model = model;
    if (this.#kind === "chat") {
      body.messages = [...this.#composer.system, ...this.#messages, ...this.#composer.messages];
    } else if (this.#kind === "embeddings") body.input = this.#composer.lines;
    else body.prompt = this.#composer.text;
    if (!this.#form.writeInto(body)) return null;
    if (this.#kind !== "embeddings" && this.#streams.checked) {
      body.stream = true;
      if (this.#kind !== "native") body.stream_options ??= { include_usage: true };
    }
    const route = ROUTES[this.#kind];
    return route ? { openai_route: route, openai_input: body } : body;
  }

  async #send() {
    const jobInput = this.#read();
    if (!jobInput) return;
    const asked = this.#kind === "chat" ? this.#composer.messages : [];
    if (this.#kind !== "chat") fill(this.#log);
    this.#log.append(...asked.map(showMessage));
    const turn = new Turn();
    this.#log.append(turn.element);
    turn.element.scrollIntoView({ block: "end" });
    this.#composer.busy(true);
    try {
      const job = await runpod("run", { input: jobInput });
      this.#job = job.id;
      turn.named(job.id);
      this.#stop = follow(job.id, {
        onChunk: (chunk) => turn.add(chunk),
        onAgain: () => turn.again(),
        onEnd: (end) => this.#end(turn, asked, end),
        onLost: () => this.#fail(turn, { message: "The endpoint no longer knows this job." }),
      });
    } catch (error) {
      this.#fail(turn, { message: error.message });
    }
  }

  #end(turn, asked, end) {
    turn.end(end);
    this.#finish();
    if (end.error) {
      this.#fail(turn, end.error);
      return;
    }
    if (this.#kind === "chat" && end.status === "COMPLETED") {
      this.#messages.push(...asked, turn.message);
      this.#composer.clear();
    }
  }

  #fail(turn, error) {
    this.#finish();
    turn.fail(error);
    const named = error.problems?.length ? error.problems : [error];
    for (const problem of named) {
      if (problem.param) this.#form?.showError(problem.param, problem.message ?? error.message);
    }
  }

  #finish() {
    this.#job = this.#stop = null;
    this.#composer.busy(false);
  }

  async #cancel() {
    if (this.#job) await runpod(`cancel/${encodeURIComponent(this.#job)}`).catch(() => {});
  }
}

/** One answer in the conversation. */
class Turn {
  #answer = new Answer();
  #view = new AnswerView();
  #facts = h("p", { class: "facts" }, "Waiting …");
  #link = h("a", { class: "job-link", hidden: true }, "Timeline");
  #due = 0;

  constructor() {
    this.element = h(
      "article",
      { class: "turn assistant", "aria-busy": "true", "aria-label": "Answer" },
      this.#view.element,
      h("div", { class: "row" }, this.#facts, this.#link),
    );
  }

  get message() {
    const { text, tools } = this.#answer.first;
    const calls = tools.filter(Boolean).map((call) => ({
      id: call.id,
      type: "function",
      function: { name: call.name, arguments: call.arguments },
    }));
    return { role: "assistant", content: text, ...(calls.length ? { tool_calls: calls } : {}) };
  }

  named(jobId) {
    this.#link.hidden = false;
    this.#link.href = `#/jobs/${encodeURIComponent(jobId)}`;
  }

  add(chunk) {
    this.#answer.add(chunk);
    // Chunks may come faster than the screen shows them.
    this.#due ||= requestAnimationFrame(() => this.#draw());
  }

  again() {
    this.#answer = new Answer();
    const fresh = new AnswerView();
    this.#view.element.replaceWith(fresh.element);
    this.#view = fresh;
  }

  end(job) {
    if (job.output !== null && !job.error) this.#answer.add(job.output);
    this.#draw();
    this.element.removeAttribute("aria-busy");
    const facts = [
      job.first !== null && job.first !== undefined && `first chunk after ${milliseconds(job.first)}`,
      job.out && `${job.in} tokens in, ${job.out} out`,
      tokensPerSecond(job) && `${rate(tokensPerSecond(job))} tokens/s`,
      `${milliseconds(job.ended)} in all`,
      this.#answer.first.finish && `ended by ${this.#answer.first.finish}`,
    ];
    const state = job.status === "COMPLETED" ? [] : [job.status.toLowerCase().replace("_", " ")];
    setText(this.#facts, [...state, ...facts.filter(Boolean)].join(" · "));
  }

  fail(error) {
    this.element.removeAttribute("aria-busy");
    if (this.#facts.textContent === "Waiting …") setText(this.#facts, "");
    this.#view.element.append(showError(error));
  }

  #draw() {
    this.#due = 0;
    this.#view.update(this.#answer);
    if (this.#facts.textContent === "Waiting …") setText(this.#facts, "Streaming …");
  }
}

function showMessage(message) {
  const parts = typeof message.content === "string" ? [{ text: message.content }] : message.content;
  return h(
    "article",
    { class: `turn ${message.role}`, "aria-label": "You" },
    parts.map((part) =>
      part.image_url
        ? h("img", { src: part.image_url.url, alt: "Image of the request" })
        : h("div", { class: "text" }, part.text),
    ),
  );
}
