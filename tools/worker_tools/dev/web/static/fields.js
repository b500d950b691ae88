// The form of a request's parameters, from the fields that the request schema has.

import { h, newId, prose, setText } from "./dom.js";

/** A form that knows which values were set; an empty field is not sent. */
export class ParameterForm {
  #fields = new Map();

  constructor(fields, values = {}) {
    const common = fields.filter((field) => field.common);
    const others = fields.filter((field) => !field.common);
    this.more = h(
      "details",
      { class: "more" },
      h("summary", {}, `${others.length} more parameters`),
      others.length > 12 ? this.#filter() : null,
      h("div", { class: "fields" }, others.map((field) => this.#row(field, values))),
    );
    this.element = h(
      "div",
      { class: "parameters" },
      h("div", { class: "fields" }, common.map((field) => this.#row(field, values))),
      others.length ? this.more : null,
    );
  }

  /** The values as typed, by path; what to keep when the form is built again. */
  get draft() {
    const draft = {};
    for (const [path, { input }] of this.#fields) if (input.value !== "") draft[path] = input.value;
    return draft;
  }

  /** Write the values into a body; return false if one of them cannot be read. */
  writeInto(body) {
    let readable = true;
    this.clearErrors();
    for (const [path, entry] of this.#fields) {
      const { input, field } = entry;
      if (input.validity.badInput) {
        readable = false;
        this.#showError(entry, "This is not a number.");
        continue;
      }
      if (input.value === "") continue;
      try {
        setPath(body, field.path, parse(field, input.value));
      } catch {
        readable = false;
        this.#showError(entry, "This is not valid JSON.");
      }
      entry.path = path;
    }
    return readable;
  }

  /** Show an error next to the parameter that it names; return whether there is one. */
  showError(parameter, message) {
    const entry = this.#find(parameter);
    if (!entry) return false;
    this.#showError(entry, message);
    return true;
  }

  clearErrors() {
    for (const { input, error } of this.#fields.values()) {
      input.removeAttribute("aria-invalid");
      setText(error, "");
    }
  }

  #showError(entry, message) {
    setText(entry.error, message);
    entry.input.setAttribute("aria-invalid", "true");
    const details = entry.input.closest("details");
    if (details) details.open = true;
    entry.input.focus();
    entry.input.scrollIntoView({ block: "center" });
  }

  /** The field that a parameter's path names: itself, or the one that it is a part of. */
  #find(parameter) {
    const path = String(parameter ?? "").replace(/^openai_input\./, "");
    const names = path.split(/[.[]/);
    for (let length = names.length; length > 0; length -= 1) {
      const name = names.slice(0, length).join(".");
      const found = this.#fields.get(name) ?? this.#fields.get(`sampling_params.${name}`);
      if (found) return found;
    }
    return null;
  }

  #filter() {
    const rows = () => this.more.querySelectorAll(".field");
    const input = h("input", {
      type: "search",
      placeholder: "Filter by name or meaning",
      "aria-label": "Filter the parameters",
      oninput: () => {
        const wanted = input.value.toLowerCase();
        for (const row of rows()) row.hidden = !row.textContent.toLowerCase().includes(wanted);
      },
    });
    return input;
  }

  #row(field, values) {
    const id = newId("field");
    const input = makeInput(field, id);
    const path = field.path.join(".");
    if (values[path] !== undefined) input.value = values[path];
    const error = h("p", { class: "error", id: `${id}-error` });
    const hint = describe(field);
    input.setAttribute("aria-describedby", `${id}-hint ${id}-error`);
    input.dataset.path = path;
    this.#fields.set(path, { field, input, error });
    return h(
      "div",
      { class: "field" },
      h("label", { for: id }, field.name),
      input,
      error,
      h("p", { class: "hint", id: `${id}-hint` }, prose(hint)),
    );
  }
}

function makeInput(field, id) {
  const rest = { id, autocomplete: "off", spellcheck: "false" };
  if (field.kind === "boolean" || field.kind === "choice") {
    const choices = field.kind === "boolean" ? [true, false] : field.choices;
    const unset = field.default === undefined ? "not set" : `default: ${field.default}`;
    return h(
      "select",
      { id },
      h("option", { value: "" }, unset),
      choices.map((value) => h("option", { value: JSON.stringify(value) }, String(value))),
    );
  }
  const placeholder = field.default === undefined ? "" : JSON.stringify(field.default);
  if (field.kind === "integer" || field.kind === "number") {
    const step = field.kind === "integer" ? 1 : "any";
    const bounds = { min: field.min ?? field.above, max: field.max ?? field.below };
    return h("input", { ...rest, type: "number", step, ...bounds, placeholder });
  }
  if (field.kind === "text") return h("input", { ...rest, type: "text", placeholder });
  const what = field.kind === "json" ? "JSON" : "text or JSON";
  const shown = placeholder.length > 60 ? "" : placeholder;
  return h("textarea", { ...rest, rows: 1, placeholder: shown || what });
}

function describe(field) {
  const bounds = [
    field.min !== undefined && `at least ${field.min}`,
    field.above !== undefined && `above ${field.above}`,
    field.max !== undefined && `at most ${field.max}`,
    field.below !== undefined && `below ${field.below}`,
  ].filter(Boolean);
  const unit = field.unit && field.unit !== "ratio" ? ` (${field.unit})` : "";
  const range = bounds.length ? ` ${bounds.join(", ")}${unit}.` : unit;
  const text = field.description ?? "";
  return (text + range.replace(/^ a/, " A")).trim();
}

function parse(field, text) {
  if (field.kind === "text") return text;
  if (field.kind === "text-or-json") return /^\s*[[{"]/.test(text) ? JSON.parse(text) : text;
  return JSON.parse(text);
}

function setPath(body, path, value) {
  let place = body;
  for (const name of path.slice(0, -1)) place = place[name] ??= {};
  place[path.at(-1)] = value;
}
