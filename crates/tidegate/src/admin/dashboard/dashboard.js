"use strict";
const by = id => document.getElementById(id);
let token = sessionStorage.getItem("tidegate-token") || "";
let last = null;
const ask = (path, options = {}) => fetch(path, { ...options, headers: token ? { authorization: "Bearer " + token } : {} });
async function json(path, options) {
  const answer = await ask(path, options);
  if (answer.status === 401) { by("login").hidden = false; throw new Error("The admin token is needed."); }
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.detail || answer.statusText);
  return body;
}
function cell(text, kind, head) {
  const node = document.createElement(head ? "th" : "td");
  node.textContent = text === null || text === undefined ? "–" : text;
  if (kind) node.className = kind;
  return node;
}
function table(id, head, rows) {
  const row = (cells, isHead) => { const tr = document.createElement("tr"); cells.forEach(([text, kind]) => tr.append(cell(text, kind, isHead))); return tr; };
  by(id).replaceChildren(row(head, true), ...rows.map(cells => row(cells, false)));
}
const ms = seconds => seconds === null ? "–" : "≤ " + +(seconds * 1000).toPrecision(3) + " ms";
const count = number => number.toLocaleString("en");
function tiles(o) {
  const now = performance.now(), total = o.requests.total, failed = o.requests.server_errors;
  const over = last && now > last.now ? (now - last.now) / 1000 : 0;
  const rate = over ? ((total - last.total) / over).toFixed(1) : "–", errors = over ? ((failed - last.failed) / over).toFixed(1) : "–";
  last = { now, total, failed };
  const shown = [["requests/s", rate], ["5xx/s", errors, over && failed > 0 && errors !== "0.0" ? "bad" : ""], ["in flight", count(o.requests_in_flight)],
    ["connections", count(o.connections)], ["p50", ms(o.requests.duration.p50)], ["p99", ms(o.requests.duration.p99)],
    ["overhead p99", ms(o.requests.overhead.p99)], ["requests", count(total)],
    ["endpoints out", o.counts.endpoints_out + " of " + o.counts.endpoints, o.counts.endpoints_out ? "warn" : ""]];
  by("tiles").replaceChildren(...shown.map(([label, value, kind]) => {
    const tile = document.createElement("div"), big = document.createElement("b");
    tile.className = "tile"; big.textContent = value; if (kind) big.className = kind; tile.append(big, label); return tile;
  }));
}
async function refresh() {
  try {
    const [o, routes, services, listeners, history] = await Promise.all(
      ["/api/overview", "/api/routes", "/api/services", "/api/listeners", "/api/config/history"].map(path => json(path)));
    by("error").textContent = "";
    const [word, kind] = o.draining ? ["draining", "bad"] : !o.alive ? ["stuck", "bad"] : o.pending.length ? ["waits for " + o.pending.join(", "), "warn"] : ["ready", "good"];
    by("state").textContent = word; by("state").className = kind;
    by("build").textContent = "version " + o.version + " (" + o.revision + "), up " + count(o.uptime_s) + " s";
    by("config").textContent = "configuration " + o.config.hash + ", generation " + o.config.generation + ", last reload " + o.config.last_reload;
    tiles(o);
    table("routes", [["route"], ["methods"], ["path"], ["target"], ["requests", "n"], ["4xx", "n"], ["5xx", "n"], ["p50", "n"], ["p99", "n"], ["from"]],
      routes.map(r => [[r.name], [r.methods ? r.methods.join(" ") : "any"], [r.hosts.join(" ") + r.path], [r.target], [count(r.requests.total), "n"],
        [count(r.requests.client_errors), "n"], [count(r.requests.server_errors), r.requests.server_errors ? "n bad" : "n"],
        [ms(r.requests.duration.p50), "n"], [ms(r.requests.duration.p99), "n"], [r.origin]]));
    table("services", [["service"], ["endpoint"], ["state"], ["connections", "n"], ["in flight", "n"], ["descriptors"]],
      services.flatMap(s => s.endpoints.map(e => [[s.name], [e.endpoint], [e.state, e.state === "ready" ? "good" : e.state === "transient_failure" ? "bad" : ""],
        [count(e.connections), "n"], [count(e.in_flight), "n"], [s.schema.known ? (s.schema.stale ? "stale" : "known") : "not known", s.schema.known ? "" : "warn"]])));
    table("listeners", [["listener"], ["address"], ["protocols"], ["connections", "n"], ["certificate until"]],
      listeners.map(l => [[l.name], [l.address], [(l.tls ? "tls " : "") + l.protocols.join(" ")], [count(l.connections), "n"],
        [l.certificate && l.certificate.not_after ? l.certificate.not_after + " (" + l.certificate.days_left + " days)" : "–",
          l.certificate && l.certificate.days_left < 14 ? "bad" : ""]]));
    by("history").textContent = history.map(g => g.at + "  generation " + g.generation + "  " + g.hash + "  by " + g.by +
      g.diff.map(line => "\n    " + line).join("")).join("\n");
  } catch (error) { by("error").textContent = error.message; }
}
by("login").addEventListener("submit", event => {
  event.preventDefault(); token = by("token").value.trim(); sessionStorage.setItem("tidegate-token", token); by("login").hidden = true; refresh();
});
by("explain").addEventListener("submit", async event => {
  event.preventDefault();
  const url = by("url").value, question = { method: by("method").value, url: url.startsWith("/") ? "http://" + location.host + url : url, headers: {} };
  try {
    const e = await json("/api/explain", { method: "POST", body: JSON.stringify(question) });
    const answer = e.would_answer ? "would answer " + e.would_answer.status + " " + e.would_answer.reason + ": " + e.would_answer.detail : "would be sent on";
    by("explained").textContent = "route " + (e.matched || "none") + " – " + answer + "\n\n" +
      e.policies.map(p => p.name.padEnd(16) + JSON.stringify(p.value) + "   " + (p.origin.file ? p.origin.file + ":" + p.origin.line : "built in")).join("\n") +
      "\n\nnot chosen\n" + e.rejected.map(r => "  " + r.route.padEnd(16) + r.why).join("\n");
  } catch (error) { by("explained").textContent = error.message; }
});
let watching = null;
by("watch").addEventListener("submit", async event => {
  event.preventDefault();
  if (watching) { watching.abort(); watching = null; by("tap-button").textContent = "Watch"; return; }
  watching = new AbortController(); by("tap-button").textContent = "Stop";
  try {
    const query = new URLSearchParams({ route: by("tap-route").value, status: by("tap-status").value });
    const answer = await ask("/api/tap?" + query, { signal: watching.signal });
    if (!answer.ok) throw new Error((await answer.json()).detail);
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      const events = (rest + value).split("\n\n"); rest = events.pop();
      const lines = events.map(text => (text.match(/^data: ?(.*)$/m) || [])[1]).filter(Boolean);
      const node = by("tap");
      node.textContent = (node.textContent + lines.join("\n") + (lines.length ? "\n" : "")).slice(-20000);
      node.scrollTop = node.scrollHeight;
    }
  } catch (error) { if (error.name !== "AbortError") by("tap").textContent = error.message; }
});
by("reload").addEventListener("click", async () => {
  try { const r = await json("/api/config/reload", { method: "POST" }); by("reloaded").textContent = r.result; }
  catch (error) { by("reloaded").textContent = error.message; }
  refresh();
});
refresh(); setInterval(refresh, 2000);
