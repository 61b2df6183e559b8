// Charts: data in, SVG out. Each has a label and its data as a table; colours come from the style sheet.

import { button, fill, h, percent, save, svg } from "./dom.js";

const W = 320, H = 150, LEFT = 42, RIGHT = 92, TOP = 8, BOTTOM = 22;

// A table of plain values that can be taken along. `rows` are lists; a cell may be an element with a text.
export function table(label, head, rows) {
  const plain = () => rows.map((row) => row.map((cell) => cell?.textContent ?? cell));
  const records = () => plain().map((row) => Object.fromEntries(head.map((name, i) => [name, row[i]])));
  return h.div(
    h.div({ class: "scroll", tabindex: 0, role: "group", "aria-label": label },
      h.table(
        h.caption(label),
        h.thead(h.tr(...head.map((name) => h.th({ scope: "col" }, name)))),
        h.tbody(...rows.map((row) => h.tr(
          ...row.map((cell) => h.td(cell?.nodeType ? cell : String(cell ?? ""))))))),
    ),
    h.p({ class: "take" },
      button("CSV", () => save(`${label}.csv`, "text/csv", [head, ...plain()].map((row) => row.map(quoted).join(",")).join("\r\n")), { "aria-label": `${label} as CSV` }),
      button("JSON", () => save(`${label}.json`, "application/json", JSON.stringify(records(), null, 1)), { "aria-label": `${label} as JSON` })));
}

// A field that begins like a formula would be run by a spreadsheet.
function quoted(cell) {
  const text = String(cell ?? "");
  return `"${(typeof cell !== "number" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text).replaceAll('"', '""')}"`;
}

// A figure around a drawing: what it is of, the drawing, its data.
function figure(label, drawing, head, rows) {
  drawing.setAttribute("aria-label", label);
  const data = h.details({ class: "data", "data-key": label }, h.summary("data"));
  data.addEventListener("toggle", () => {
    if (data.children.length > 1) return; // it is made when it is first looked at
    data.append(table(label, head, rows), button("SVG", () => save(`${label}.svg`, "image/svg+xml", alone(drawing)), { "aria-label": `${label} as SVG` }));
  });
  return h.figure(h.figcaption(label), drawing, data);
}

// The drawing as a file of its own, with the colours that it has here.
export function alone(drawing) {
  const copy = drawing.cloneNode(true), own = drawing.querySelectorAll("*");
  copy.querySelectorAll("*").forEach((one, i) => {
    const style = getComputedStyle(own[i]);
    for (const name of ["fill", "stroke", "stroke-width", "stroke-dasharray", "font-size", "font-family"]) one.setAttribute(name, style.getPropertyValue(name));
  });
  copy.setAttribute("width", drawing.viewBox.baseVal.width * 2);
  return new XMLSerializer().serializeToString(copy);
}

const text = (x, y, words, attributes = {}) => svg.text({ x, y, ...attributes }, words);

const canvas = (high, ...children) => svg.svg({ class: "drawn", role: "img", viewBox: `0 0 ${W} ${high}` }, ...children);

// Curves over a number: `series` are { name, shape, colour, dashed, points: [[x, y]] }, each labelled at its end.
export function lines(label, x, unit, series, top = Math.max(1, ...series.flatMap((one) => one.points.map((point) => point[1])))) {
  const xs = [...new Set(series.flatMap((one) => one.points.map((point) => point[0])))].sort((one, other) => one - other);
  const [first, last] = [xs[0] ?? 0, xs.at(-1) ?? 1];
  const across = (value) => LEFT + (W - LEFT - RIGHT) * (last === first ? 1 : (value - first) / (last - first));
  const up = (value) => H - BOTTOM - (H - TOP - BOTTOM) * value / top;
  const ends = series.filter((one) => one.points.length).map((one) => ({ one, y: up(one.points.at(-1)[1]) })).sort((a, b) => a.y - b.y);
  const room = Math.min(12, (H - TOP) / Math.max(1, ends.length));
  ends.forEach((end, i) => { end.y = Math.max(end.y, i ? ends[i - 1].y + room : TOP); });
  for (let i = ends.length - 1, floor = H - 4; i >= 0; i -= 1, floor -= room) ends[i].y = Math.min(ends[i].y, floor);
  const shown = (value) => unit === "%" ? percent(value) : Math.round(value).toLocaleString();
  const drawing = canvas(H,
    ...[0, .5, 1].flatMap((part) => [
      svg.line({ class: "grid", x1: LEFT, x2: W - RIGHT, y1: up(part * top), y2: up(part * top) }),
      text(LEFT - 3, up(part * top) + 3, shown(part * top), { "text-anchor": "end" })]),
    text(LEFT, H - 8, `${x} ${first}`), text(W - RIGHT, H - 8, String(last), { "text-anchor": "end" }),
    ...series.map((one) => svg.polyline({
      class: `curve c${one.colour}${one.dashed ? " dashed" : ""}`, points: one.points.map(([at, value]) => `${across(at).toFixed(1)},${up(value).toFixed(1)}`).join(" "),
    })),
    ...ends.map(({ one }) => svg.circle({ class: `c${one.colour} end`, cx: across(one.points.at(-1)[0]), cy: up(one.points.at(-1)[1]), r: 2 })),
    ...ends.map(({ one, y }) => text(W - RIGHT + 4, y + 3, `${one.shape} ${one.name.slice(0, 11)}`, { class: `end c${one.colour}` })),
  );
  const rows = xs.map((at) => [at, ...series.map((one) => one.points.find((point) => point[0] === at)?.[1])]
    .map((value) => typeof value === "number" ? Number(value.toFixed(4)) : value ?? ""));
  return figure(label, drawing, [x, ...series.map((one) => one.name)], rows);
}

