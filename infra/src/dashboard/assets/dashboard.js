"use strict";
// Draws the lag report. Rows are made once and then only their text changes, so that focus,
// selection and what was opened stay. Names come from the log: they are set as text, never as HTML.

const STALE_MS = 10_000;
const COLUMNS = [
  ["earliest", "Earliest", (p) => count(p.earliest)],
  ["end", "End", (p) => count(p.end)],
  ["committed", "Committed", (p) => count(p.committed)],
  ["lag", "Lag", (p) => count(p.lag)],
  ["behind", "Seconds behind", (p) => seconds(p.seconds_behind)],
  ["in", "In /s", (p) => rate(p.in_rate)],
  ["out", "Out /s", (p) => rate(p.out_rate)],
];

const whole = new Intl.NumberFormat();
const tenths = new Intl.NumberFormat(undefined, { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const known = (value) => value !== null && value !== undefined;
const count = (value) => (known(value) ? whole.format(value) : "–");
const rate = (value) => (known(value) ? tenths.format(value) : "–");
const seconds = (value) => (known(value) ? tenths.format(value) : "–");

const byId = (id) => document.getElementById(id);

function make(tag, text, attributes = {}) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/// Children of `parent` by key: kept, made, or removed, in the order of `keys`.
function keyed(parent, keys, create) {
  const old = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  keys.forEach((key, at) => {
    let child = old.get(key);
    if (!child) {
      child = create(key);
      child.dataset.key = key;
    }
    old.delete(key);
    if (parent.children[at] !== child) parent.insertBefore(child, parent.children[at] ?? null);
  });
  for (const gone of old.values()) gone.remove();
  return [...parent.children];
}

function newRow(kind, heading) {
  const row = make("tr", undefined, { class: kind });
  const head = make("th", undefined, { scope: "row" });
  head.append(heading);
  row.append(head, ...COLUMNS.map(([name]) => make("td", "–", { "data-column": name })));
  return row;
}

function fillRow(row, numbers) {
  COLUMNS.forEach(([, , show], at) => setText(row.children[at + 1], show(numbers)));
}

function newGroup() {
  const section = make("section");
  const title = make("h2");
  title.append(make("span"), " ", make("span", "", { class: "badge" }), " ", make("span", "", { class: "about" }));
  const frame = make("div", undefined, { class: "frame", tabindex: "0", role: "region" });
  const table = make("table");
  const head = make("tr");
  head.append(make("th", "Topic and partition", { scope: "col" }));
  head.append(...COLUMNS.map(([, title]) => make("th", title, { scope: "col" })));
  table.append(make("thead", undefined, { "data-key": "head" }));
  table.tHead.append(head);
  frame.append(table);
  section.append(title, frame);
  return section;
}

function newTopic(name) {
  const body = make("tbody");
  const button = make("button", name, { type: "button", "aria-expanded": "false" });
  button.addEventListener("click", () => {
    const open = button.getAttribute("aria-expanded") !== "true";
    button.setAttribute("aria-expanded", String(open));
    for (const row of body.querySelectorAll(".partition")) row.hidden = !open;
  });
  const totals = newRow("topic", button);
  totals.dataset.key = "all";
  body.append(totals);
  return body;
}

function drawTopic(body, topic) {
  const open = body.querySelector("button").getAttribute("aria-expanded") === "true";
  const partitions = new Map(topic.partitions.map((p) => [`partition ${p.partition}`, p]));
  const rows = keyed(body, ["all", ...partitions.keys()], (key) => {
    const row = newRow("partition", key);
    row.hidden = !open;
    return row;
  });
  const sum = (name) => topic.partitions.reduce((sum, p) => (known(p[name]) ? (sum ?? 0) + p[name] : sum), null);
  const sums = { earliest: sum("earliest"), end: sum("end"), committed: sum("committed") };
  fillRow(rows[0], { ...topic.total, ...sums });
  for (const row of rows.slice(1)) fillRow(row, partitions.get(row.dataset.key));
}

function drawGroup(section, group) {
  const [name, , about] = section.querySelectorAll("h2 span");
  setText(name, group.group);
  const members = group.members.length === 1 ? "1 member" : `${group.members.length} members`;
  const { lag, catch_up_seconds: left } = group.total;
  const when = lag > 0 && known(left) ? `, level in ${seconds(left)} s` : "";
  setText(about, `${group.state}, ${members}, ${count(lag)} behind${when}`);
  const badge = section.querySelector("h2 .badge");
  badge.dataset.state = group.status;
  setText(badge, group.status.replaceAll("_", " "));
  section.querySelector(".frame").setAttribute("aria-label", `Lag of ${group.group}`);
  const topics = new Map(group.topics.map((topic) => [topic.topic, topic]));
  const table = section.querySelector("table");
  const bodies = keyed(table, ["head", ...topics.keys()], newTopic);
  for (const body of bodies.slice(1)) drawTopic(body, topics.get(body.dataset.key));
}

function drawTotals(report) {
  const dead = report.topics.find((topic) => topic.topic === "dead-letters");
  const tiles = new Map([
    ["Lag", count(report.total.lag)],
    ["Seconds behind", seconds(report.total.seconds_behind)],
    ["In, records /s", rate(report.total.in_rate)],
    ["Out, records /s", rate(report.total.out_rate)],
    ["Dead letters", count(dead?.records)],
  ]);
  const boxes = keyed(byId("totals"), [...tiles.keys()], (key) => {
    const box = make("div");
    box.append(make("dt", key), make("dd"));
    return box;
  });
  for (const box of boxes) setText(box.lastChild, tiles.get(box.dataset.key));
}

function drawTopics(topics) {
  byId("topics").hidden = topics.length === 0;
  const held = new Map(topics.map((topic) => [topic.topic, topic]));
  const rows = keyed(byId("topics").querySelector("tbody"), [...held.keys()], (name) => {
    const row = make("tr");
    row.append(make("th", name, { scope: "row" }), make("td"), make("td"), make("td"));
    return row;
  });
  for (const row of rows) {
    const topic = held.get(row.dataset.key);
    setText(row.children[1], count(topic.partitions.length));
    setText(row.children[2], count(topic.records));
    setText(row.children[3], rate(topic.in_rate));
  }
}

function drawReport(report) {
  drawTotals(report);
  const groups = new Map(report.groups.map((group) => [group.group, group]));
  const sections = keyed(byId("groups"), [...groups.keys()], newGroup);
  for (const section of sections) drawGroup(section, groups.get(section.dataset.key));
  drawTopics(report.topics);
  byId("empty").hidden = groups.size > 0;
  byId("trouble").hidden = report.errors.length === 0;
  setText(byId("trouble"), report.errors.join("; "));
}

function drawScene({ log, roles }) {
  setText(byId("log"), log);
  byId("roles").hidden = roles.length === 0;
  const states = new Map(roles.map((role) => [role.role, role]));
  const items = keyed(byId("roles").querySelector("ul"), [...states.keys()], (key) => {
    const item = make("li");
    item.append(`${key}: `, make("span"));
    return item;
  });
  for (const item of items) {
    const { state, reason } = states.get(item.dataset.key);
    item.lastChild.dataset.state = state;
    setText(item.lastChild, reason ? `${state}: ${reason}` : state);
  }
}

let lastSample = null;
let lastUpdate = null;
let connected = false;

function drawConnection() {
  const pill = byId("connection");
  const age = lastUpdate === null ? null : Date.now() - lastUpdate;
  const lost = !connected || (age !== null && age > STALE_MS);
  const when = lastUpdate === null ? "" : `· last update ${new Date(lastUpdate).toLocaleTimeString()}`;
  const state = !lost ? "live" : lastUpdate === null ? "waiting" : "lost";
  const lostWords = connected ? "the log does not answer" : "connection lost, trying again";
  const words = { live: "live", waiting: "connecting", lost: lostWords };
  pill.dataset.state = state;
  setText(pill, words[state]);
  // Beside the live region, not in it: a screen reader shall not read out every second.
  setText(byId("updated"), when);
  document.body.classList.toggle("stale", state === "lost");
}

function listen() {
  const source = new EventSource("/api/v1/lag/stream");
  source.addEventListener("open", () => { connected = true; drawConnection(); });
  // The browser connects again by itself.
  source.addEventListener("error", () => { connected = false; drawConnection(); });
  source.addEventListener("lag", (event) => {
    const report = JSON.parse(event.data);
    // What the log could not be asked for stays as it was, and grows old visibly.
    if (report.sampled_at && report.sampled_at !== lastSample) {
      lastSample = report.sampled_at;
      lastUpdate = Date.now();
    }
    drawReport(report);
    drawConnection();
  });
  source.addEventListener("scene", (event) => drawScene(JSON.parse(event.data)));
}

listen();
setInterval(drawConnection, 1_000);
