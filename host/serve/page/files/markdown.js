// The Markdown that models write, as elements. Unknown markup stays as it was written.
import {copy, make} from "./dom.js";

const INLINE = /(`+)([^`]|[^`][\s\S]*?[^`])\1(?!`)|\*\*([^\s*](?:[\s\S]*?[^\s*])?)\*\*|\*([^\s*](?:[^*]*?[^\s*])?)\*|\[([^\]\n]+)\]\((https?:\/\/[^\s)]+)\)/g;

function inline(text) {
  const parts = [];
  let from = 0;
  for (const match of text.matchAll(INLINE)) {
    parts.push(text.slice(from, match.index));
    if (match[1]) parts.push(make("code", {}, match[2].trim()));
    else if (match[3]) parts.push(make("strong", {}, ...inline(match[3])));
    else if (match[4]) parts.push(make("em", {}, ...inline(match[4])));
    else parts.push(make("a", {href: match[6], target: "_blank", rel: "noopener noreferrer"}, match[5]));
    from = match.index + match[0].length;
  }
  parts.push(text.slice(from));
  return parts.filter((part) => part !== "");
}

function code(text) {
  const button = make("button", {type: "button", class: "copy"}, "Copy");
  button.addEventListener("click", () => copy(text, button));
  return make("pre", {}, make("code", {}, text), button);
}

const BULLET = /^(\s*)(?:[-*+]|(\d{1,9})[.)])\s+(.*)$/;
const cells = (line) => line.trim().replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim());

function table(rows) {
  const head = make("tr", {}, ...cells(rows[0]).map((cell) => make("th", {scope: "col"}, ...inline(cell))));
  const body = rows.slice(2).map((row) => make("tr", {}, ...cells(row).map((cell) => make("td", {}, ...inline(cell)))));
  return make("table", {}, make("thead", {}, head), make("tbody", {}, ...body));
}

// A list from `at` on; nested ones are deeper by two columns or more.
function list(lines, at) {
  const [, indent, ordinal] = lines[at].match(BULLET);
  const element = make(ordinal ? "ol" : "ul", ordinal && ordinal !== "1" ? {start: Number(ordinal)} : {});
  while (at < lines.length) {
    const match = lines[at].match(BULLET);
    if (match && match[1].length >= indent.length + 2 && element.lastChild) {
      const [inner, next] = list(lines, at);
      element.lastChild.append(inner);
      at = next;
    } else if (match && match[1].length >= indent.length && Boolean(match[2]) === Boolean(ordinal)) {
      element.append(make("li", {}, ...inline(match[3])));
      at += 1;
    } else if (!match && /^\s{2,}\S/.test(lines[at]) && element.lastChild) {
      element.lastChild.append(" ", ...inline(lines[at].trim()));
      at += 1;
    } else if (lines[at].trim() === "" && at + 1 < lines.length && BULLET.test(lines[at + 1])) {
      at += 1;
    } else {
      break;
    }
  }
  return [element, at];
}

function paragraph(lines) {
  const parts = [];
  lines.forEach((line, index) => {
    if (index > 0) parts.push(make("br"));
    parts.push(...inline(line));
  });
  return make("p", {}, ...parts);
}

export function render(text) {
  const lines = text.split("\n");
  const blocks = [];
  let plain = [];
  const flush = () => {
    if (plain.length > 0) blocks.push(paragraph(plain));
    plain = [];
  };
  for (let at = 0; at < lines.length;) {
    const line = lines[at];
    const fence = line.match(/^\s*(`{3,}|~{3,})/);
    if (fence) {
      flush();
      let end = at + 1;
      while (end < lines.length && !lines[end].trim().startsWith(fence[1])) end += 1;
      blocks.push(code(lines.slice(at + 1, end).join("\n")));
      at = end + 1;
    } else if (BULLET.test(line)) {
      flush();
      const [element, next] = list(lines, at);
      blocks.push(element);
      at = next;
    } else if (/^#{1,6}\s/.test(line)) {
      flush();
      const depth = line.match(/^#+/)[0].length;
      blocks.push(make(`h${Math.min(depth + 2, 5)}`, {}, ...inline(line.replace(/^#+\s+/, "").replace(/\s+#+$/, ""))));
      at += 1;
    } else if (line.includes("|") && /^\s*\|?[\s:|-]*-[\s:|-]*$/.test(lines[at + 1] ?? "") && (lines[at + 1] ?? "").includes("|")) {
      flush();
      let end = at + 2;
      while (end < lines.length && lines[end].includes("|")) end += 1;
      blocks.push(table(lines.slice(at, end)));
      at = end;
    } else if (/^>\s?/.test(line)) {
      flush();
      let end = at;
      while (end < lines.length && /^>\s?/.test(lines[end])) end += 1;
      blocks.push(make("blockquote", {}, ...render(lines.slice(at, end).map((quoted) => quoted.replace(/^>\s?/, "")).join("\n"))));
      at = end;
    } else {
      if (line.trim() === "") flush();
      else plain.push(line);
      at += 1;
    }
  }
  flush();
  return blocks;
}
