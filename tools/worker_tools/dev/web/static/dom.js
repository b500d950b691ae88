// Builds elements. Text only ever becomes a text node: nothing here parses HTML.

const SVG = "http://www.w3.org/2000/svg";

/** Set attributes; `on…` adds a listener, true and false add or leave out, null leaves out. */
function setAttributes(element, attributes) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.replace(/^on/, ""), value);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  return element;
}

/** Return an element with attributes and children: nodes, text, or lists of them. */
export function h(tag, attributes, ...children) {
  const element = setAttributes(document.createElement(tag), attributes);
  element.append(...flatten(children));
  return element;
}

/** The same for SVG. */
export function svg(tag, attributes, ...children) {
  const element = setAttributes(document.createElementNS(SVG, tag), attributes);
  element.append(...flatten(children));
  return element;
}

function flatten(children) {
  return children
    .flat(Infinity)
    .filter((child) => child !== null && child !== undefined && child !== false);
}

/** Return text as nodes; what is between backticks is code. */
export function prose(text) {
  return text.split("`").map((part, place) => (place % 2 ? h("code", {}, part) : part));
}

/** Replace the children of an element. */
export function fill(element, ...children) {
  element.replaceChildren(...flatten(children));
  return element;
}

/** Change an element's text only if it differs. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

let count = 0;

/** Return an id that no other element has. */
export function newId(prefix) {
  count += 1;
  return `${prefix}-${count}`;
}

/** Call `action` once, `delay` milliseconds after the last call. */
export function debounce(action, delay) {
  let timer = 0;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => action(...values), delay);
  };
}

/** A button that copies a text and shows that it did. */
export function copyButton(getText, label = "Copy") {
  const button = h("button", { type: "button", class: "small" }, label);
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(getText());
      button.textContent = "Copied";
    } catch {
      button.textContent = "Not allowed; select and copy";
    }
    setTimeout(() => (button.textContent = label), 2000);
  });
  return button;
}

/** One of several choices, as a row of buttons for the eye and radio buttons for the rest. */
export function choice(name, options, chosen, onChange) {
  const group = newId("choice");
  return h(
    "fieldset",
    { class: "segments" },
    h("legend", { class: "hidden" }, name),
    options.map(([value, label]) =>
      h(
        "label",
        {},
        h("input", {
          type: "radio",
          name: group,
          value,
          checked: value === chosen,
          onchange: () => onChange(value),
        }),
        h("span", {}, label),
      ),
    ),
  );
}
