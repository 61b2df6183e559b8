// The floor plan of a job: its rooms and the ways between them, where the crew is, and what the plan says of a room.

import { svg } from "./dom.js";

// `here` is where the crew is; `chosen` are the rooms that the plan names, with the slot that does.
export function floor(places, here, chosen) {
  const rooms = Object.entries(places), unit = 26;
  const wide = Math.max(...rooms.map(([, room]) => room.at[0] + room.at[2])) * unit;
  const high = Math.max(...rooms.map(([, room]) => room.at[1] + room.at[3])) * unit;
  const middle = ([left, top, width, height]) => [(left + width / 2) * unit, (top + height / 2) * unit];
  const words = (x, y, said, attributes) => svg.text({ x, y, "text-anchor": "middle", ...attributes }, said);
  const drawing = svg.svg({ class: "drawn bank", role: "img", viewBox: `-1 -1 ${wide + 2} ${high + 2}`, "aria-label": said(here, chosen) },
    ...rooms.map(([name, { at }]) => svg.rect({
      class: `room${name === here ? " here" : ""}`, x: at[0] * unit, y: at[1] * unit, width: at[2] * unit, height: at[3] * unit,
    }, svg.title({}, name))),
    ...rooms.flatMap(([, { at, to }]) => to.map((other) => {
      const [[x1, y1], [x2, y2]] = [middle(at), middle(places[other].at)];
      return svg.line({ class: "way", x1, y1, x2, y2 });
    })),
    ...rooms.flatMap(([name, { at }]) => {
      const [x, y] = middle(at);
      return [words(x, y + (at[3] > 1 ? -4 : 4), name, { class: "name" }), chosen.has(name) && at[3] > 1 ? words(x, y + 9, `◇ ${chosen.get(name)}`, { class: "chosen" }) : null];
    }),
  );
  if (places[here]) {
    const { at } = places[here];
    drawing.append(words((at[0] + at[2]) * unit - 8, at[1] * unit + 13, "●", { class: "crew" }));
  }
  return drawing;
}

function said(here, chosen) {
  const plan = [...chosen].map(([room, slot]) => `${slot} is the ${room}`).join(", ");
  return `Floor plan. The crew is at: ${here}.${plan ? ` In the plan, ${plan}.` : ""}`;
}
