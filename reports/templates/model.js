// Each model's part of the page, made when it is first opened.
const made = new Set();

function facts(pairs) {
  return element("dl", { class: "facts" }, ...pairs.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", name === "Command" ? { class: "code" } : {}, value))));
}

function part(title, ...content) {
  return element("div", {}, element("h3", {}, title), ...content);
}

function scrolled(name, content) {
  return element("div", { class: "scroll", role: "region", "aria-label": name, tabindex: "0" }, content);
}

function layersPart(model) {
  const [parameters, work, bytes] = [3, 4, 5].map((k) => model.layers.reduce((sum, layer) => sum + layer[k], 0));
  const share = (value, all) => (all ? `${value.toLocaleString("en")} (${((100 * value) / all).toFixed(1)} %)` : "0");
  const rows = model.layers.map((x) => [x[0], x[1], x[2], share(x[3], parameters), share(x[4], work), share(x[5], bytes)]);
  return part("Layers", scrolled("Layers", table(["Layer", "Kind", "Output", "Parameters", "Multiply-adds", "Activation bytes"], rows)));
}

function listPart(title, rows) {
  return element("div", {}, element("h4", {}, title), element("ol", {}, ...rows.map((text) => element("li", {}, text))));
}

function classesPart(model) {
  const names = data.datasets[model.dataset].classes;
  const known = model.classes.map((value, c) => [value, c]).filter(([value]) => value !== null).sort((a, b) => b[0] - a[0] || a[1] - b[1]);
  const write = ([value, c]) => `${names[c]}: ${value.toFixed(0)} %`;
  const lists = [listPart("Best classes", known.slice(0, 6).map(write)), listPart("Worst classes", known.slice(-6).reverse().map(write))];
  const base = state.base === null || state.base === model.i ? null : data.models[state.base];
  if (base?.classes && base.dataset === model.dataset) {
    const gains = known.map(([value, c]) => [value - base.classes[c], c]).sort((a, b) => b[0] - a[0] || a[1] - b[1]);
    const points = ([value, c]) => `${names[c]}: ${signed(value)} points`;
    lists.push(listPart(`Gains over ${data.rows[base.i].name}`, gains.filter(([v]) => v > 0).slice(0, 6).map(points)));
    lists.push(listPart(`Losses to ${data.rows[base.i].name}`, gains.filter(([v]) => v < 0).slice(-6).reverse().map(points)));
  }
  if (model.confused.length) lists.push(listPart("Most often confused", model.confused.map(([a, b, n]) => `${names[a]} as ${names[b]}, ${n} times`)));
  return part("Classes", element("div", { class: "classes" }, ...lists));
}

function smallChart(title, figure, traces, caption) {
  const place = element("div", { class: "plot", role: "img", "aria-label": `${title}: ${caption}` });
  const holder = element("div", { class: "scroll", role: "region", "aria-label": `${title}, as a table`, tabindex: "0" });
  const twin = element("details", { class: "twin" }, element("summary", {}, "As a table"), holder);
  twin.addEventListener("toggle", () => twin.open && holder.replaceChildren(table(twinHead(figure, 3), twinRows(figure))));
  loadPlotly().then(() => plot(place, figure, traces));
  return element("figure", { class: "chart" }, element("h3", {}, title), place, element("figcaption", {}, caption), element("div", { class: "under" }, twin));
}

function curvesPart(model) {
  const { x, key } = data.figures.find((f) => f.kind === "curve");
  const figure = { key: `curve-top1-${key.split("-").pop()}`, kind: "curve", x, y: "Validation top-1 (%)", layout: {} };
  const traces = curveTraces(figure, [model.i]).map((trace, seed) => ({ ...trace, name: trace.hovertext[0].split(", ").pop(), showlegend: true, hue: seed }));
  const lasts = traces.map((trace) => trace.y.at(-1)).filter((value) => value !== null);
  const [low, high] = [Math.min(...lasts), Math.max(...lasts)].map((value) => value.toFixed(1));
  const caption = lasts.length > 1 ? `The ${lasts.length} seeds end at ${low} to ${high} %.` : lasts.length ? `The one seed ends at ${low} %.` : "Not evaluated on validation.";
  return smallChart("Curves by seed", { ...figure, kind: "plain", traces }, traces, caption);
}

function confusionPart(model) {
  const names = data.datasets[model.dataset].superclasses;
  const places = data.datasets[model.dataset].superclass_axis;
  const trace = { type: "heatmap", x: places.keys, y: places.keys, z: model.confusion, names: { x: names, y: names }, hovertemplate: "%{customdata[0]} as %{customdata[1]}: %{z}<extra></extra>" };
  const figure = { key: "confusion", x: "Answered", y: "True superclass", traces: [trace], layout: { yaxis: { ...places, tickangle: 0, autorange: "reversed" }, xaxis: { ...places, tickangle: -50 }, rows: 12, value: "Images" } };
  const caption = model.within === null ? "No wrong answers." : `${model.within.toFixed(0)} % of the wrong answers stay within the right superclass.`;
  return smallChart("Confusion of superclasses", figure, [trace], caption);
}

function picturesPart(model) {
  const names = data.datasets[model.dataset].classes;
  const shown = data.samples.filter((sample) => sample.answers[model.i]);
  if (!shown.length) return [];
  const items = shown.map((sample) => {
    const five = sample.answers[model.i];
    const right = five[0] === sample.label;
    const image = element("img", { src: sample.image, alt: `Test image ${sample.index}, ${names[sample.label]}`, width: "64", height: "64" });
    const answers = five.map((c) => element("li", {}, ...(c === sample.label ? [element("b", {}, names[c])] : [names[c]])));
    return element("li", { class: right ? "right" : "wrong" }, image, element("span", {}, `${names[sample.label]}: ${right ? "right" : "wrong"}`), element("ol", {}, ...answers));
  });
  return [part("Sample images with the five most probable classes", element("ul", { class: "pictures" }, ...items))];
}

function filtersPart(model) {
  const held = data.filters[model.i];
  if (!held) return [];
  const image = element("img", { src: held.image, class: "sprite", alt: `The first ${held.count} filters of the first layer, ${held.size} by ${held.size} pixels each` });
  return [part("First-layer filters", image)];
}

function makeModel(details) {
  const model = data.models[Number(details.dataset.model)];
  const row = data.rows[model.i];
  const seeds = model.seeds.map(([seed, status, top1]) => `seed ${seed} ${status}${top1 === null ? "" : ` ${top1.toFixed(2)} %`}`).join(", ");
  const body = $(".body", details);
  body.replaceChildren(facts([["Family", row.family], ...model.facts, ["Seeds", seeds], ["Environment", model.environment], ...(model.command ? [["Command", model.command]] : [])]));
  if (row.cause) body.append(element("p", { class: "cause" }, row.cause));
  const charts = element("div", { class: "charts" });
  if (data.curves.some((curve) => curve.i === model.i)) charts.append(curvesPart(model));
  if (model.confusion?.length) charts.append(confusionPart(model));
  if (charts.children.length) body.append(charts);
  if (model.classes) body.append(classesPart(model));
  body.append(...picturesPart(model), ...filtersPart(model));
  if (model.layers.length) body.append(layersPart(model));
  made.add(details);
}

function wireModels() {
  for (const details of $$(".model")) {
    details.addEventListener("toggle", () => {
      const i = Number(details.dataset.model);
      if (details.open && !made.has(details)) makeModel(details);
      state.open = state.open.filter((other) => other !== i).concat(details.open ? [i] : []);
      keepAddress();
    });
  }
}

function showModels() {
  for (const details of $$(".model")) {
    details.open = state.open.includes(Number(details.dataset.model));
    if (made.has(details)) makeModel(details);
  }
}
