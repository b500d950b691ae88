// What the user writes: a message with images, a prompt, texts to embed, or a whole job as JSON.

import { fill, h, newId, setText } from "./dom.js";

const LABELS = {
  chat: "Message",
  completion: "Prompt",
  native: "Prompt",
  embeddings: "Texts, one per line",
  json: "Input of the job",
};
const EXAMPLES = {
  completion: "The capital of France is",
  native: "The capital of France is",
  embeddings: "a quick brown fox\na fast dark fox",
  json: JSON.stringify({ prompt: "Hello", sampling_params: { max_tokens: 20 } }, null, 2),
};
const MOST_IMAGE_BYTES = 8_000_000;

export class Composer {
  #kind;
  #images = [];
  #text;
  #system;
  #previews = h("div", { class: "previews" });
  #error = h("p", { class: "error", role: "alert" });
  #send = h("button", { type: "submit", class: "primary" }, "Send");
  #stop = h("button", { type: "button", hidden: true }, "Stop");
  #actions = h("div", { class: "row" });
  #attach = null;
  #busy = false;

  constructor(kind, draft, { onSend, onStop, onClear }) {
    this.#kind = kind;
    const id = newId("composer");
    const text = draft.text ?? EXAMPLES[kind] ?? "";
    const rows = { chat: 3, json: 14 }[kind] ?? 5;
    const spellcheck = kind === "json" ? "false" : null;
    this.#text = h("textarea", { id, rows, spellcheck, value: text });
    if (kind === "json") this.#text.classList.add("code");
    this.#system = h("textarea", { id: `${id}-system`, rows: 2, value: draft.system ?? "" });
    this.#stop.addEventListener("click", onStop);
    this.#text.addEventListener("keydown", (event) => {
      const wanted = kind === "chat" ? !event.shiftKey : event.ctrlKey || event.metaKey;
      if (event.key !== "Enter" || !wanted || event.isComposing) return;
      event.preventDefault();
      if (!this.#busy) onSend();
    });
    this.element = h(
      "form",
      {
        class: "composer card",
        onsubmit: (event) => {
          event.preventDefault();
          if (!this.#busy) onSend();
        },
      },
      kind === "chat" &&
        h(
          "details",
          { open: Boolean(draft.system) },
          h("summary", {}, "System prompt"),
          h("label", { class: "hidden", for: `${id}-system` }, "System prompt"),
          this.#system,
        ),
      h("label", { for: id }, LABELS[kind]),
      this.#text,
      this.#previews,
      this.#error,
      h(
        "div",
        { class: "row" },
        this.#send,
        this.#stop,
        kind === "chat" ? this.#imageButton(id) : null,
        kind === "chat" && h("button", { type: "button", onclick: onClear }, "New conversation"),
        this.#actions,
      ),
      h(
        "p",
        { class: "hint" },
        kind === "chat" ? "Enter sends, Shift+Enter begins a new line." : "Ctrl+Enter sends.",
      ),
    );
  }

  get draft() {
    return { text: this.#text.value, system: this.#system.value };
  }

  get text() {
    return this.#text.value;
  }

  get lines() {
    const lines = this.#text.value.split("\n").filter((line) => line.trim());
    return lines.length === 1 ? lines[0] : lines;
  }

  get system() {
    return this.#system.value.trim() ? [{ role: "system", content: this.#system.value }] : [];
  }

  /** The message as a list: empty if nothing was written. */
  get messages() {
    const text = this.#text.value;
    if (!this.#images.length) return text.trim() ? [{ role: "user", content: text }] : [];
    const images = this.#images.map((url) => ({ type: "image_url", image_url: { url } }));
    const words = text.trim() ? [{ type: "text", text }] : [];
    return [{ role: "user", content: [...images, ...words] }];
  }

  /** The text as a JSON object; null, with an error shown, if it is none. */
  readJson() {
    setText(this.#error, "");
    try {
      const value = JSON.parse(this.#text.value);
      if (value && typeof value === "object" && !Array.isArray(value)) return value;
      setText(this.#error, "The input of a job is a JSON object, such as {\"prompt\": \"Hello\"}.");
    } catch (error) {
      setText(this.#error, `This is not valid JSON: ${error.message}`);
    }
    return null;
  }

  addAction(button) {
    this.#actions.append(button);
  }

  offerImages(taken) {
    if (this.#attach) this.#attach.hidden = !taken;
  }

  busy(busy) {
    this.#busy = busy;
    this.#send.hidden = busy;
    this.#stop.hidden = !busy;
  }

  clear() {
    this.#text.value = "";
    this.#images = [];
    fill(this.#previews);
    this.#text.focus();
  }

  #imageButton(id) {
    const input = h("input", {
      type: "file",
      accept: "image/*",
      multiple: true,
      id: `${id}-image`,
      onchange: () => this.#addFiles(input),
    });
    this.#attach = h("span", { class: "file" }, h("label", { for: `${id}-image` }, "Add images"), input);
    return this.#attach;
  }

  async #addFiles(input) {
    setText(this.#error, "");
    for (const file of input.files) {
      if (file.size > MOST_IMAGE_BYTES) {
        setText(this.#error, `${file.name} is larger than 8 MB; RunPod takes jobs up to 10 MB.`);
        continue;
      }
      const url = await readUrl(file);
      this.#images.push(url);
      this.#preview(url, file.name);
    }
    input.value = "";
  }

  #preview(url, name) {
    const shown = h(
      "figure",
      {},
      h("img", { src: url, alt: name }),
      h(
        "button",
        {
          type: "button",
          class: "small",
          "aria-label": `Remove ${name}`,
          onclick: () => {
            this.#images.splice(this.#images.indexOf(url), 1);
            shown.remove();
          },
        },
        "Remove",
      ),
    );
    this.#previews.append(shown);
  }
}

function readUrl(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve(reader.result));
    reader.addEventListener("error", () => reject(reader.error));
    reader.readAsDataURL(file);
  });
}