// What each agent's part cost, hatched; or won, where it made up for others.
export const losses = (damage) => bars("Points that each agent's part won or cost", Object.entries(damage).map(([name, points]) => ({
  name, ok: Math.max(-points, 0), failed: Math.max(points, 0), text: points > 0 ? `−${points}` : points < 0 ? `+${-points}` : "0" })), ["won", "cost"]);

// Bars of what went well, and hatched what failed: `rows` are { name, ok, failed }.
export function bars(label, rows, [good, bad] = ["ok", "failed"]) {
  const most = Math.max(1, ...rows.map((row) => row.ok + row.failed)), high = 20;
  const long = (value) => value / most * (W - 180);
  const drawing = canvas(Math.max(1, rows.length) * high,
    svg.defs({}, svg.pattern({ id: "hatch", width: 4, height: 4, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
      svg.line({ class: "hatch", y2: 4 }))),
    ...rows.flatMap((row, i) => [
      text(112, i * high + 14, row.name.slice(0, 16), { "text-anchor": "end" }),
      svg.rect({ class: "ok", x: 116, y: i * high + 4, width: long(row.ok), height: 12 }),
      svg.rect({ class: "bad", x: 116 + long(row.ok), y: i * high + 4, width: long(row.failed), height: 12 }),
      text(122 + long(row.ok + row.failed), i * high + 14, row.text ?? (row.failed ? `${row.ok} / ${row.failed} ✕` : String(row.ok))),
    ]));
  return figure(label, drawing, good ? ["name", good, bad] : ["name", bad], rows.map((row) => good ? [row.name, row.ok, row.failed] : [row.name, row.failed]));
}

// Who with whom: `pairs` counts "one other"; the more, the darker, and the number stands in it.
export function matrix(label, names, pairs) {
  const most = Math.max(1, ...pairs.values()), side = 24, left = 78;
  const drawing = canvas(side * names.length + 18,
    ...names.flatMap((one, row) => [
      text(left - 4, row * side + 33, one.slice(0, 11), { "text-anchor": "end" }),
      text(left + row * 39 + 19, 11, one.slice(0, 5), { "text-anchor": "middle" }),
      ...names.flatMap((other, column) => {
        const count = pairs.get(`${one} ${other}`) ?? 0;
        return [svg.rect({ class: "cell", x: left + column * 39, y: row * side + 18, width: 37, height: side - 2, "fill-opacity": (count / most * .45).toFixed(2) }),
          text(left + column * 39 + 19, row * side + 33, String(count || "·"), { "text-anchor": "middle" })];
      })]));
  const rows = names.map((one) => [one, ...names.map((other) => pairs.get(`${one} ${other}`) ?? 0)]);
  return figure(label, drawing, ["from", ...names], rows);
}

// A run of numbers in one word.
export function spark(values) {
  const most = Math.max(1, ...values);
  return values.map((value) => "▁▂▃▄▅▆▇█"[Math.min(7, Math.floor(value / most * 7.99))]).join("");
}

// Draws anew only what has changed: a figure costs more to lay out than to compare.
export function draw(container, ...figures) {
  const same = container.children.length === figures.length && figures.every((one, i) => alike(one, container.children[i]));
  if (!same) fill(container, ...figures);
}

function alike(one, other) {
  const [mine, theirs] = [one.querySelector("svg"), other.querySelector("svg")];
  return mine && theirs ? mine.isEqualNode(theirs) : one.isEqualNode(other);
}
