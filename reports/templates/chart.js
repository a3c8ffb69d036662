// The charts: plotly is unpacked when the browser is idle or a chart comes near the window; each chart is drawn when it first does.
const drawn = new Set();
let plotlyReady = null;

function loadPlotly() {
  plotlyReady ??= unpack("plotly").then((text) => {
    // plotly's map library adds a style sheet that no chart here needs and that the policy forbids.
    const append = document.head.appendChild;
    document.head.appendChild = (node) => (node.tagName === "STYLE" && node.textContent ? node : append.call(document.head, node));
    append.call(document.head, element("script", {}, text));
    delete document.head.appendChild;
  });
  return plotlyReady;
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const hue = (i) => colour("--h" + (i % 8));
const DASHES = ["solid", "dash", "dot", "dashdot", "longdash"];

function themed(trace, axes) {
  const { hue: number, shape, dash, role, names, shown, diverging, ...plain } = structuredClone(trace);
  const own = role ? colour("--soft") : hue(number ?? 0);
  if (plain.type === "heatmap") return { ...plain, customdata: plain.y.map((y) => plain.x.map((x) => [labelAt(axes.yaxis, y), labelAt(axes.xaxis, x)])), textfont: { color: colour("--text") }, colorscale: scale(diverging), xgap: 1, ygap: 1, colorbar: { thickness: 12, outlinewidth: 0, tickfont: { color: colour("--soft") } } };
  if (plain.orientation === "h") Object.assign(plain, { customdata: plain.y.map((y) => labelAt(axes.yaxis, y)), hovertemplate: "<b>%{customdata}</b>, %{fullData.name}: %{x:.4~g}<extra></extra>" });
  else if (axes.xaxis?.keys) Object.assign(plain, { customdata: plain.x.map((x) => labelAt(axes.xaxis, x)), hovertemplate: "<b>%{customdata}</b>: %{y:.4~g}<extra></extra>" });
  if (plain.type === "bar") return { ...plain, marker: { color: own, pattern: { shape: ["", "/", "x", "."][number % 4], fgcolor: colour("--ground"), fillmode: "overlay", size: 6, solidity: 0.3 } } };
  plain.marker = { color: own, symbol: data.shapes[shape ?? 0], size: 10, line: { color: colour("--ground"), width: 1 }, ...plain.marker };
  plain.line = { color: own, dash: role ? "dot" : DASHES[(dash ?? 0) % DASHES.length], width: 1.6, ...plain.line };
  for (const bar of ["error_x", "error_y"]) if (plain[bar]) plain[bar] = { type: "data", symmetric: false, color: own, thickness: 1.2, width: 3, ...plain[bar] };
  if (plain.mode?.includes("text")) plain.textfont = { color: colour("--text"), size: 12 };
  if (plain.hovertext && !plain.hovertemplate) plain.hovertemplate = "<b>%{hovertext}</b><br>%{x:.4~g}, %{y:.4~g}<extra></extra>";
  return plain;
}

const labelAt = (axis, key) => axis.labels[axis.keys.indexOf(key)];

// Under numbers the scale ends half way to the full hue, so that the theme's text can be read on all of it.
function scale(diverging) {
  return diverging
    ? [[0, halfway(hue(1))], [0.5, colour("--ground")], [1, halfway(hue(0))]]
    : [[0, colour("--ground")], [1, hue(0)]];
}

function halfway(from) {
  const parts = (text) => [1, 3, 5].map((i) => parseInt(text.slice(i, i + 2), 16));
  const [a, b] = [parts(from), parts(colour("--ground"))];
  return `rgb(${a.map((value, i) => Math.round((value + b[i]) / 2)).join()})`;
}

// Models and classes stand at places of their own, whatever they are called.
function places({ keys, labels, briefs, every }, narrow, most) {
  const step = narrow ? Math.max(every, Math.ceil(keys.length / most)) : every;
  const some = (list) => list.filter((_, i) => i % step === 0);
  return { type: "category", categoryorder: "array", categoryarray: keys, tickmode: "array", tickvals: some(keys), ticktext: some(narrow ? briefs : labels) };
}

const MOST_BELOW = 10; // slanted names under a narrow chart

function axis(title, given, narrow, most) {
  const { keys, labels, briefs, every, ...rest } = given ?? {};
  const own = keys ? { ...rest, ...places(given, narrow, most) } : given;
  return {
    title: { text: title, font: { size: 13 }, standoff: 8 }, gridcolor: colour("--line"), zerolinecolor: colour("--line"), linecolor: colour("--soft"),
    tickfont: { color: colour("--soft"), size: 12 }, automargin: true, nticks: narrow ? 5 : 9, ...(own?.type === "log" ? { dtick: "D2", exponentformat: "SI" } : { separatethousands: true }), ...own,
  };
}

function layoutOf(figure, narrow, width) {
  const { rows, value, xaxis, yaxis, annotations = [], ...own } = structuredClone(figure.layout);
  const tied = { showarrow: true, arrowhead: 0, arrowwidth: 1, arrowcolor: colour("--soft"), standoff: 6, borderpad: 0, font: { size: 12 } };
  return {
    autosize: !width, width, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", margin: { l: 56, r: 16, t: 12, b: 48 },
    height: rows ? Math.min(1400, Math.max(narrow ? 300 : 340, 90 + 34 * rows)) : narrow ? 340 : 440,
    font: { family: "system-ui, sans-serif", color: colour("--text"), size: 13 }, hoverlabel: { bgcolor: colour("--panel"), bordercolor: colour("--soft"), font: { color: colour("--text") } },
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, font: { size: 12 }, itemsizing: "constant" }, showlegend: true,
    annotations: narrow ? [] : annotations.map((name) => ({ ...tied, ...name })),
    xaxis: axis(figure.x, xaxis, narrow, MOST_BELOW), yaxis: axis(figure.y, yaxis, narrow, Infinity), ...own,
  };
}

