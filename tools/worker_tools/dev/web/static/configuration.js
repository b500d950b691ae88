// The settings: RunPod's form with the present values, what a change does, and a restart.

import { copyTabs } from "./copy_as.js";
import { debounce, fill, h, newId, prose, setText } from "./dom.js";
import { get, post } from "./server.js";

const PLACES = [
  ["console", "RunPod's console"],
  ["env", ".env"],
  ["docker", "docker run"],
  ["deploy", "worker deploy"],
];

export function mount(root, context) {
  const view = new Configuration(root, context);
  view.build();
  const ends = [context.events.on("ready", () => view.build()), context.events.on("again", () => view.showState())];
  return () => ends.forEach((end) => end());
}

class Configuration {
  #root;
  #context;
  #fields = new Map();
  #changes = {};
  #problems = h("div", { role: "status" });
  #lines = null;
  #restart;
  #undo;
  #note = h("p", { class: "hint", role: "status" });
  #table = h("div", {});
  #number = 0;
  #later = debounce(() => this.#check(), 250);

  constructor(root, context) {
    this.#root = root;
    this.#context = context;
  }

  async build() {
    let found;
    try {
      found = await get("configuration");
    } catch (error) {
      fill(this.#root, h("h1", {}, "Configuration"), h("p", { class: "problem" }, error.message));
      return;
    }
    this.#changes = {};
    this.#fields.clear();
    this.#lines = copyTabs("The resulting environment", PLACES, found.lines);
    this.#restart = h("button", { type: "button", class: "primary", onclick: () => this.#restartNow() }, "Restart with these");
    this.#undo = h("button", { type: "button", onclick: () => this.build() }, "Undo the changes");
    const basic = found.form.fields.filter((field) => !field.advanced);
    const advanced = found.form.fields.filter((field) => field.advanced);
    fill(
      this.#root,
      h("h1", {}, "Configuration"),
      h(
        "div",
        { class: "columns" },
        h(
          "section",
          { class: "card", "aria-label": "Form of RunPod's console" },
          h("h2", {}, "The form of RunPod's console"),
          this.#presets(found.form.presets),
          h("div", { class: "fields two" }, basic.map((field) => this.#row(field))),
          this.#advanced(advanced),
        ),
        h(
          "section",
          { class: "card side", "aria-label": "Result" },
          h("h2", {}, "Result"),
          this.#problems,
          h("div", { class: "row" }, this.#restart, this.#undo),
          this.#note,
          h("h3", {}, "As lines to copy"),
          this.#lines.element,
          h("p", { class: "hint" }, "Secrets are references: their values are not shown."),
        ),
      ),
      this.#table,
    );
    this.#showResult(found);
    this.showState();
  }

  showState() {
    if (!this.#restart) return;
    const busy = this.#context.about.state.state === "restarting";
    this.#restart.disabled = busy;
    if (busy) setText(this.#note, "The workers are being restarted; the view Start shows how far they are.");
  }

  #presets(presets) {
    const id = newId("preset");
    const select = h(
      "select",
      {
        id,
        onchange: () => {
          const preset = presets[Number(select.value)];
          if (!preset) return;
          for (const [name, value] of Object.entries(preset.defaults)) this.#set(name, String(value));
        },
      },
      h("option", { value: "" }, "Choose a preset …"),
      presets.map((preset, place) => h("option", { value: place }, preset.name)),
    );
    return h("div", { class: "field" }, h("label", { for: id }, "Preset"), select);
  }

  #advanced(fields) {
    const list = h("div", { class: "fields two" }, fields.map((field) => this.#row(field)));
    const search = h("input", {
      type: "search",
      "aria-label": "Filter the settings",
      placeholder: "Filter by name or meaning",
      oninput: () => {
        const wanted = search.value.toLowerCase();
        for (const row of list.children) row.hidden = !row.textContent.toLowerCase().includes(wanted);
      },
    });
    return h("details", { class: "more" }, h("summary", {}, `${fields.length} advanced settings`), search, list);
  }

  #row(field) {
    const id = newId("setting");
    const input = makeInput(field, id);
    const error = h("p", { class: "error", id: `${id}-error` });
    const start = readInput(input);
    input.setAttribute("aria-describedby", `${id}-hint ${id}-error`);
    input.addEventListener("input", () => {
      const value = readInput(input);
      if (value === start) delete this.#changes[field.name];
      else this.#changes[field.name] = value === "" ? null : value;
      this.#later();
    });
    this.#fields.set(field.name, { input, error });
    return h(
      "div",
      { class: "field" },
      h("label", { for: id }, field.title, " ", h("code", {}, field.name)),
      input,
      error,
      h("p", { class: "hint", id: `${id}-hint` }, prose(field.description)),
    );
  }

  #set(name, value) {
    const field = this.#fields.get(name);
    if (field) {
      if (field.input.type === "checkbox") field.input.checked = value === "true";
      else field.input.value = value;
      field.input.dispatchEvent(new Event("input"));
      return;
    }
    this.#changes[name] = value;
    this.#later();
  }

  async #check() {
    this.#number += 1;
    const number = this.#number;
    try {
      const found = await post("configuration/check", { changes: this.#changes });
      if (number === this.#number) this.#showResult(found);
    } catch (error) {
      setText(this.#note, error.message);
    }
  }

  #showResult(found) {
    const problems = found.problems ?? [];
    for (const { input, error } of this.#fields.values()) {
      input.removeAttribute("aria-invalid");
      setText(error, "");
    }
    const elsewhere = problems.filter((problem) => !this.#showNextTo(problem));
    const count = Object.keys(this.#changes).length;
    const said = problems.length
      ? h("p", { class: "bad" }, `${problems.length} ${problems.length === 1 ? "problem" : "problems"}; the worker would not start.`)
      : h("p", { class: "good" }, count ? `${count} changed; the worker would start.` : "This is what runs now.");
    fill(
      this.#problems,
      said,
      problems.length ? h("ul", {}, problems.map((problem) => h("li", {}, describe(problem)))) : null,
      found.warnings?.length
        ? h("details", { open: true }, h("summary", {}, `${found.warnings.length} warnings`), h("ul", {}, found.warnings.map((item) => h("li", {}, describe(item)))))
        : null,
    );
    this.#problems.dataset.elsewhere = String(elsewhere.length);
    this.#lines.update(found.lines);
    this.#restart.disabled = problems.length > 0;
    this.#undo.hidden = count === 0;
    if (found.settings) fill(this.#table, showSettings(found));
  }

  #showNextTo(problem) {
    const field = this.#fields.get(problem.where);
    if (!field) return false;
    field.input.setAttribute("aria-invalid", "true");
    setText(field.error, describe(problem).replace(`${problem.where}: `, ""));
    return true;
  }

  async #restartNow() {
    this.#restart.disabled = true;
    try {
      const found = await post("configuration/restart", { changes: this.#changes });
      if (!found.restarted) this.#showResult(found);
      else location.hash = "#/start";
    } catch (error) {
      setText(this.#note, error.message);
      this.#restart.disabled = false;
    }
  }
}

function describe(problem) {
  const got = problem.got === null ? "" : `; got ${problem.got}`;
  const expected = problem.expected ? `; expected ${problem.expected}` : "";
  const nearest = problem.suggestions.length ? ` Did you mean ${problem.suggestions.join(" or ")}?` : "";
  return `${problem.where}: ${problem.message}${got}${expected}.${nearest}`;
}

function makeInput(field, id) {
  if (field.type === "boolean") {
    return h("input", { type: "checkbox", id, checked: (field.value ?? String(field.default)) === "true" });
  }
  if (field.options) {
    const value = field.value ?? String(field.default ?? "");
    const known = field.options.some((option) => String(option.value) === value);
    const options = known ? field.options : [...field.options, { label: value, value }];
    const select = h("select", { id }, options.map((option) => h("option", { value: option.value }, option.label)));
    select.value = value;
    return select;
  }
  const placeholder = field.default === undefined ? "" : String(field.default);
  const type = field.secret ? "password" : field.type === "number" ? "number" : "text";
  const step = type === "number" ? "any" : null;
  const bounds = { min: field.min, max: field.max };
  const autocomplete = field.secret ? "new-password" : "off";
  return h("input", { type, id, step, ...bounds, placeholder, autocomplete, spellcheck: "false", value: field.value ?? "" });
}

function readInput(input) {
  if (input.type === "checkbox") return String(input.checked);
  return input.value;
}

function showSettings(found) {
  const body = h("tbody", {});
  const draw = (all) => {
    const shown = found.settings.filter((item) => all || !item.source.startsWith("default"));
    fill(body, shown.map(settingRow));
    setText(button, all ? "Show only what differs" : `Show all ${found.settings.length}`);
  };
  let all = false;
  const button = h("button", { type: "button", onclick: () => draw((all = !all)) });
  draw(all);
  return h(
    "section",
    { class: "card", "aria-label": "All settings" },
    h("div", { class: "row spread" }, h("h2", {}, "Settings, as worker check shows them"), button),
    h(
      "div",
      { class: "table-frame", tabindex: "0", role: "region", "aria-label": "Settings, scrollable" },
      h(
        "table",
        {},
        h("thead", {}, h("tr", {}, ["Setting", "Value", "From", "Option of vLLM"].map((text) => h("th", { scope: "col" }, text)))),
        body,
      ),
    ),
    h("h3", {}, "Arguments of vLLM"),
    h("pre", { tabindex: "0", role: "group", "aria-label": "Arguments of vLLM" }, found.engine_arguments.join(" ")),
  );
}

function settingRow(item) {
  const value = item.value === null ? "—" : typeof item.value === "object" ? JSON.stringify(item.value) : String(item.value);
  return h(
    "tr",
    {},
    h("th", { scope: "row" }, h("code", {}, item.name)),
    h("td", { class: "wrap" }, value),
    h("td", {}, item.source),
    h("td", {}, item.engine_option ? h("code", {}, item.engine_option) : ""),
  );
}
