// The state of the page, kept in the address so that a link restores it.
"use strict";
const $ = (selector, within = document) => within.querySelector(selector);
const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];
const DEFAULTS = { sort: "top1", dir: "desc", q: "", without: [], columns: null, base: null, tabs: {}, open: [], pair: null, class: null, theme: "", limits: [], prefer: null, price: null };
const state = structuredClone(DEFAULTS);
let data = null;

// Digits of base 85, as `reports/packed_text.py` writes them: five are four bytes.
const DIGITS = Array.from({ length: 94 }, (_, i) => String.fromCharCode(33 + i)).filter((c) => !"\"&'<>\\`{}".includes(c));

function bytesOf(text) {
  const places = new Uint8Array(128);
  DIGITS.forEach((digit, value) => (places[digit.charCodeAt(0)] = value));
  const padding = (5 - (text.length % 5)) % 5;
  const padded = text + DIGITS.at(-1).repeat(padding);
  const bytes = new DataView(new ArrayBuffer((padded.length / 5) * 4));
  for (let i = 0, at = 0; i < padded.length; at += 4) {
    let word = 0;
    for (const end = i + 5; i < end; i++) word = word * 85 + places[padded.charCodeAt(i)];
    bytes.setUint32(at, word);
  }
  return new Uint8Array(bytes.buffer, 0, bytes.byteLength - padding);
}

async function unpack(id) {
  const bytes = bytesOf($("#" + id).textContent);
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

function readAddress() {
  Object.assign(state, structuredClone(DEFAULTS));
  state.columns = data.columns.filter((c) => c.shown).map((c) => c.key);
  state.base = data.baseline;
  const given = new URLSearchParams(location.hash.slice(1));
  const sortable = (key) => key === "model" || data.columns.some((c) => c.key === key);
  if (sortable(given.get("sort"))) {
    state.sort = given.get("sort");
    state.dir = given.get("dir") === "asc" ? "asc" : "desc";
  }
  state.q = given.get("q") ?? "";
  state.without = given.getAll("without");
  if (given.has("columns")) state.columns = given.get("columns").split(",").filter((key) => data.columns.some((c) => c.key === key));
  if (given.has("base")) state.base = data.rows.find((row) => row.key === given.get("base"))?.i ?? null;
  for (const key of given.getAll("tab")) {
    const figure = data.figures.find((f) => f.key === key);
    if (figure) state.tabs[figure.chart] = key;
  }
  state.open = given.getAll("open").map((key) => data.rows.find((row) => row.key === key)?.i).filter((i) => i !== undefined);
  const pair = given.getAll("pair").map((key) => data.rows.find((row) => row.key === key)?.i);
  if (pair.length === 2 && pair.every((i) => data.gallery.rows?.includes(i))) state.pair = pair;
  if (data.gallery.counts?.[given.get("class") ?? ""] !== undefined) state.class = Number(given.get("class"));
  readChoice(given);
  state.theme = ["light", "dark"].includes(given.get("theme")) ? given.get("theme") : "";
}

// What the page was asked to choose by, or what the address says.
function readChoice(given) {
  Object.assign(state, structuredClone(data.chooser.question));
  const { columns } = data.chooser;
  if (given.has("choose")) {
    const found = given.get("choose").split(",").map((text) => text.match(/^\s*(\w+)(<=|>=)([-+.\de]+)\s*$/));
    state.limits = found.filter((match) => match && columns[match[1]] && Number.isFinite(Number(match[3]))).map(([, column, sign, value]) => ({ column, sign, value: Number(value) }));
  }
  if (given.has("prefer")) state.prefer = columns[given.get("prefer")]?.preferable ? given.get("prefer") : null;
  if (given.has("price")) state.price = given.get("price") !== "" && Number(given.get("price")) >= 0 ? Number(given.get("price")) : null;
}

function choiceAddress({ limits, prefer, price }) {
  return JSON.stringify([limits.map(({ column, sign, value }) => `${column}${sign}${value}`).join(), prefer ?? "", price ?? ""]);
}

function address() {
  const parts = new URLSearchParams();
  if (state.sort !== DEFAULTS.sort || state.dir !== DEFAULTS.dir) {
    parts.set("sort", state.sort);
    parts.set("dir", state.dir);
  }
  if (state.q) parts.set("q", state.q);
  state.without.forEach((family) => parts.append("without", family));
  const usual = data.columns.filter((c) => c.shown).map((c) => c.key);
  if (state.columns.join() !== usual.join()) parts.set("columns", state.columns.join(","));
  if (state.base !== data.baseline) parts.set("base", state.base === null ? "" : data.rows[state.base].key);
  for (const [chart, key] of Object.entries(state.tabs)) {
    if (data.figures.find((f) => f.chart === chart).key !== key) parts.append("tab", key);
  }
  state.open.forEach((i) => parts.append("open", data.rows[i].key));
  state.pair?.forEach((i) => parts.append("pair", data.rows[i].key));
  if (state.class !== null) parts.set("class", state.class);
  if (choiceAddress(state) !== choiceAddress(data.chooser.question)) {
    const [limits, prefer, price] = JSON.parse(choiceAddress(state));
    for (const [key, value] of [["choose", limits], ["prefer", prefer], ["price", price]]) parts.set(key, value);
  }
  if (state.theme) parts.set("theme", state.theme);
  return parts.toString();
}

function keepAddress() {
  history.replaceState(null, "", "#" + address());
}

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function save(name, type, content) {
  const link = element("a", { href: URL.createObjectURL(new Blob([content], { type })), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
