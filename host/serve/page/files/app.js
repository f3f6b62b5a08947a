// The page: which part is shown, the theme, the key.
import * as api from "./api.js";
import * as chat from "./chat.js";
import {$, kept} from "./dom.js";
import * as models from "./models.js";
import * as settings from "./settings.js";
import * as status from "./status.js";

const THEMES = ["auto", "light", "dark"];

function showPage() {
  const page = location.hash === "#status" ? "status" : "chat";
  for (const name of ["chat", "status"]) {
    $(`page-${name}`).hidden = name !== page;
    if (name === page) $(`tab-${name}`).setAttribute("aria-current", "page");
    else $(`tab-${name}`).removeAttribute("aria-current");
  }
  document.title = page === "status" ? "Status – llmhost" : "llmhost";
  if (page === "status") status.look();
  else status.leave();
}

function setTheme(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  $("theme").textContent = `Theme: ${theme}`;
  kept.set("theme", theme);
}

async function load() {
  $("key-set").hidden = api.key.get() === "";
  try {
    await models.refresh();
  } catch (error) {
    $("model-state").textContent = error.message;
    $("model-state").className = "badge bad";
  }
}

function startKey() {
  const why = $("key-why").textContent;
  const open = (reason) => {
    $("key-why").textContent = reason ? `${reason} The key stays in this tab and is forgotten when the tab closes.` : why;
    $("key").value = api.key.get();
    if (!$("key-dialog").open) $("key-dialog").showModal();
    $("key").focus();
  };
  api.whenDenied(open);
  $("open-key").addEventListener("click", () => open(""));
  $("key-form").addEventListener("submit", () => {
    api.key.set($("key").value.trim());
    load();
  });
  $("key-forget").addEventListener("click", () => {
    api.key.set("");
    $("key-dialog").close();
    load();
  });
  for (const button of document.querySelectorAll("[data-close]")) button.addEventListener("click", () => button.closest("dialog").close());
}

setTheme(kept.get("theme", "auto"));
$("theme").addEventListener("click", () => setTheme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme ?? "auto") + 1) % THEMES.length]));
startKey();
settings.start();
models.start();
chat.start();
window.addEventListener("hashchange", showPage);
showPage();
load();
