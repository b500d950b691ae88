// A request as code to paste.

import { choice, copyButton, h, setText } from "./dom.js";
import { post } from "./server.js";

const LANGUAGES = [
  ["curl", "curl"],
  ["openai", "Python, openai"],
  ["runpod", "Python, runpod"],
  ["javascript", "JavaScript"],
];
const PLACES = [
  ["local", "This machine"],
  ["runpod", "RunPod"],
];

/** Open a dialog with a job's input as code. */
export function showCopyAs(jobInput) {
  let place = "local";
  let language = "curl";
  const code = h("code", {});
  const note = h("p", { class: "hint" });
  const show = async () => {
    try {
      const found = await post("snippets", { input: jobInput, runpod: place === "runpod" });
      const text = found[language] ?? "OpenAI's client has no method for this request.";
      setText(code, text);
      setText(
        note,
        place === "runpod" ? "Put in the id of your endpoint, and your key in RUNPOD_API_KEY." : "",
      );
    } catch (error) {
      setText(code, error.message);
    }
  };
  const dialog = h(
    "dialog",
    { class: "copy-as", "aria-labelledby": "copy-as-title" },
    h("h2", { id: "copy-as-title" }, "Copy as"),
    h(
      "div",
      { class: "row" },
      choice("Language", LANGUAGES, language, (value) => {
        language = value;
        show();
      }),
      choice("Address", PLACES, place, (value) => {
        place = value;
        show();
      }),
    ),
    h("pre", { tabindex: "0", role: "group", "aria-label": "Code" }, code),
    note,
    h(
      "div",
      { class: "row end" },
      copyButton(() => code.textContent),
      h("button", { type: "button", class: "primary", onclick: () => dialog.close() }, "Close"),
    ),
  );
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  show();
}

/** A button that opens the dialog; `getInput` returns null if the request cannot be read. */
export function copyAsButton(getInput) {
  const onclick = () => {
    const jobInput = getInput();
    if (jobInput) showCopyAs(jobInput);
  };
  return h("button", { type: "button", onclick }, "Copy as …");
}

/** Tabs over several texts to copy. */
export function copyTabs(name, labels, texts) {
  let chosen = labels[0][0];
  const code = h("code", {}, texts[chosen]);
  const element = h(
    "div",
    { class: "copy-tabs" },
    h(
      "div",
      { class: "row" },
      choice(name, labels, chosen, (value) => {
        chosen = value;
        setText(code, texts[chosen] || "Nothing is set.");
      }),
      copyButton(() => code.textContent),
    ),
    h("pre", { tabindex: "0", role: "group", "aria-label": name }, code),
  );
  return {
    element,
    update(changed) {
      texts = changed;
      setText(code, texts[chosen] || "Nothing is set.");
    },
  };
}

