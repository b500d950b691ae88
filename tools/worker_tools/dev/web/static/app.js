// The frame of the page: which view is shown, the state in the head, and the connection.

import { fill, h, setText } from "./dom.js";
import { JobList } from "./job_list.js";
import { Events, get } from "./server.js";
import * as configuration from "./configuration.js";
import * as engine from "./engine.js";
import * as jobs from "./jobs.js";
import * as playground from "./playground.js";
import * as start from "./start.js";

const VIEWS = { playground, jobs, configuration, start, engine };
const TITLES = {
  playground: "Playground",
  jobs: "Jobs",
  configuration: "Configuration",
  start: "Start",
  engine: "Engine",
};
const STATES = {
  starting: "Starting",
  ready: "Ready",
  restarting: "Restarting",
  failed: "Failed",
};

const main = document.getElementById("main");
const badge = document.getElementById("state");
const lost = document.getElementById("lost");
const events = new Events();
const context = { events, jobs: new JobList(events), about: null, drafts: {} };
let unmount = null;
let boot = null;

function parseRoute() {
  const [name = "", ...rest] = location.hash.replace(/^#\/?/, "").split("/");
  const argument = rest.length ? decodeURIComponent(rest.join("/")) : null;
  return VIEWS[name] ? { name, argument } : { name: "playground", argument: null };
}

function show() {
  const { name, argument } = parseRoute();
  unmount?.();
  unmount = null;
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  for (const link of document.querySelectorAll("#views a")) {
    if (link.hash === `#/${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${TITLES[name]} · local endpoint`;
  const root = fill(main, h("div", { class: `view ${name}` })).firstChild;
  unmount = VIEWS[name].mount(root, context, argument) ?? null;
}

function showState(state) {
  context.about.state = state;
  badge.className = `badge ${state.state}`;
  setText(badge, STATES[state.state] ?? state.state);
}

async function connect(first) {
  const about = await get("about");
  const fresh = about.state.boot !== boot;
  boot = about.state.boot;
  context.about = about;
  setText(document.getElementById("model"), about.model ?? "");
  showState(about.state);
  lost.hidden = true;
  context.jobs.reload();
  if (first || fresh) show();
  context.events.emit("again");
}

let connected = false;
events.on("connected", () => {
  connect(!connected).catch(() => {});
  connected = true;
});
events.on("lost", () => {
  badge.className = "badge failed";
  setText(badge, "Disconnected");
  lost.hidden = false;
  setText(lost, "The connection to the endpoint is lost. This page tries again every second.");
});
events.on("state", async (state) => {
  if (!context.about) return;
  const before = context.about.state.state;
  showState(state);
  if (before !== state.state && state.state === "ready") {
    const about = await get("about").catch(() => null);
    if (about) {
      context.about = about;
      setText(document.getElementById("model"), about.model ?? "");
    }
    events.emit("ready");
  }
});

window.addEventListener("hashchange", () => {
  show();
  main.focus({ preventScroll: true });
  window.scrollTo(0, 0);
});
document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
events.start();
