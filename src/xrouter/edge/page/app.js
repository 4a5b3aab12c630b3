"use strict";

const METHODS = ["get", "post", "put", "patch", "delete"];
const MAX_DEPTH = 6;

/** Make an element; children are nodes or texts, never markup. */
function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Follow `$ref` inside the document. */
function resolve(spec, schema) {
  let found = schema || {};
  for (let step = 0; found.$ref && step < MAX_DEPTH; step += 1) {
    found = found.$ref.slice(2).split("/").reduce((at, key) => (at || {})[key], spec) || {};
  }
  return found;
}

function refName(schema) {
  return schema && schema.$ref ? schema.$ref.split("/").pop() : null;
}

/** A type in one line: `string`, `array of Message`, `integer or null`. */
function typeName(spec, schema) {
  if (!schema) return "any";
  const name = refName(schema);
  if (name) return name;
  const options = schema.anyOf || schema.oneOf;
  if (options) return [...new Set(options.map((one) => typeName(spec, one)))].join(" or ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((one) => JSON.stringify(one)).join(" or ");
  if (schema.type === "array") return `array of ${typeName(spec, schema.items)}`;
  return Array.isArray(schema.type) ? schema.type.join(" or ") : schema.type || "any";
}

/** A sample value of a schema. */
function sample(spec, schema, depth = 0) {
  const shape = resolve(spec, schema);
  if (shape.example !== undefined) return shape.example;
  if (shape.default !== undefined && shape.default !== null) return shape.default;
  if (shape.const !== undefined) return shape.const;
  if (shape.enum) return shape.enum[0];
  const options = shape.anyOf || shape.oneOf;
  if (options) return sample(spec, options.find((one) => one.type !== "null"), depth);
  if (shape.type === "array") return depth > MAX_DEPTH ? [] : [sample(spec, shape.items, depth + 1)];
  if (shape.type === "object" || shape.properties) {
    const entries = Object.entries(shape.properties || {});
    const wanted = entries.filter(([name]) => (shape.required || []).includes(name));
    return depth > MAX_DEPTH
      ? {}
      : Object.fromEntries(wanted.map(([name, one]) => [name, sample(spec, one, depth + 1)]));
  }
  return { string: "string", integer: 1, number: 1, boolean: true }[shape.type] ?? null;
}

function bounds(schema) {
  const words = {
    minimum: "≥", maximum: "≤", exclusiveMinimum: ">", exclusiveMaximum: "<",
    minLength: "length ≥", maxLength: "length ≤", minItems: "items ≥", maxItems: "items ≤",
  };
  const all = [schema, ...(schema.anyOf || [])];
  return Object.entries(words)
    .flatMap(([key, word]) => all.filter((one) => one[key] !== undefined).map((one) => `${word} ${one[key]}`))
    .join(", ");
}

/** The fields of an object as a table. */
function fields(spec, schema) {
  const shape = resolve(spec, schema);
  const rows = Object.entries(shape.properties || {}).map(([name, one]) => {
    const about = [bounds(one), one.description || ""].filter(Boolean).join(". ");
    const must = (shape.required || []).includes(name) ? "required" : "";
    return make("tr", {},
      make("td", {}, make("code", {}, name)),
      make("td", {}, typeName(spec, one)),
      make("td", { class: "dim" }, [must, about].filter(Boolean).join("; ")));
  });
  if (!rows.length) return null;
  const head = make("tr", {}, ...["field", "type", ""].map((text) => make("th", {}, text)));
  return make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows));
}

function shapeOf(spec, title, content) {
  const parts = Object.entries(content || {}).flatMap(([kind, media]) => {
    const name = refName(media.schema) || typeName(spec, media.schema);
    const json = kind.includes("json") && media.schema;
    const about = resolve(spec, media.schema).description;
    return [
      make("p", {}, make("code", {}, name), make("span", { class: "dim" }, ` as ${kind}`)),
      about ? make("p", { class: "dim" }, about) : null,
      json ? make("pre", {}, JSON.stringify(media.example ?? sample(spec, media.schema), null, 2)) : null,
      json ? fields(spec, media.schema) : null,
    ];
  });
  return parts.length ? [make("h3", {}, title), ...parts] : [];
}

function parameters(spec, operation) {
  const rows = (operation.parameters || []).map((one) => resolve(spec, one)).map((one) =>
    make("tr", {},
      make("td", {}, make("code", {}, one.name)),
      make("td", {}, typeName(spec, one.schema)),
      make("td", { class: "dim" }, [one.in, one.required ? "required" : "", one.description || ""]
        .filter(Boolean).join("; "))));
  return rows.length
    ? [make("h3", {}, "Parameters"), make("table", {}, make("tbody", {}, ...rows))]
    : [];
}

function responses(spec, operation) {
  const all = Object.entries(operation.responses || {});
  const good = all.filter(([status]) => status.startsWith("2"));
  const bad = all.filter(([status]) => !status.startsWith("2"));
  const rows = bad.map(([status, one]) =>
    make("tr", {}, make("td", {}, make("code", {}, status)), make("td", {}, one.description || "")));
  return [
    ...good.flatMap(([status, one]) => shapeOf(spec, `Answer ${status}`, one.content)),
    ...(rows.length ? [make("h3", {}, "Errors"), make("table", {}, make("tbody", {}, ...rows))] : []),
  ];
}

/** One operation; its details are made when it is opened for the first time. */
function operationView(spec, method, path, operation) {
  const body = make("div", { class: "body" });
  const summary = make("summary", {},
    make("span", { class: `method ${method}` }, method.toUpperCase()),
    make("span", { class: "path" }, path),
    make("span", { class: "dim" }, operation.summary || ""));
  const view = make("details", { class: "operation", id: `${method}-${path}` }, summary, body);
  view.dataset.words = `${method} ${path} ${operation.summary || ""}`.toLowerCase();
  view.addEventListener("toggle", () => {
    if (!view.open || body.childNodes.length) return;
    const parts = [
      operation.description ? make("p", {}, operation.description) : null,
      ...parameters(spec, operation),
      ...shapeOf(spec, "Request", (operation.requestBody || {}).content),
      ...responses(spec, operation),
    ];
    body.append(...parts.filter((part) => part !== null));
  });
  return view;
}

function groups(spec) {
  const found = new Map();
  for (const [path, item] of Object.entries(spec.paths || {})) {
    for (const method of METHODS.filter((name) => item[name])) {
      const tag = (item[method].tags || ["other"])[0];
      if (!found.has(tag)) found.set(tag, []);
      found.get(tag).push(operationView(spec, method, path, item[method]));
    }
  }
  return found;
}

function show(spec) {
  document.getElementById("about").textContent = (spec.info || {}).description || "";
  const sections = [...groups(spec)].map(([tag, views]) =>
    make("section", {}, make("h2", {}, tag), ...views));
  document.getElementById("operations").replaceChildren(...sections);
  document.getElementById("filter").addEventListener("input", (event) => {
    const word = event.target.value.trim().toLowerCase();
    for (const view of document.querySelectorAll("details.operation")) {
      view.hidden = !view.dataset.words.includes(word);
    }
    for (const section of sections) {
      section.hidden = !section.querySelector("details.operation:not([hidden])");
    }
  });
  const named = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (named) named.open = true;
}

fetch("/openapi.json")
  .then((answer) => {
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    return answer.json();
  })
  .then(show)
  .catch((error) => {
    document.getElementById("operations").textContent = `Could not load the document: ${error.message}`;
  });
