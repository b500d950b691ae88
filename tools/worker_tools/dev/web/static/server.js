// The endpoint: its API, and one stream of events while the page is visible.

const HIDDEN_MS = 10_000; // A page in the background stops listening after this time.
const RETRY_MS = 2000;

export class ServerError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function call(method, path, body) {
  const options = { method, headers: {} };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers["Content-Type"] = "application/json";
  }
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new ServerError(0, "The endpoint does not answer. Is `worker dev` still running?");
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) {
    throw new ServerError(response.status, String(answer.error ?? `status ${response.status}`));
  }
  return answer;
}

export const get = (path) => call("GET", `/console/api/${path}`);
export const post = (path, body) => call("POST", `/console/api/${path}`, body);
/** Call one of RunPod's own operations. */
export const runpod = (path, body) => call("POST", `/v2/local/${path}`, body ?? {});

const NAMES = ["state", "jobs", "sample", "log"];

/** The page's events: `state`, `jobs`, `sample`, `log`, and `connected`, `lost` of its own. */
export class Events extends EventTarget {
  #source = null;
  #timer = 0;

  start() {
    document.addEventListener("visibilitychange", () => {
      clearTimeout(this.#timer);
      if (document.hidden) this.#timer = setTimeout(() => this.#close(), HIDDEN_MS);
      else if (!this.#source) this.#open();
    });
    this.#open();
  }

  /** Call `action` with the data of each event; return what ends it. */
  on(name, action) {
    const listener = (event) => action(event.detail);
    this.addEventListener(name, listener);
    return () => this.removeEventListener(name, listener);
  }

  emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  #open() {
    const source = new EventSource("/console/api/events");
    this.#source = source;
    source.addEventListener("open", () => this.emit("connected"));
    source.addEventListener("error", () => {
      this.emit("lost");
      if (source.readyState !== EventSource.CLOSED || source !== this.#source) return;
      this.#close();
      this.#timer = setTimeout(() => this.#open(), RETRY_MS);
    });
    for (const name of NAMES) {
      source.addEventListener(name, (event) => this.emit(name, JSON.parse(event.data)));
    }
  }

  #close() {
    this.#source?.close();
    this.#source = null;
  }
}

/** Follow the chunks of a job until its end; return what stops it. */
export function follow(jobId, { onChunk, onAgain, onEnd, onLost }) {
  const source = new EventSource(`/console/api/stream/${encodeURIComponent(jobId)}`);
  source.addEventListener("chunk", (event) => onChunk(JSON.parse(event.data)));
  source.addEventListener("again", () => onAgain());
  source.addEventListener("end", (event) => {
    source.close();
    onEnd(JSON.parse(event.data));
  });
  source.addEventListener("error", () => {
    // A lost connection is opened again by the browser; an answer that is not a stream ends it.
    if (source.readyState === EventSource.CLOSED) onLost();
  });
  return () => source.close();
}
