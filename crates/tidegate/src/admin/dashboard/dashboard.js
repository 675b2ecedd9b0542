"use strict";
// Texts from elsewhere (paths, names) only ever become text nodes.
const by = id => document.getElementById(id);
const PERIOD_MS = 2000, MAX_ROWS = 300, MAX_TAP = 20000;
let token = sessionStorage.getItem("tidegate-token") || "";
let last = null, timer = 0, watching = null;

const ask = (path, options = {}) => fetch(path, { ...options, headers: token ? { authorization: "Bearer " + token } : {} });
const place = p => p.file + ":" + p.line + "  " + p.message + (p.help ? " (" + p.help + ")" : "");
async function json(path, options) {
  const answer = await ask(path, options);
  by("login").hidden = by("login").hidden && answer.status !== 401;
  const body = await answer.json();
  if (answer.status === 401) throw new Error(body.reason === "auth_invalid" ? "This is not the admin token." : "The admin token is needed.");
  if (!answer.ok) throw new Error([body.detail || answer.statusText, ...(body.problems || []).map(place), ...(body.fields || [])].join("\n"));
  return body;
}
/** Shows in the element `id` what `work` gives, or why it failed. */
async function into(id, work) {
  const node = by(id);
  node.hidden = false;
  try { node.textContent = await work(); node.classList.remove("bad"); }
  catch (error) { node.textContent = error.message; node.classList.add("bad"); }
}

function cell([content, kind], head) {
  const node = document.createElement(head ? "th" : "td");
  node.append(content === null || content === undefined ? "–" : content);
  if (kind) node.className = kind;
  return node;
}
function table(id, head, rows) {
  const row = (cells, isHead) => { const tr = document.createElement("tr"); tr.append(...cells.map(c => cell(c, isHead))); return tr; };
  by(id).replaceChildren(row(head, true), ...rows.map(cells => row(cells, false)));
}
function button(text, click) {
  const node = document.createElement("button");
  node.textContent = text;
  node.addEventListener("click", click);
  return node;
}
const ms = seconds => seconds === null ? "–" : "≤ " + +(seconds * 1000).toPrecision(3) + " ms";
const count = number => number.toLocaleString("en");
const from = origin => origin.file ? origin.file + ":" + origin.line : "built in";
const plain = v => typeof v === "string" ? v : JSON.stringify(v);
const value = v => v && typeof v === "object" && !Array.isArray(v) ? Object.entries(v).map(([k, x]) => k + " " + plain(x)).join(", ") : plain(v);
const policies = list => list.map(p => p.name.padEnd(18) + value(p.value) + "   " + from(p.origin) +
  (p.verdict ? "   " + p.verdict : "") + (p.note ? "   " + p.note : "")).join("\n");

function tiles(o) {
  const now = performance.now(), total = o.requests.total, failed = o.requests.server_errors;
  const over = last && now > last.now && total >= last.total ? (now - last.now) / 1000 : 0;
  const rate = before => over ? ((before[1] - before[0]) / over).toFixed(1) : "–";
  const errors = rate([last && last.failed, failed]);
  const shown = [["requests/s", rate([last && last.total, total])], ["5xx/s", errors, over && errors !== "0.0" ? "bad" : ""],
    ["in flight", count(o.requests_in_flight)], ["connections", count(o.connections)], ["p50", ms(o.requests.duration.p50)],
    ["p95", ms(o.requests.duration.p95)], ["p99", ms(o.requests.duration.p99)], ["overhead p99", ms(o.requests.overhead.p99)],
    ["requests", count(total)], ["without a route", count(o.unrouted.total)],
    ["endpoints out", o.counts.endpoints_out + " of " + o.counts.endpoints, o.counts.endpoints_out ? "warn" : ""]];
  last = { now, total, failed };
  by("tiles").replaceChildren(...shown.map(([label, text, kind]) => {
    const tile = document.createElement("div"), big = document.createElement("b");
    tile.className = "tile"; big.textContent = text; if (kind) big.className = kind; tile.append(big, label);
    return tile;
  }));
}
function head(o) {
  const [word, kind] = o.draining ? ["draining", "bad"] : !o.alive ? ["stuck", "bad"]
    : o.pending.length ? ["waits for " + o.pending.join(", "), "warn"] : ["ready", "good"];
  by("state").textContent = word; by("state").className = kind;
  by("build").textContent = "version " + o.version + " (" + o.revision + "), up " + count(o.uptime_s) + " s";
  by("config").textContent = "configuration " + o.config.hash + ", generation " + o.config.generation + ", last reload " + o.config.last_reload;
  by("config").className = o.config.last_reload === "ok" ? "" : "warn";
}
function routes(all) {
  const wanted = by("filter").value.toLowerCase();
  const found = all.filter(r => (r.name + " " + r.hosts.join(" ") + r.path + " " + r.target).toLowerCase().includes(wanted));
  by("more").textContent = found.length > MAX_ROWS ? "… and " + count(found.length - MAX_ROWS) + " more" : "";
  table("routes", [["route"], ["methods"], ["path"], ["target"], ["requests", "n"], ["4xx", "n"], ["5xx", "n"], ["p50", "n"], ["p99", "n"], ["from"]],
    found.slice(0, MAX_ROWS).map(r => [[button(r.name, () => route(r.name))], [r.methods ? r.methods.join(" ") : "any"],
      [r.hosts.join(" ") + r.path], [r.target], [count(r.requests.total), "n"], [count(r.requests.client_errors), "n"],
      [count(r.requests.server_errors), r.requests.server_errors ? "n bad" : "n"],
      [ms(r.requests.duration.p50), "n"], [ms(r.requests.duration.p99), "n"], [r.origin]]));
}
const route = name => into("route", async () => (await json("/api/routes/" + encodeURIComponent(name))).map(r =>
  r.name + "   " + (r.methods ? r.methods.join(" ") : "any method") + "   " + r.hosts.join(" ") + r.path + "   " + r.origin + "\n\n" + policies(r.policies)).join("\n\n"));
