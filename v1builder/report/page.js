"use strict";
// Draws the figures of the page from its own data, and answers to choices. It asks no other host for anything.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const narrow = matchMedia("(max-width: 40rem)");
  const config = {
    responsive: true,
    displaylogo: false,
    showSendToCloud: false,
    plotlyServerURL: "",
    toImageButtonOptions: { format: "svg" },
  };
  const element = (tag, text) => Object.assign(document.createElement(tag), { textContent: text ?? "" });
  const figureOf = (node) => data.figures[node.id];

  // A narrow page has room for the figure or for what stands around it.
  function layoutFor(node) {
    const layout = structuredClone(figureOf(node).layout);
    if (narrow.matches) {
      layout.font.size = 10;
      layout.height = Math.min(layout.height, 440);
      layout.margin.r = 6;
      for (const key of Object.keys(layout).filter((name) => /^yaxis/.test(name)))
        if (layout[key].title) layout[key].title.standoff = 4;
    }
    return layout;
  }

  async function draw(node) {
    if (node.drawn) return;
    node.drawn = true;
    const figure = figureOf(node);
    await Plotly.newPlot(node, figure.data, layoutFor(node), config);
    node.style.minHeight = "";
    if (figure.variants.length > 1) addVariants(node, figure.variants);
    if (node.id === "column" && data.column) addCells(node);
    if (node.id === "trial") addBrush(node);
    if (node.querySelector(".gl-container")) await picture(node);
  }

  // Browsers print no WebGL: a picture stands in for it on paper.
  async function picture(node) {
    const width = Math.max(node.clientWidth, 300);
    const source = await Plotly.toImage(node, { format: "png", width, height: node.clientHeight || 400 });
    let image = node.querySelector(":scope > img");
    if (!image) {
      image = element("img");
      image.alt = node.getAttribute("aria-label");
      node.append(image);
    }
    image.src = source;
    node.classList.add("pictured");
  }

  function choice(node, label, control) {
    let box = node.parentElement.querySelector(".choice");
    if (!box) {
      box = element("div");
      box.className = "choice";
      node.before(box);
    }
    const named = element("label", `${label} `);
    named.append(control);
    box.append(named);
    return box;
  }

  function addVariants(node, variants) {
    const select = element("select");
    variants.forEach(([label], place) => select.append(new Option(label, place)));
    select.addEventListener("change", () => {
      const shown = variants[Number(select.value)][1];
      Plotly.restyle(node, { visible: node.data.map((_, trace) => shown.includes(trace)) });
    });
    choice(node, "Show", select);
  }

  function said(node) {
    const line = element("p");
    line.className = "said";
    line.setAttribute("aria-live", "polite");
    node.after(line);
    return line;
  }

  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;

  // Edges are sorted by the cell at one of their ends; how many each has says which one it is.
  function expanded(counts, Integers) {
    const ends = new Integers(counts.reduce((sum, n) => sum + n, 0));
    let edge = 0;
    counts.forEach((n, cell) => {
      ends.fill(cell, edge, edge + n);
      edge += n;
    });
    return ends;
  }

  // The inputs and outputs of a cell, chosen by a click or in a list.
  function addCells(node) {
    const column = data.column;
    const places = column.places.map((one) => new Float32Array(bytes(one)));
    const population = new Uint16Array(bytes(column.population));
    const integers = column.wide === 16 ? Uint16Array : Uint32Array;
    const source = expanded(new Uint32Array(bytes(column.outputs)), integers);
    const target = new integers(bytes(column.target));
    const weight = Float32Array.from(new Int8Array(bytes(column.weight)), (w) => (Math.sign(w) * column.top_pA * w * w) / 127 ** 2);
    const can = new Set(column.chosen);
    const lgn = data.lgn && {
      ...data.lgn,
      x: new Float32Array(bytes(data.lgn.x)),
      y: new Float32Array(bytes(data.lgn.y)),
      unit: new (data.lgn.wide === 16 ? Uint16Array : Uint32Array)(bytes(data.lgn.unit)),
      target: expanded(new Uint32Array(bytes(data.lgn.inputs)), Uint32Array),
      weight: new Uint8Array(bytes(data.lgn.weight)),
    };
    let fieldLine = null;
    const line = said(node);
    const table = element("div");
    line.after(table);
    const select = element("select");
    select.id = "cells";
    select.append(new Option("no cell", ""));
    column.populations.forEach((name, number) => {
      const group = element("optgroup");
      group.label = name;
      for (const cell of column.chosen)
        if (population[cell] === number) group.append(new Option(`${name}, cell ${column.node_id[cell]}`, cell));
      if (group.children.length) select.append(group);
    });
    choice(node, "Cell", select);
    const last = node.data.length;

    function at(cells) {
      return places.map((axis) => cells.map((cell) => axis[cell]));
    }
    // What the cell sees: its LGN inputs where they look, ON and others apart.
    async function showFields(cell) {
      const fields = document.getElementById("fields");
      if (!lgn || !fields) return;
      await draw(fields);
      const of = [[], []];
      lgn.target.forEach((target, edge) => target === cell && of[lgn.on[lgn.unit[edge]] ? 0 : 1].push(edge));
      const each = (what) => of.map((edges) => edges.map(what));
      Plotly.restyle(fields, {
        x: each((edge) => lgn.x[lgn.unit[edge]]),
        y: each((edge) => lgn.y[lgn.unit[edge]]),
        "marker.size": each((edge) => 3 + 12 * Math.sqrt(lgn.weight[edge] / 255)),
      }, [1, 2]);
      fieldLine ??= said(fields);
      fieldLine.textContent = `${column.populations[population[cell]]}, cell ${column.node_id[cell]}: ` +
        (of[0].length + of[1].length ? `${of[0].length} ON inputs, ${of[1].length} others.` : "its LGN inputs, if any, are not in this page.");
    }
    function byType(edges, end) {
      const found = new Map();
      for (const edge of edges) {
        const name = column.populations[population[end[edge]]];
        const [n, sum] = found.get(name) ?? [0, 0];
        found.set(name, [n + 1, sum + weight[edge]]);
      }
      return [...found].sort((a, b) => Math.abs(b[1][1]) - Math.abs(a[1][1]));
    }
    function show(cell) {
      select.value = cell === null ? "" : String(cell); // first: plotly repeats a click while it draws again
      const inputs = [], outputs = [];
      if (cell !== null)
        for (let edge = 0; edge < source.length; edge++) {
          if (target[edge] === cell) inputs.push(edge);
          if (source[edge] === cell) outputs.push(edge);
        }
      const shown = [inputs.map((edge) => source[edge]), outputs.map((edge) => target[edge]), cell === null ? [] : [cell]];
      const [x, y, z] = [0, 1, 2].map((axis) => shown.map((cells) => at(cells)[axis]));
      Plotly.restyle(node, { x, y, z, visible: cell !== null }, [last - 3, last - 2, last - 1]);
      Plotly.restyle(node, { "marker.opacity": cell === null ? 0.85 : 0.12 }, [...Array(last - 3).keys()]).then(() => picture(node));
      table.replaceChildren();
      line.textContent = cell === null ? "" :
        `${column.populations[population[cell]]}, cell ${column.node_id[cell]}: ${inputs.length} inputs, ${outputs.length} outputs within the network.`;
      if (cell === null) return;
      showFields(cell);
      const rows = [["inputs from", byType(inputs, source)], ["outputs to", byType(outputs, target)]];
      const box = element("div");
      box.className = "scroll";
      box.tabIndex = 0;
      const grid = element("table");
      for (const [head, types] of rows) {
        const first = grid.insertRow();
        for (const text of [head, "cells", "sum of weights (pA)"]) first.append(element("th", text));
        for (const [name, [n, sum]] of types) {
          const row = grid.insertRow();
          for (const text of [name, n, sum.toFixed(1)]) row.insertCell().textContent = text;
        }
      }
      box.append(grid);
      const details = element("details");
      details.append(element("summary", "By population"), box);
      table.append(details);
    }
    if (lgn && lgn.first !== null) showFields(lgn.first);
    select.addEventListener("change", () => show(select.value === "" ? null : Number(select.value)));
    // plotly sees a click where it draws between press and release; a slow machine may not.
    let hovered, pressed;
    const chosen = (cell) => {
      if (cell === undefined || select.value === String(cell)) return;
      if (can.has(cell)) show(cell);
      else line.textContent = `${column.populations[population[cell]]}, cell ${column.node_id[cell]}: its connections are not in this page.`;
    };
    node.on("plotly_hover", ({ points: [point] }) => (hovered = point?.customdata));
    node.on("plotly_unhover", () => (hovered = undefined));
    node.on("plotly_click", ({ points: [point] }) => chosen(point?.customdata));
    node.addEventListener("pointerdown", (event) => (pressed = [event.clientX, event.clientY, hovered]), true);
    node.addEventListener("pointerup", (event) => {
      if (pressed && Math.hypot(event.clientX - pressed[0], event.clientY - pressed[1]) < 4) chosen(pressed[2]);
    }, true);
  }

  // What lies in a box drawn over the raster.
  function addBrush(node) {
    const line = said(node);
    node.on("plotly_selected", (event) => {
      if (!event?.range) {
        line.textContent = "";
        return;
      }
      const [from, to] = event.range.x.slice().sort((a, b) => a - b);
      const cells = new Set(event.points.map((point) => point.customdata));
      const rate = cells.size ? (1000 * event.points.length) / cells.size / (to - from) : 0;
      line.textContent = `${from.toFixed(0)} to ${to.toFixed(0)} ms: ${event.points.length} spikes of ${cells.size} cells that spike there, ${rate.toFixed(1)} Hz each.`;
    });
    node.on("plotly_deselect", () => (line.textContent = ""));
  }

  // Zoom and move by keys: half and double, a tenth of the view.
  function byKey(event) {
    const node = event.currentTarget, layout = node._fullLayout;
    const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key] ?? [0, 0];
    const zoom = { "+": 0.8, "=": 0.8, "-": 1.25 }[event.key];
    if (!layout || event.target !== node || !(dx || dy || zoom || event.key === "0")) return;
    event.preventDefault();
    if (event.key === "0") {
      Plotly.react(node, node.data, layoutFor(node), config);
      return;
    }
    const change = {};
    if (layout.scene) {
      const { x, y, z } = layout.scene.camera.eye;
      const turn = 0.15 * dx, far = zoom ?? 1;
      change["scene.camera.eye"] = {
        x: far * (x * Math.cos(turn) - y * Math.sin(turn)),
        y: far * (x * Math.sin(turn) + y * Math.cos(turn)),
        z: far * z + 0.15 * dy,
      };
    }
    for (const [axis, step] of [["xaxis", dx], ["yaxis", dy]])
      if (layout._has("cartesian") && layout[axis] && !layout[axis].fixedrange) {
        const [low, high] = layout[axis].range, half = ((high - low) / 2) * (zoom ?? 1);
        const middle = (low + high) / 2 + step * 0.1 * (high - low);
        change[`${axis}.range`] = [middle - half, middle + half];
      }
    Plotly.relayout(node, change);
  }

  const nodes = [...document.querySelectorAll(".canvas")];
  nodes.forEach((node) => node.addEventListener("keydown", byKey));
  const isShown = (node) => node.offsetParent !== null;

  // One after another, so that the page answers meanwhile; those in closed boxes when they are opened.
  async function drawAll(some) {
    for (const node of some) {
      if (!isShown(node)) continue;
      await draw(node).catch((error) => node.replaceChildren(element("p", `This figure cannot be drawn here: ${error.message ?? error}`)));
      await new Promise((next) => setTimeout(next));
    }
  }
  document.querySelectorAll("details").forEach((box) =>
    box.addEventListener("toggle", () => box.open && drawAll(box.querySelectorAll(".canvas"))));
  narrow.addEventListener("change", () => {
    for (const node of nodes) if (node.drawn && node.data) Plotly.react(node, node.data, layoutFor(node), config);
  });
  addEventListener("beforeprint", () => {
    document.querySelectorAll("details").forEach((box) => (box.open = true));
    nodes.forEach((node) => draw(node));
  });
  drawAll(nodes).then(() => document.body.setAttribute("data-drawn", "yes"));
})();
