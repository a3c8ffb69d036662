// The table: order, search, filters, columns, baseline, and the downloads of what is shown.
const rowElements = new Map();
const bodies = [];
const AT_ONCE = 60; // rows that are laid out before the next frame; the rest of a long table follows when the browser is idle
let following = 0;

function findRows() {
  for (const body of $$("#ranking tbody")) {
    const rows = $$("tr[data-i]", body);
    rows.forEach((row) => rowElements.set(Number(row.dataset.i), row));
    bodies.push({ body, order: rows.map((row) => data.rows[row.dataset.i]) });
  }
}

function layOutInTurn() {
  cancelIdleCallback(following);
  const rows = shownRows().map((row) => rowElements.get(row.i));
  rows.forEach((row, place) => row.classList.toggle("later", place >= AT_ONCE));
  const go = (from) => {
    if (from >= rows.length) return;
    following = requestIdleCallback(() => {
      rows.slice(from, from + AT_ONCE).forEach((row) => row.classList.remove("later"));
      go(from + AT_ONCE);
    });
  };
  go(AT_ONCE);
}

function compareRows(a, b) {
  const sign = state.dir === "asc" ? 1 : -1;
  if (state.sort === "model") return sign * (a.model < b.model ? -1 : a.model > b.model ? 1 : 0) || a.i - b.i;
  const [x, y] = [a.values[state.sort], b.values[state.sort]];
  if (x === undefined || y === undefined) return (x === undefined) - (y === undefined) || a.i - b.i;
  return sign * (x - y) || a.i - b.i;
}

function sortRows() {
  for (const group of bodies) {
    group.order.sort(compareRows);
    group.body.append(...group.order.map((row) => rowElements.get(row.i)));
  }
  const ranked = data.columns.find((c) => c.key === state.sort)?.better ? state.sort : "top1";
  for (const [i, row] of rowElements) {
    const [cell, place] = [row.firstElementChild, String(data.rows[i].places[ranked] ?? "")];
    const rank = ranked === "top1" ? data.rows[i].rank : "";
    if (cell.textContent !== place + rank) cell.replaceChildren(place, ...(rank ? [element("i", {}, rank)] : []));
  }
  layOutInTurn();
  for (const head of $$("#ranking thead [data-sort]")) {
    const here = head.dataset.sort === state.sort;
    head.setAttribute("aria-sort", here ? (state.dir === "asc" ? "ascending" : "descending") : "none");
  }
}

function isShown(row) {
  const text = `${row.model} ${row.family} ${row.run} ${row.status}`.toLowerCase();
  return !state.without.includes(row.family) && state.q.toLowerCase().split(/\s+/).every((word) => text.includes(word));
}

function filterRows() {
  let count = 0;
  for (const row of data.rows) {
    const shown = isShown(row);
    rowElements.get(row.i).hidden = !shown;
    count += shown;
  }
  layOutInTurn();
  $("#shown").textContent = count === data.rows.length ? `${count} rows` : `${count} of ${data.rows.length} rows`;
}

function showColumns() {
  const table = $("#ranking");
  for (const column of data.columns) table.classList.toggle("no-" + column.key, !state.columns.includes(column.key));
}

// By a difference of so many decimals, or by a ratio where that is null.
function pairTexts(pair, decimals) {
  const write = decimals === null ? ratio : (value) => signed(value, decimals);
  const texts = [`${write(pair[0])}${decimals === null ? "×" : ""} ${pair[3]}`];
  return pair[1] === null ? texts : [...texts, `${write(pair[1])} to ${write(pair[2])}`];
}

const signed = (value, decimals = 2) => (value > 0 ? "+" : value < 0 ? "−" : "±") + Math.abs(value).toFixed(decimals);

// Three digits, and at least two after the point from a tenth on, so that a few percent show.
function ratio(value) {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value >= 0.1 ? value.toFixed(3) : value.toPrecision(2);
}

// A row against the baseline: with a verdict where pairs were compared, else as a plain ratio.
function against(row, column) {
  const base = data.rows[state.base];
  if (row.i === base.i || row.group !== base.group) return null;
  const known = data.columns.find((c) => c.key === column);
  const pair = data.pairs[column]?.[base.i]?.[row.i];
  if (pair) return { texts: pairTexts(pair, known.decimals), judgement: pair[3], pair };
  const [value, other] = [row.values[column], base.values[column]];
  if (value === undefined || !other || !known.better || known.decimals !== null) return null;
  return { texts: [`${ratio(value / other)}×`], judgement: "", pair: [value / other, null, null, ""] };
}

function showBaseline() {
  for (const [i, row] of rowElements) {
    $$(".vs", row).forEach((old) => old.remove());
    row.classList.toggle("base", i === state.base);
    if (state.base === null) continue;
    for (const column of data.columns) {
      const found = against(data.rows[i], column.key);
      if (found) $(".c-" + column.key, row).append(element("span", { class: "vs " + found.judgement }, ...found.texts.flatMap((text) => [text, element("br")]).slice(0, -1)));
    }
  }
}

function shownRows() {
  return bodies.flatMap((group) => group.order).filter(isShown);
}

function shownColumns() {
  return data.columns.filter((c) => state.columns.includes(c.key)).map((c) => c.key);
}

function record(row) {
  const ranked = data.columns.find((c) => c.key === state.sort)?.better ? state.sort : "top1";
  const out = { place: row.places[ranked] ?? null, run: row.run, model: row.model, family: row.family, group: row.group + 1, status: row.status, seeds: row.seeds, cause: row.cause };
  for (const key of shownColumns()) {
    out[key] = row.values[key] ?? null;
    out[key + "_low"] = row.limits[key]?.[0] ?? null;
    out[key + "_high"] = row.limits[key]?.[1] ?? null;
    if (state.base === null) continue;
    const pair = against(row, key)?.pair ?? [null, null, null, null];
    [out[key + "_vs_baseline"], out[key + "_vs_baseline_low"], out[key + "_vs_baseline_high"], out[key + "_verdict"]] = pair;
  }
  return out;
}

// Text that begins like a formula would be one to a spreadsheet: as in `reports/spreadsheet.py`.
const FORMULA = /^'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]/;

function field(value) {
  const text = value === null ? "" : typeof value === "string" && FORMULA.test(value) ? "'" + value : String(value);
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function saveCsv() {
  const records = shownRows().map(record);
  const names = Object.keys(records[0] ?? record(data.rows[0]));
  const lines = [names.join(","), ...records.map((r) => names.map((name) => field(r[name])).join(","))];
  save("zoometry.csv", "text/csv", "\ufeff" + lines.join("\n") + "\n");
}

function saveJson() {
  const shown = { sort: state.sort, direction: state.dir, search: state.q, without: state.without, baseline: state.base === null ? null : data.rows[state.base].key, rows: shownRows().map(record) };
  save("zoometry.json", "application/json", JSON.stringify(shown, null, 1) + "\n");
}

function sortBy(column) {
  const better = data.columns.find((c) => c.key === column)?.better;
  if (state.sort === column) state.dir = state.dir === "asc" ? "desc" : "asc";
  else [state.sort, state.dir] = [column, better === "higher" ? "desc" : "asc"];
  sortRows();
  keepAddress();
}