const MAX_LINES = 12; // models whose curves are shown at first; the legend turns on the others

function curveTraces(figure, rows = null) {
  const [, value, by] = figure.key.split("-");
  const best = data.rows.filter((row) => row.values.top1 !== undefined).sort((a, b) => b.values.top1 - a.values.top1);
  const first = new Set(best.slice(0, MAX_LINES).map((row) => row.i));
  const seen = new Set();
  return data.curves.filter((c) => !rows || rows.includes(c.i)).map((curve) => {
    const leads = !seen.has(curve.i);
    seen.add(curve.i);
    const { name, label } = data.rows[curve.i];
    return {
      type: "scatter", mode: "lines+markers", marker: { maxdisplayed: 7, size: 7 }, shape: rows ? curve.seed % 10 : curve.shape, name: escaped(label), x: curve[by], y: curve[value], names: curve[by].map(() => `${name}, seed ${curve.seed}`),
      legendgroup: String(curve.i), showlegend: leads, visible: rows || first.size === 0 || first.has(curve.i) ? true : "legendonly", connectgaps: true,
      hue: rows ? curve.seed : curve.hue, dash: rows ? 0 : curve.dash, hovertext: curve[by].map(() => `${escaped(label)}, seed ${curve.seed}`),
    };
  });
}

// plotly reads tags in text.
function escaped(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

function figureOf(chart) {
  const key = state.tabs[chart.dataset.chart];
  return data.figures.find((f) => f.key === key) ?? data.figures.find((f) => f.chart === chart.dataset.chart);
}

const tracesOf = (figure) => (figure.kind === "curve" ? curveTraces(figure) : figure.traces);

// On a narrow screen: no names beside points, and of a map no colour bar, no numbers and no title.
function narrowed(marks, layout) {
  for (const mark of marks) if (mark.mode === "markers+text") mark.mode = "markers";
  if (marks[0]?.type !== "heatmap") return;
  Object.assign(marks[0], { showscale: false, texttemplate: "" });
  layout.yaxis.title = {};
}

function plot(place, figure, traces, width) {
  const narrow = (width ?? place.clientWidth) < 560;
  const [marks, layout] = [traces.map((trace) => themed(trace, figure.layout)), layoutOf(figure, narrow, width)];
  if (narrow) narrowed(marks, layout);
  // A legend takes its lines from the plot: give a narrow chart with many of them as much again.
  if (narrow && !figure.layout.rows) layout.height += 18 * Math.max(0, new Set(traces.map((trace) => trace.name)).size - 4);
  place.classList.remove("waiting");
  return Plotly.react(place, marks, layout, { displayModeBar: false, responsive: !width, displaylogo: false, showSendToCloud: false, plotlyServerURL: "" });
}

async function draw(chart) {
  await loadPlotly();
  drawNow(chart);
}

function drawNow(chart, width) {
  const figure = figureOf(chart);
  drawn.add(chart);
  chart.dataset.drawn = figure.key;
  $("figcaption", chart).textContent = figure.caption;
  plot($(".plot", chart), figure, tracesOf(figure), width);
  if ($(".twin", chart).open) fillTwin(chart);
}

// The same values as a table, made from the traces that are drawn.
function twinRows(figure) {
  const rows = [];
  for (const trace of tracesOf(figure)) {
    if (trace.role) continue;
    if (trace.type === "heatmap") {
      trace.y.forEach((y, i) => trace.x.forEach((x, j) => rows.push([trace.names?.y?.[i] ?? y, trace.names?.x?.[j] ?? x, trace.shown?.[i][j] ?? trace.z[i][j]])));
      continue;
    }
    const across = trace.orientation === "h";
    trace.x.forEach((x, i) => {
      const value = across ? x : trace.y[i];
      const first = across ? [trace.names[i], trace.name] : figure.layout.xaxis?.keys ? [trace.names[i]] : [trace.names[i], x];
      rows.push([...first, value, ...limitsOf(trace, i)]);
    });
  }
  return rows;
}

function limitsOf(trace, i) {
  if (!trace.error_y) return [];
  return [trace.y[i] - trace.error_y.arrayminus[i], trace.y[i] + trace.error_y.array[i]];
}

function twinHead(figure, width) {
  const trace = tracesOf(figure)[0] ?? {};
  if (trace.type === "heatmap") return [figure.y || "Row", figure.x || "Column", figure.layout.value ?? "Value"];
  if (trace.orientation === "h") return ["Model", "Part", figure.x];
  return [...(figure.layout.xaxis?.keys ? [] : ["Model"]), figure.x, figure.y, "Low", "High"].slice(0, width);
}

const round = (value) => (typeof value === "number" ? String(Number(value.toPrecision(6))) : value === null || value === undefined ? "" : String(value));

function table(head, rows) {
  const made = element("table", { class: "plain" });
  made.append(element("thead", {}, element("tr", {}, ...head.map((text) => element("th", { scope: "col" }, text)))));
  made.append(element("tbody", {}, ...rows.map((row) => element("tr", {}, ...row.map((value, i) => element(i ? "td" : "th", i ? {} : { scope: "row" }, round(value)))))));
  return made;
}

function fillTwin(chart) {
  const figure = figureOf(chart);
  const rows = twinRows(figure);
  $(".twin .scroll", chart).replaceChildren(table(twinHead(figure, Math.max(2, ...rows.slice(0, 1).map((row) => row.length))), rows));
}

function redrawAll(width) {
  drawn.forEach((chart) => drawNow(chart, width));
}
