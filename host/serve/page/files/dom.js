// Small helpers: elements are made, never parsed from text, so that nothing a model writes becomes markup.

export const $ = (id) => document.getElementById(id);

export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (key === "class") element.className = value;
    else if (key === "on") for (const [event, handler] of Object.entries(value)) element.addEventListener(event, handler);
    else if (key in element && key !== "list" && key !== "form") element[key] = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export function bytes(count) {
  if (!Number.isFinite(count)) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (count >= 1024 && unit < units.length - 1) {
    count /= 1024;
    unit += 1;
  }
  return `${count.toLocaleString("en", {maximumFractionDigits: count < 10 && unit > 0 ? 2 : count < 100 && unit > 0 ? 1 : 0})} ${units[unit]}`;
}

export const number = (count, digits = 0) =>
  Number.isFinite(count) ? count.toLocaleString("en", {maximumFractionDigits: digits}) : "–";

export function duration(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  const parts = [[86400, "d"], [3600, "h"], [60, "min"]].filter(([size]) => seconds >= size);
  if (parts.length === 0) return `${Math.floor(seconds)} s`;
  const [size, name] = parts[0];
  const [next, nextName] = size === 86400 ? [3600, "h"] : size === 3600 ? [60, "min"] : [1, "s"];
  return `${Math.floor(seconds / size)} ${name} ${Math.floor((seconds % size) / next)} ${nextName}`;
}

export async function copy(text, button) {
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Cannot copy";
  }
  setTimeout(() => { button.textContent = before; }, 1500);
}

// What is kept between visits: never the key.
export const kept = {
  get(name, otherwise) {
    try {
      return JSON.parse(localStorage.getItem(`llmhost.${name}`)) ?? otherwise;
    } catch {
      return otherwise;
    }
  },
  set(name, value) {
    try {
      localStorage.setItem(`llmhost.${name}`, JSON.stringify(value));
    } catch {
      // a browser that keeps nothing
    }
  },
};