function services(all) {
  const kind = { ready: "good", transient_failure: "bad" };
  table("services", [["service"], ["endpoint"], ["state"], ["connections", "n"], ["in flight", "n"], ["descriptors"]],
    all.flatMap(s => s.endpoints.map(e => [[s.name], [e.endpoint], [e.state, kind[e.state]], [count(e.connections), "n"], [count(e.in_flight), "n"],
      [s.schema.known ? s.schema.digest + (s.schema.stale ? ", stale" : "") : "not known", s.schema.known && !s.schema.stale ? "" : "warn"]])));
}
function listeners(all) {
  table("listeners", [["listener"], ["address"], ["protocols"], ["connections", "n"], ["certificate until"]],
    all.map(l => [[l.name], [l.address], [(l.tls ? "tls " : "") + l.protocols.join(" ")], [count(l.connections), "n"],
      l.certificate && l.certificate.not_after ? [l.certificate.not_after + " (" + l.certificate.days_left + " days)",
        l.certificate.days_left < 14 ? "bad" : ""] : ["–"]]));
}
async function refresh() {
  clearTimeout(timer);
  try {
    // Nobody looks: the numbers can wait.
    if (document.hidden) return;
    const paths = ["/api/overview", "/api/routes", "/api/services", "/api/listeners", "/api/config/history"];
    const [o, r, s, l, h] = await Promise.all(paths.map(path => json(path)));
    by("error").textContent = "";
    head(o); tiles(o); routes(r); services(s); listeners(l);
    by("history").textContent = h.map(g => g.at + "  generation " + g.generation + "  " + g.hash + "  by " + g.by +
      g.diff.map(line => "\n    " + line).join("")).join("\n");
  } catch (error) { by("error").textContent = error.message; }
  finally { timer = setTimeout(refresh, PERIOD_MS); }
}

const on = (id, event, act) => by(id).addEventListener(event, e => { e.preventDefault(); act(); });
on("login", "submit", () => {
  token = by("token").value.trim();
  sessionStorage.setItem("tidegate-token", token);
  by("token").value = ""; by("login").hidden = true;
  refresh();
});
by("filter").form.addEventListener("submit", e => e.preventDefault());
on("filter", "input", refresh);
on("explain", "submit", () => into("explained", async () => {
  const question = { method: by("method").value, url: by("url").value, headers: {} };
  const e = await json("/api/explain", { method: "POST", body: JSON.stringify(question) });
  const answer = e.would_answer ? "would answer " + e.would_answer.status + " " + e.would_answer.reason + ": " + e.would_answer.detail : "would be sent on";
  const wide = Math.max(0, ...e.rejected.map(r => r.route.length));
  const parts = ["route " + (e.matched || "none") + " – " + answer];
  if (e.policies.length) parts.push(policies(e.policies));
  if (e.rejected.length) parts.push("not chosen\n" + e.rejected.map(r => "  " + r.route.padEnd(wide + 2) + r.why).join("\n") +
    (e.rejected_more ? "\n  … and " + e.rejected_more + " more" : ""));
  return parts.concat(e.notes).join("\n\n");
}));

/** A line of the live view from an event. */
function told(event) {
  const [, kind] = event.match(/^event: ?(.*)$/m) || [], [, data] = event.match(/^data: ?(.*)$/m) || [];
  if (data === undefined) return "";
  if (kind === "dropped") return "… " + data + " lost\n";
  const r = JSON.parse(data), took = r.duration_ms === undefined ? "" : r.duration_ms + " ms";
  return [r.ts.slice(11, 23), String(r.status || "–").padEnd(3), (r.method || "–").padEnd(4), r.path || "–", r.route || "no route", took, r.grpc_status, r.reason, r.request_id]
    .filter(Boolean).join("  ") + "\n";
}
function stop() {
  if (watching) watching.abort();
  watching = null;
  by("tap-button").textContent = "Watch";
}
on("watch", "submit", async () => {
  if (watching) return stop();
  const mine = watching = new AbortController(), node = by("tap");
  by("tap-button").textContent = "Stop"; node.textContent = "";
  try {
    const query = new URLSearchParams({ route: by("tap-route").value, status: by("tap-status").value });
    const answer = await ask("/api/tap?" + query, { signal: mine.signal });
    if (!answer.ok) throw new Error((await answer.json()).detail);
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = ""; ;) {
      const { value: piece, done } = await reader.read();
      if (done) throw new Error("The gateway has ended the view.");
      const events = (rest + piece).split("\n\n");
      rest = events.pop();
      node.textContent = (node.textContent + events.map(told).join("")).slice(-MAX_TAP);
      node.scrollTop = node.scrollHeight;
    }
  } catch (error) {
    if (error.name !== "AbortError") node.textContent += error.message;
    if (watching === mine) stop();
  }
});
on("reload", "click", async () => {
  await into("reloaded", async () => (await json("/api/config/reload", { method: "POST" })).result);
  refresh();
});
on("show", "click", () => into("effective", async () => JSON.stringify((await json("/api/config")).effective, null, 2)));
on("levels", "submit", () => into("leveled", async () =>
  "in force: " + (await json("/api/log-level", { method: "PUT", body: JSON.stringify({ filter: by("level").value }) })).filter));
document.addEventListener("visibilitychange", refresh);
refresh();
into("leveled", async () => "in force: " + (await json("/api/log-level")).filter);
