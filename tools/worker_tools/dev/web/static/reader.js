// Reads what a worker sends for a job, in each form, into one answer.

/** An answer that grows with each chunk. */
export class Answer {
  choices = new Map();
  usage = null;
  error = null;
  embeddings = [];
  other = [];
  #rest = "";

  /** Add what a worker posted: text of events, an object, or a list of either. */
  add(chunk) {
    if (typeof chunk === "string") this.#addText(chunk);
    else if (Array.isArray(chunk)) for (const item of chunk) this.add(item);
    else if (chunk && typeof chunk === "object") this.#addMessage(chunk);
  }

  get first() {
    return this.choices.get(0) ?? { text: "", reasoning: "", tools: [], finish: null };
  }

  #addText(text) {
    if (!this.#rest && !/(^|\n)(data|event|id|retry)?:/.test(text)) {
      this.#addPlain(text);
      return;
    }
    const events = (this.#rest + text).split("\n\n");
    this.#rest = events.pop();
    for (const event of events) {
      for (const line of event.split("\n")) {
        if (!line.startsWith("data:")) continue;
        const data = line.slice(5).trim();
        if (data === "[DONE]") continue;
        try {
          this.#addMessage(JSON.parse(data));
        } catch {
          this.other.push(data);
        }
      }
    }
  }

  #addPlain(text) {
    try {
      this.add(JSON.parse(text));
    } catch {
      this.other.push(text);
    }
  }

  #addMessage(message) {
    if (message.usage) this.usage = message.usage;
    if (message.error) this.error = message.error;
    if (Array.isArray(message.choices)) {
      message.choices.forEach((part, place) => this.#addChoice(part, part.index ?? place));
    } else if (Array.isArray(message.data) && message.data[0]?.embedding) {
      this.embeddings.push(...message.data.map((item) => item.embedding));
    } else if (!message.error && !message.usage) {
      this.other.push(message);
    }
  }

  #addChoice(part, index) {
    let choice = this.choices.get(index);
    if (!choice) {
      choice = { text: "", reasoning: "", tools: [], finish: null };
      this.choices.set(index, choice);
    }
    const source = part.delta ?? part.message ?? part;
    const text = source.content ?? source.text ?? source.tokens;
    choice.text += Array.isArray(text) ? text.map(textOf).join("") : (text ?? "");
    choice.reasoning += source.reasoning ?? source.reasoning_content ?? "";
    (source.tool_calls ?? []).forEach((call, place) => addTool(choice.tools, call, place));
    choice.finish = part.finish_reason ?? choice.finish;
  }
}

function textOf(item) {
  return typeof item === "string" ? item : (item?.text ?? "");
}

function addTool(tools, call, place) {
  const index = call.index ?? place;
  tools[index] ??= { id: call.id ?? "", name: "", arguments: "" };
  if (call.id) tools[index].id = call.id;
  tools[index].name += call.function?.name ?? "";
  tools[index].arguments += call.function?.arguments ?? "";
}

/** Return the token counts of an answer as [in, out], null where it has none. */
export function tokensOf(usage) {
  if (!usage) return [null, null];
  return [usage.prompt_tokens ?? usage.input ?? null, usage.completion_tokens ?? usage.output ?? null];
}
