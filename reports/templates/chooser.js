// The chooser's controls: limits, what to prefer, a price of an hour.
function commandText() {
  const limits = state.limits.map(({ column, sign, value }) => `${column}${sign}${value}`).join(", ");
  const parts = ["python -m reports RUN", ...(limits ? [`--choose "${limits}"`] : []), ...(state.prefer ? [`--prefer ${state.prefer}`] : []), ...(state.price === null ? [] : [`--price ${state.price}`])];
  return parts.join(" ");
}

function showChoice() {
  asked = true;
  const groups = data.chooser.groups.map((_, group) => group);
  const answers = groups.map(answerOf);
  const lines = answers.map(({ sentences }, group) => {
    const line = sentences.flatMap((sentence, i) => (i ? [" ", ...sentence] : sentence));
    return element("p", { class: "choice" }, ...(groups.length > 1 ? [`Group ${group + 1}: `] : []), ...line);
  });
  $("#choices").replaceChildren(...lines);
  $("#as-command").textContent = commandText();
  $("#chances").replaceChildren(...answers.flatMap((answer, group) => (answer.choice ? [chancesTable(group, answer)] : [])));
}

// The controls of one limit: its column, at most or at least, a number in a unit.
function limitControls(limit, place) {
  const options = (pairs, chosen) => pairs.map(([value, text]) => element("option", { value, ...(value === chosen ? { selected: "" } : {}) }, text));
  const named = (name) => ({ "aria-label": `${name} of limit ${place + 1}` });
  const units = Object.entries(aboutColumn(limit.column).units);
  const column = element("select", named("Column"), ...options(Object.entries(data.chooser.columns).map(([key, { title }]) => [key, title]), limit.column));
  const sign = element("select", named("Direction"), ...options([["<=", "at most"], [">=", "at least"]], limit.sign));
  const value = element("input", { type: "number", step: "any", value: limit.value === null ? "" : Number((limit.value / limit.scale).toPrecision(12)), ...named("Number") });
  const unit = element("select", { ...named("Unit"), ...(units.length > 1 ? {} : { disabled: "" }) }, ...units.map(([name, scale]) => element("option", { value: scale, ...(scale === limit.scale ? { selected: "" } : {}) }, name || "no unit")));
  const remove = element("button", { type: "button", "aria-label": `Remove limit ${place + 1}` }, "Remove");
  column.addEventListener("change", () => changeLimit(place, newLimit(column.value)));
  sign.addEventListener("change", () => changeLimit(place, { sign: sign.value }));
  value.addEventListener("input", () => changeLimit(place, { value: value.value === "" ? null : Number(value.value) * drafts[place].scale }, false));
  unit.addEventListener("change", () => changeLimit(place, { scale: Number(unit.value), value: value.value === "" ? null : Number(value.value) * Number(unit.value) }, false));
  remove.addEventListener("click", () => { drafts.splice(place, 1); takeDrafts(); showLimits(); $("#add-limit").focus(); });
  return element("li", {}, column, sign, value, unit, remove);
}

let drafts = []; // limits as they stand in the controls; one without a number isn't kept yet

function newLimit(column) {
  const { units, higher, kind } = aboutColumn(column);
  return { column, sign: higher ? ">=" : "<=", value: null, scale: kind === "bytes" ? 1e6 : Object.values(units)[0] };
}

function changeLimit(place, changes, redraw = true) {
  Object.assign(drafts[place], changes);
  takeDrafts();
  if (redraw) showLimits();
}

function takeDrafts() {
  state.limits = drafts.filter((draft) => draft.value !== null).map(({ column, sign, value }) => ({ column, sign, value }));
  showChoice();
  keepAddress();
}

function showLimits() {
  const focused = [...$("#limits").querySelectorAll("select, input, button")].indexOf(document.activeElement);
  $("#limits").replaceChildren(...drafts.map(limitControls));
  if (focused >= 0) $$("#limits select, #limits input, #limits button")[focused]?.focus();
}

// The sentences that the page comes with are Python's, and stand until something else is asked.
let asked = false;

function showChooser() {
  drafts = state.limits.map((limit) => ({ ...newLimit(limit.column), ...limit }));
  $("#prefer").value = preferredOf(0);
  $("#price").value = state.price ?? "";
  const own = choiceAddress(state) !== choiceAddress(data.chooser.question);
  if (own) $("#chooser").open = true;
  showLimits();
  if (own || asked || $("#chooser").open) showChoice();
  asked ||= own;
}

function listPreferences() {
  const columns = Object.entries(data.chooser.columns).filter(([, { preferable }]) => preferable);
  $("#prefer").append(...columns.map(([value, { title }]) => element("option", { value }, title)));
}

function wireChooser() {
  $("#chooser").addEventListener("toggle", () => $("#chooser").open && showChoice());
  $("#prefer").addEventListener("change", (event) => { state.prefer = event.target.value; showChoice(); keepAddress(); });
  $("#price").addEventListener("input", (event) => { state.price = event.target.value === "" || event.target.value < 0 ? null : Number(event.target.value); showChoice(); keepAddress(); });
  $("#add-limit").addEventListener("click", () => {
    const used = drafts.map((draft) => draft.column);
    const columns = ["latency_ms_p95", "peak_memory_bytes", "num_parameters", ...Object.keys(data.chooser.columns)];
    drafts.push(newLimit(columns.find((key) => data.chooser.columns[key] && !used.includes(key)) ?? columns[3]));
    showLimits();
    $("#limits li:last-child input").focus();
  });
}
