// The sampling settings. A field that is empty is not sent: the server's own choice holds.
import {$, kept, make} from "./dom.js";

const FIELDS = [
  {name: "system", text: true, label: "System prompt", note: "Said to the model before the conversation."},
  {name: "temperature", label: "Temperature", min: 0, max: 2, step: 0.05, start: 1, note: "0 takes the likeliest token each time."},
  {name: "top_p", label: "Top p", min: 0, max: 1, step: 0.01, start: 1, note: "Keeps the likeliest tokens that make up this share."},
  {name: "top_k", label: "Top k", min: 0, step: 1, whole: true, note: "Keeps this many tokens; 0 keeps all."},
  {name: "min_p", label: "Min p", min: 0, max: 1, step: 0.01, start: 0, note: "Drops tokens less likely than this share of the best."},
  {name: "max_tokens", label: "Longest reply", min: 1, step: 1, whole: true, note: "In tokens."},
  {name: "seed", label: "Seed", step: 1, whole: true, note: "The same seed gives the same reply."},
  {name: "repetition_penalty", label: "Repetition penalty", min: 0.5, max: 2, step: 0.01, start: 1},
  {name: "frequency_penalty", label: "Frequency penalty", min: -2, max: 2, step: 0.05, start: 0},
  {name: "presence_penalty", label: "Presence penalty", min: -2, max: 2, step: 0.05, start: 0},
];

let values = kept.get("settings", {});

function save(name, value) {
  if (value === "" || value === null || Number.isNaN(value)) delete values[name];
  else values[name] = value;
  kept.set("settings", values);
}

function textField(field) {
  const area = make("textarea", {id: `set-${field.name}`, value: values[field.name] ?? "", rows: 3});
  area.addEventListener("input", () => save(field.name, area.value));
  return make("div", {class: "setting text"}, make("label", {htmlFor: area.id}, field.label), area);
}

function numberField(field) {
  const id = `set-${field.name}`;
  const given = values[field.name];
  const noteId = field.note ? `${id}-note` : null;
  const box = make("input", {id, type: "number", inputMode: field.whole ? "numeric" : "decimal", step: field.step, min: field.min, max: field.max,
    placeholder: "auto", value: given ?? "", "aria-describedby": noteId});
  const row = make("div", {class: `setting${given === undefined ? " unset" : ""}`}, make("label", {htmlFor: id}, field.label), box);
  const slider = field.max === undefined ? null
    : make("input", {type: "range", min: field.min, max: field.max, step: field.step, "aria-label": `${field.label} slider`});
  const set = (text, from) => {
    const value = text === "" ? "" : Number(text);
    if (text !== "" && (!Number.isFinite(value) || !box.validity.valid)) return;
    save(field.name, value);
    row.classList.toggle("unset", text === "");
    if (slider && from !== slider) slider.value = text === "" ? field.start : text;
  };
  box.addEventListener("input", () => set(box.value, box));
  row.append(...(slider ? [slider] : []));
  if (slider) {
    slider.value = given ?? field.start;
    slider.addEventListener("input", () => {
      box.value = slider.value;
      set(slider.value, slider);
    });
  }
  if (field.note) row.append(make("span", {class: "note", id: noteId}, field.note));
  return row;
}

function build() {
  $("settings-form").replaceChildren(...FIELDS.map((field) => (field.text ? textField(field) : numberField(field))));
}

function open(shown) {
  $("settings").hidden = !shown;
  $("toggle-settings").setAttribute("aria-expanded", String(shown));
  kept.set("settings-open", shown);
}

export function start() {
  build();
  const wide = window.matchMedia("(min-width: 861px)").matches;
  open(wide && kept.get("settings-open", true));
  $("toggle-settings").addEventListener("click", () => {
    open($("settings").hidden);
    if (!$("settings").hidden && !wide) $("close-settings").focus();
  });
  $("close-settings").addEventListener("click", () => {
    open(false);
    $("toggle-settings").focus();
  });
  $("settings").addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    open(false);
    $("toggle-settings").focus();
  });
  $("settings-form").addEventListener("submit", (event) => event.preventDefault());
  $("reset-settings").addEventListener("click", () => {
    values = {};
    kept.set("settings", values);
    build();
  });
}

export const systemPrompt = () => (values.system ?? "").trim();

// The request's fields.
export function sampling() {
  const {system, ...fields} = values;
  return fields;
}
