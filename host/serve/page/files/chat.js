// The conversation.
import {postJson, stream} from "./api.js";
import {$, copy, make, number} from "./dom.js";
import {render} from "./markdown.js";
import * as models from "./models.js";
import * as settings from "./settings.js";

const STARTERS = ["Explain how a hash table works", "Write a haiku about rain", "Plan a three day walk in the hills"];
const PAINT_MS = 60;
const MOST_RETRIES = 30;

let messages = [];  // {role, content, element}
let running = null;  // AbortController of the reply that is being written

function conversation() {
  const system = settings.systemPrompt();
  const said = messages.filter((message) => message.content !== null).map(({role, content}) => ({role, content}));
  return system ? [{role: "system", content: system}, ...said] : said;
}

const nearEnd = () => $("scroll").scrollHeight - $("scroll").scrollTop - $("scroll").clientHeight < 80;
const toEnd = () => { $("scroll").scrollTop = $("scroll").scrollHeight; };

function setRunning(controller) {
  running = controller;
  $("send").hidden = controller !== null;
  $("stop").hidden = controller === null;
  if (controller === null) $("live").textContent = "";
}

function addUser(text) {
  $("empty").hidden = true;
  const element = make("li", {class: "message user"}, make("span", {class: "hidden"}, "You: "), make("div", {class: "body"}, text));
  messages.push({role: "user", content: text, element});
  $("messages").append(element);
}

// What one reply shows while it is written.
class Reply {
  constructor() {
    this.text = "";
    this.reasoning = "";
    this.calls = [];
    this.pieces = 0;
    this.started = performance.now();
    this.first = null;
    this.usage = null;
    this.finish = null;
    this.thought = make("div", {class: "thought"});
    this.thinking = make("details", {class: "thinking", open: true, hidden: true}, make("summary", {}, "Reasoning"), this.thought);
    this.body = make("div", {class: "body"});
    this.callBox = make("div", {class: "calls"});
    this.foot = make("div", {class: "foot"});
    this.element = make("li", {class: "message assistant streaming", "aria-busy": "true"},
      make("span", {class: "hidden"}, "Assistant: "), this.thinking, this.body, this.callBox, this.foot);
    this.message = {role: "assistant", content: null, element: this.element};
    messages.push(this.message);
    $("messages").append(this.element);
    this.timer = null;
  }

  take(event) {
    if (event.usage) this.usage = event.usage;
    const choice = event.choices?.[0];
    if (!choice) return;
    if (choice.finish_reason) this.finish = choice.finish_reason;
    const delta = choice.delta ?? {};
    if (!delta.content && !delta.reasoning_content && !delta.tool_calls) return;
    this.first ??= performance.now();
    this.pieces += 1;
    this.text += delta.content ?? "";
    this.reasoning += delta.reasoning_content ?? "";
    for (const call of delta.tool_calls ?? []) {
      const known = this.calls[call.index] ??= {name: "", arguments: ""};
      known.name += call.function?.name ?? "";
      known.arguments += call.function?.arguments ?? "";
    }
    this.timer ??= setTimeout(() => this.paint(), PAINT_MS);
  }

  paint() {
    clearTimeout(this.timer);
    this.timer = null;
    const follow = nearEnd();
    this.thinking.hidden = this.reasoning === "";
    if (this.thought.textContent !== this.reasoning) this.thought.textContent = this.reasoning;
    if (this.text !== "" && this.thinking.open && !this.folded) {
      this.thinking.open = false;
      this.folded = true;
    }
    this.body.replaceChildren(...render(this.text));
    this.callBox.replaceChildren(...this.calls.filter(Boolean).map((call) => make("div", {class: "call"},
      make("span", {class: "name"}, call.name), " ", make("code", {}, call.arguments))));
    if (running) $("live").textContent = this.speed();
    if (follow) toEnd();
  }

  tokens() {
    return this.usage?.completion_tokens ?? this.pieces;
  }

  speed() {
    const count = this.tokens();
    if (this.first === null) return "";
    const seconds = ((this.end ?? performance.now()) - this.first) / 1000;
    const rate = count > 1 && seconds > 0 ? `, ${number((count - 1) / seconds, 1)} tokens/s` : "";
    return `${number(count)} ${count === 1 ? "token" : "tokens"}${rate}`;
  }

  figures() {
    const parts = [this.speed()];
    if (this.first !== null) parts.push(`first after ${number((this.first - this.started) / 1000, 2)} s`);
    if (this.usage?.prompt_tokens !== undefined) parts.push(`prompt ${number(this.usage.prompt_tokens)}`);
    if (this.finish === "length") parts.push("cut at the longest reply");
    if (this.stopped) parts.push("stopped");
    return parts.filter(Boolean).join(" · ");
  }

