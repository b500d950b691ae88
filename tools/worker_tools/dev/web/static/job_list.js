// All jobs that the endpoint remembers, by id; kept current by events.

import { get } from "./server.js";

const MOST = 2000;

export class JobList extends EventTarget {
  #jobs = new Map();
  #loaded = false;
  #loading = null;

  constructor(events) {
    super();
    events.on("jobs", (changed) => {
      if (this.#loaded || this.#loading) this.#add(changed);
    });
  }

  get size() {
    return this.#jobs.size;
  }

  get(id) {
    return this.#jobs.get(id);
  }

  /** The jobs, newest first. */
  sorted() {
    return [...this.#jobs.values()].sort((one, other) => other.n - one.n);
  }

  /** Read all jobs, page by page, unless it was done. */
  load() {
    this.#loading ??= this.#read().finally(() => (this.#loading = this.#loaded ? this.#loading : null));
    return this.#loading;
  }

  /** Forget everything: the connection was lost meanwhile. */
  reload() {
    const used = this.#loading !== null;
    this.#jobs.clear();
    this.#loaded = false;
    this.#loading = null;
    if (used) this.load().catch(() => {});
  }

  async #read() {
    let before = null;
    do {
      const page = await get(before === null ? "jobs" : `jobs?before=${before}`);
      // An event may have brought a newer state of a job meanwhile.
      this.#add(page.jobs.filter((job) => !this.#jobs.has(job.id)));
      before = page.next;
    } while (before !== null && this.#jobs.size < MOST);
    this.#loaded = true;
    this.dispatchEvent(new CustomEvent("change", { detail: [] }));
  }

  #add(changed) {
    for (const job of changed) this.#jobs.set(job.id, job);
    for (const job of this.#jobs.size > MOST ? this.sorted().slice(MOST) : []) {
      this.#jobs.delete(job.id);
    }
    this.dispatchEvent(new CustomEvent("change", { detail: changed }));
  }
}
