// Shows an answer that grows: reasoning, text and tool calls apart.

import { fill, h, prose, setText } from "./dom.js";

/** One answer; `update` is cheap while only the text grows. */
export class AnswerView {
  constructor() {
    this.element = h("div", { class: "answer" });
    this.parts = new Map();
  }

  update(answer) {
    for (const [index, choice] of answer.choices) this.#show(index, choice, answer.choices.size);
    this.#list("embeddings", answer.embeddings, showEmbedding);
    this.#list("other", answer.other, (item) =>
      h("pre", {}, typeof item === "string" ? item : JSON.stringify(item, null, 2)),
    );
  }

  #list(name, items, show) {
    if (!items.length) return;
    let part = this.parts.get(name);
    if (!part) {
      part = h("div", { class: name });
      this.parts.set(name, part);
      this.element.append(part);
    }
    while (part.childElementCount < items.length) part.append(show(items[part.childElementCount]));
  }

  #show(index, choice, total) {
    let part = this.parts.get(index);
    if (!part) {
      part = newPart(index);
      this.parts.set(index, part);
      this.element.append(part.element);
    }
    part.title.hidden = total < 2;
    part.thoughts.hidden = !choice.reasoning;
    setText(part.reasoning, choice.reasoning);
    grow(part.text, choice.text);
    if (choice.tools.length) fill(part.tools, choice.tools.filter(Boolean).map(showTool));
  }
}

function newPart(index) {
  const title = h("p", { class: "hint" }, `Choice ${index}`);
  const reasoning = h("div", { class: "text" });
  const thoughts = h("details", { class: "reasoning", open: true, hidden: true });
  thoughts.append(h("summary", {}, "Reasoning"), reasoning);
  const text = h("div", { class: "text" });
  const tools = h("div", { class: "tools" });
  const element = h("div", { class: "choice" }, title, thoughts, text, tools);
  return { element, title, thoughts, reasoning, text, tools };
}

/** Append what is new to a text; a stream then costs what it sends, not its square. */
function grow(element, text) {
  const shown = Number(element.dataset.length ?? 0);
  if (text.length === shown) return;
  if (text.length < shown) element.replaceChildren();
  element.append(document.createTextNode(text.slice(text.length < shown ? 0 : shown)));
  element.dataset.length = String(text.length);
}

function showTool(call) {
  let shown = call.arguments;
  try {
    shown = JSON.stringify(JSON.parse(call.arguments), null, 2);
  } catch {
    // It is still arriving.
  }
  return h(
    "div",
    { class: "tool" },
    h("p", {}, "Tool call: ", h("code", {}, call.name)),
    h("pre", {}, shown),
  );
}

function showEmbedding(vector) {
  if (typeof vector === "string") return h("pre", {}, `${vector.slice(0, 120)} …`);
  const length = Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0));
  const start = vector.slice(0, 8).map((value) => value.toFixed(4));
  return h(
    "p",
    { class: "vector" },
    `${vector.length} dimensions, length ${length.toFixed(3)}: `,
    h("code", {}, `[${start.join(", ")}${vector.length > 8 ? ", …" : ""}]`),
  );
}

/** An error with its code's documentation. */
export function showError(error) {
  const problems = Array.isArray(error.problems) ? error.problems : [];
  return h(
    "div",
    { class: "problem", role: "alert" },
    h(
      "p",
      {},
      error.code ? h("code", {}, String(error.code)) : null,
      error.param ? [" at ", h("code", {}, String(error.param))] : null,
    ),
    h("p", {}, String(error.message ?? JSON.stringify(error))),
    problems.length > 1
      ? h("ul", {}, problems.map((item) => h("li", {}, `${item.param ?? ""} ${item.message ?? ""}`)))
      : null,
    error.docs
      ? h(
          "p",
          { class: "hint" },
          prose(`${error.docs.meaning} ${error.docs.remedy} See \`${error.docs.page}\`.`),
        )
      : null,
  );
}