  close(problem) {
    this.end = performance.now();
    this.paint();
    this.element.classList.remove("streaming");
    this.element.removeAttribute("aria-busy");
    this.message.content = this.text === "" && problem ? null : this.text;
    if (problem) this.element.insertBefore(make("p", {class: "notice bad", role: "alert"}, problem), this.foot);
    const copyButton = make("button", {type: "button"}, "Copy");
    copyButton.addEventListener("click", () => copy(this.text, copyButton));
    const again = make("button", {type: "button", on: {click: () => retry(this.message)}}, "Try again");
    this.foot.replaceChildren(make("span", {class: "figures-line"}, this.figures()), ...(this.text ? [copyButton] : []), again);
  }
}

const pause = (seconds, signal) => new Promise((resolve, reject) => {
  const timer = setTimeout(resolve, seconds * 1000);
  signal.addEventListener("abort", () => {
    clearTimeout(timer);
    reject(new DOMException("stopped", "AbortError"));
  }, {once: true});
});

// A model that is being loaded answers 503 with the time to wait.
async function* patiently(body, signal) {
  for (let tries = 0; ; tries += 1) {
    try {
      yield* stream("/v1/chat/completions", body, signal);
      return;
    } catch (error) {
      if (error.status !== 503 || error.retryAfter === null || tries >= MOST_RETRIES) throw error;
      $("live").textContent = `${error.message} Trying again.`;
      await pause(Math.min(Math.max(error.retryAfter, 0.2), 30), signal);
      models.refresh().catch(() => {});
    }
  }
}

async function answer() {
  const controller = new AbortController();
  const body = {model: models.requestName(), messages: conversation(), ...settings.sampling(), stream: true, stream_options: {include_usage: true}};
  const reply = new Reply();
  setRunning(controller);
  $("live").textContent = "Waiting for the first token";
  toEnd();
  let problem = "";
  try {
    for await (const event of patiently(body, controller.signal)) reply.take(event);
  } catch (error) {
    if (error.name === "AbortError") reply.stopped = true;
    else problem = error.message;
  }
  setRunning(null);
  reply.close(problem);
  models.refresh().catch(() => {});
}

async function retry(message) {
  if (running) return;
  const at = messages.indexOf(message);
  for (const gone of messages.splice(at)) gone.element.remove();
  await answer();
}

async function send(text) {
  text = text.trim();
  if (running || text === "" || !$("model").value) return;
  addUser(text);
  $("input").value = "";
  fit();
  await answer();
}

function clear() {
  running?.abort();
  for (const message of messages) message.element.remove();
  messages = [];
  $("empty").hidden = false;
  $("input").focus();
}

// The box grows with its text.
function fit() {
  const box = $("input");
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight}px`;
}

// Marks of the template stand out: what is written as <…> or [UPPER CASE].
function marked(text) {
  const parts = [];
  let from = 0;
  for (const match of text.matchAll(/<\/?[|｜\w][^<>\n]{0,60}>|\[\/?[A-Z][A-Z_ ]{1,30}\]/g)) {
    parts.push(text.slice(from, match.index), make("span", {class: "mark"}, match[0]));
    from = match.index + match[0].length;
  }
  return [...parts, text.slice(from)];
}

async function showPrompt() {
  const said = conversation();
  const draft = $("input").value.trim();
  if (draft) said.push({role: "user", content: draft});
  const dialog = $("prompt-dialog");
  $("prompt-text").textContent = "";
  $("prompt-ids").textContent = "";
  $("prompt-ids-box").hidden = true;
  $("prompt-size").textContent = "";
  dialog.showModal();
  if (said.length === 0) {
    $("prompt-text").textContent = "There is no message yet.";
    return;
  }
  try {
    const made = await postJson("/apply-template", {model: models.requestName(), messages: said});
    $("prompt-text").replaceChildren(...marked(made.prompt));
    const tokens = made.tokens ?? [];
    $("prompt-size").textContent = `${number(tokens.length)} ${tokens.length === 1 ? "token" : "tokens"}`;
    $("prompt-ids").textContent = tokens.join(" ");
    $("prompt-ids-box").hidden = tokens.length === 0;
  } catch (error) {
    $("prompt-text").textContent = error.message;
  }
}

export function start() {
  $("starters").replaceChildren(...STARTERS.map((text) => make("button", {type: "button", on: {click: () => send(text)}}, text)));
  $("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    send($("input").value);
  });
  $("input").addEventListener("input", fit);
  $("input").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send($("input").value);
  });
  $("stop").addEventListener("click", () => running?.abort());
  $("new-chat").addEventListener("click", clear);
  $("show-prompt").addEventListener("click", showPrompt);
  $("prompt-copy").addEventListener("click", () => copy($("prompt-text").textContent, $("prompt-copy")));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !document.querySelector("dialog[open]")) running?.abort();
    const typing = event.target.closest?.("input, textarea, select, dialog");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      $("input").focus();
    }
  });
}
