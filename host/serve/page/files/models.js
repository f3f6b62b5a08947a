// The choice of model and adapter.
import {getJson} from "./api.js";
import {$, kept, make, number} from "./dom.js";

let models = [];

const isReady = (state) => ["ready", "loaded", "resident"].includes(state);

export function badgeClass(state) {
  if (isReady(state)) return "badge ready";
  if (["failed", "error"].includes(state)) return "badge bad";
  return ["loading", "queued", "evicting", "waiting"].includes(state) ? "badge busy" : "badge";
}

export const chosen = () => models.find((model) => model.id === $("model").value);

// The model's name in requests: with an adapter, "model:adapter".
export function requestName() {
  const adapter = $("adapter-pick").hidden ? "" : $("adapter").value;
  return adapter ? `${$("model").value}:${adapter}` : $("model").value;
}

function showState() {
  const model = chosen();
  const badge = $("model-state");
  if (!model) {
    badge.textContent = models.length === 0 ? "no models" : "";
    badge.className = "badge";
    return;
  }
  const context = model.context_length ? make("span", {class: "context"}, `, ${number(model.context_length)} tokens`) : "";
  const progress = Number.isFinite(model.progress) && !isReady(model.state) ? ` ${Math.round(model.progress * 100)} %` : "";
  badge.replaceChildren(`${model.state ?? "known"}${progress}`, context);
  badge.className = badgeClass(model.state);
}

function fill(select, options, value) {
  const now = [...select.options].map((option) => `${option.value}\n${option.text}`).join("\n\n");
  const next = options.map(([id, text]) => `${id}\n${text}`).join("\n\n");
  if (now !== next) select.replaceChildren(...options.map(([id, text]) => make("option", {value: id}, text)));
  if (options.some(([id]) => id === value)) select.value = value;
}

function showAdapters() {
  const adapters = chosen()?.adapters ?? [];
  $("adapter-pick").hidden = adapters.length === 0;
  const options = [["", "none"], ...adapters.map((adapter) => [adapter.id, adapter.state === "failed" ? `${adapter.id} (failed)` : adapter.id])];
  fill($("adapter"), options, kept.get("adapter", "") || $("adapter").value || "");
}

export async function refresh() {
  const answer = await getJson("/v1/models");
  models = (answer.data ?? []).filter((entry) => !entry.parent);
  fill($("model"), models.map((model) => [model.id, model.id]), $("model").value || kept.get("model", ""));
  $("model").disabled = models.length === 0;
  showAdapters();
  showState();
  return models;
}

export function start() {
  $("model").addEventListener("change", () => {
    kept.set("model", $("model").value);
    kept.set("adapter", "");
    showAdapters();
    showState();
  });
  $("adapter").addEventListener("change", () => kept.set("adapter", $("adapter").value));
}
