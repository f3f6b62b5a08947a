// The status page: figures, the memory plan, models and their adapters. Asked for while it is looked at.
import {getJson} from "./api.js";
import {$, bytes, duration, make, number} from "./dom.js";
import {badgeClass} from "./models.js";

const EVERY_MS = 2000;
const PARTS = [["weights", "Weights"], ["state", "Context (keys and values)"], ["adapters", "Adapters"], ["arena", "Work space"]];

let timer = null;
let last = null;

const listed = async () => ((await getJson("/v1/models")).data ?? []).filter((entry) => !entry.parent);

// A server without /status (or a key without its scope) still has its models. What /status leaves out of a
// model is taken from there, too.
async function ask() {
  const [status, entries] = await Promise.allSettled([getJson("/status"), listed()]);
  if (status.status === "rejected") {
    if (![403, 404].includes(status.reason.status) || entries.status === "rejected") throw status.reason;
    return {models: entries.value.map((model) => ({...model, memory: {total: model.memory_bytes}}))};
  }
  const known = new Map((entries.value ?? []).map((entry) => [entry.id, entry]));
  for (const model of status.value.models ?? []) {
    const entry = known.get(model.id) ?? {};
    model.context_length ??= entry.context_length;
    if (!model.adapters?.length) model.adapters = entry.adapters ?? [];
  }
  return status.value;
}

const figure = (name, value) => make("div", {}, make("dt", {}, name), make("dd", {}, value));

function showFigures(status) {
  const requests = status.requests ?? {};
  $("figures").replaceChildren(
    figure("Running", number(requests.running ?? 0)),
    figure("Waiting", number(requests.waiting ?? 0)),
    figure("Requests so far", number(requests.total)),
    figure("Up for", duration(status.uptime_s)));
  $("figures").hidden = !status.requests && status.uptime_s === undefined;
}

function segment(part, share, title) {
  const element = make("span", {class: part, title});
  element.style.width = `${Math.max(0, Math.min(100, share * 100))}%`;
  return element;
}

function bar(parts, whole, label, thin) {
  const element = make("div", {class: thin ? "bar thin" : "bar", role: "img", "aria-label": label});
  for (const [part, name, size] of parts) if (size > 0) element.append(segment(part, size / whole, `${name}: ${bytes(size)}`));
  return element;
}

const legendEntry = (part, name, size) => make("li", {}, make("i", {class: part, "aria-hidden": "true"}), `${name} `, make("b", {}, bytes(size)));

function showMemory(status) {
  const memory = status.memory;
  $("memory-panel").hidden = !memory?.budget;
  if (!memory?.budget) return;
  const sums = PARTS.map(([part, name]) => [part, name, (status.models ?? []).reduce((sum, model) => sum + (model.memory?.[part] ?? 0), 0)]);
  const known = sums.reduce((sum, [, , size]) => sum + size, 0);
  const used = Math.max(memory.used ?? known, known);
  const label = `${bytes(used)} of ${bytes(memory.budget)} used: ${sums.map(([, name, size]) => `${name} ${bytes(size)}`).join(", ")}`;
  $("memory").replaceChildren(
    make("div", {class: "plan-line"}, make("span", {}, make("b", {}, bytes(used)), ` of ${bytes(memory.budget)}`),
      make("span", {class: "muted"}, `${number(100 * used / memory.budget)} %`)),
    bar(sums, Math.max(memory.budget, used), label),
    make("ul", {class: "legend"}, ...sums.map(([part, name, size]) => legendEntry(part, name, size)),
      legendEntry("free", "Free", Math.max(0, memory.budget - used))));
}

const fact = (name, value) => (value === undefined || value === null ? null : make("div", {}, make("dt", {}, name), make("dd", {}, value)));

function adaptersTable(adapters) {
  const rows = adapters.map((adapter) => make("tr", {},
    make("th", {scope: "row"}, adapter.id, adapter.error ? make("div", {class: "muted"}, adapter.error) : null), make("td", {}, make("span", {class: badgeClass(adapter.state)}, adapter.state ?? "–")),
    make("td", {class: "number"}, bytes(adapter.bytes)), make("td", {class: "number"}, number(adapter.requests))));
  const head = ["Adapter", "State"].map((name) => make("th", {scope: "col"}, name))
    .concat(["Memory", "Requests"].map((name) => make("th", {scope: "col", class: "number"}, name)));
  return make("table", {class: "adapters-table"}, make("caption", {class: "hidden"}, "Adapters"),
    make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows));
}

function modelEntry(model, budget) {
  const memory = model.memory ?? {};
  const parts = PARTS.map(([part, name]) => [part, name, memory[part] ?? 0]);
  const title = make("div", {class: "model-head"}, make("h3", {}, model.id),
    make("span", {class: badgeClass(model.state)}, model.state ?? "known"),
    model.pinned ? make("span", {class: "badge", title: "Never given up for another model"}, "pinned") : null);
  const entry = make("article", {class: "model", "aria-label": model.id}, title);
  if (model.error) entry.append(make("p", {class: "notice bad"}, model.error));
  if (model.state === "loading" && Number.isFinite(model.progress)) entry.append(make("progress", {value: model.progress, max: 1, "aria-label": "Loading"}));
  entry.append(make("dl", {class: "facts"},
    fact("Running", model.running === undefined ? null : number(model.running)),
    fact("Waiting", model.waiting === undefined ? null : number(model.waiting)),
    fact("Context", model.context_length ? `${number(model.context_length)} tokens` : null),
    fact("Replicas", model.replicas > 1 ? number(model.replicas) : null),
    fact("Memory", memory.total ? bytes(memory.total) : null)));
  if (budget && memory.total) {
    const label = parts.map(([, name, size]) => `${name} ${bytes(size)}`).join(", ");
    entry.append(bar(parts, budget, label, true));
  }
  if (model.adapters?.length > 0) entry.append(adaptersTable(model.adapters));
  return entry;
}

function show(status) {
  showFigures(status);
  showMemory(status);
  const models = status.models ?? [];
  $("models").replaceChildren(...(models.length > 0 ? models.map((model) => modelEntry(model, status.memory?.budget))
    : [make("p", {class: "muted"}, "No model is configured.")]));
}

async function refresh() {
  try {
    const status = await ask();
    const text = JSON.stringify(status.models) + JSON.stringify(status.memory);
    if (text === last) showFigures(status);
    else show(status);
    last = text;
    $("status-error").hidden = true;
    $("status-time").textContent = `as of ${new Date().toLocaleTimeString()}`;
  } catch (error) {
    $("status-error").textContent = error.message;
    $("status-error").hidden = false;
  }
}

async function tick() {
  if (!document.hidden) await refresh();
  if (timer !== null) timer = setTimeout(tick, EVERY_MS);
}

export function look() {
  if (timer !== null) return;
  timer = 0;
  tick();
}

export function leave() {
  clearTimeout(timer);
  timer = null;
}
