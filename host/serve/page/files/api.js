// The server's API: the key, plain calls, and a stream of events.

const KEY = "llmhost.key";
let onDenied = () => {};

export const key = {
  get: () => {
    try {
      return sessionStorage.getItem(KEY) ?? "";
    } catch {
      return "";
    }
  },
  set: (value) => {
    try {
      if (value) sessionStorage.setItem(KEY, value);
      else sessionStorage.removeItem(KEY);
    } catch {
      // a browser that keeps nothing: the key is asked for again
    }
  },
};

// Called with a reason when the server wants a (better) key.
export function whenDenied(handler) {
  onDenied = handler;
}

export class ApiError extends Error {
  constructor(message, status, retryAfter) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

async function failure(answer) {
  let message = `The server answered ${answer.status}.`;
  try {
    const body = await answer.json();
    message = body?.error?.message ?? (typeof body?.error === "string" ? body.error : message);
  } catch {
    // no JSON: the status says enough
  }
  if (answer.status === 401) onDenied(message);
  const wait = Number.parseFloat(answer.headers.get("Retry-After"));
  return new ApiError(message, answer.status, Number.isFinite(wait) ? wait : null);
}

async function request(path, options = {}) {
  const headers = {...options.headers};
  if (key.get()) headers.Authorization = `Bearer ${key.get()}`;
  if (options.body) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, {...options, headers, credentials: "omit", cache: "no-store"});
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The server cannot be reached.", 0, null);
  }
  if (!answer.ok) throw await failure(answer);
  return answer;
}

export const getJson = async (path, signal) => (await request(path, {signal})).json();

export const postJson = async (path, body, signal) =>
  (await request(path, {method: "POST", body: JSON.stringify(body), signal})).json();

// The data of each event, parsed, until [DONE] or the end.
export async function* stream(path, body, signal) {
  const answer = await request(path, {method: "POST", body: JSON.stringify(body), signal});
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  try {
    for (;;) {
      const {done, value} = await reader.read();
      if (done) return;
      buffer += value.replaceAll("\r", "");
      let end;
      while ((end = buffer.indexOf("\n\n")) >= 0) {
        const event = buffer.slice(0, end);
        buffer = buffer.slice(end + 2);
        const data = event.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart()).join("\n");
        if (data === "[DONE]") return;
        if (!data) continue;
        const parsed = JSON.parse(data);
        if (parsed.error) throw new ApiError(parsed.error.message ?? "The reply broke off.", 200, null);
        yield parsed;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
