// What a map or reduce function finds around it in CouchDB, and how the engine calls it.
(function () {
  const { parse, stringify } = JSON;
  // An indirect eval: the functions run as sloppy global code, as in CouchDB.
  const evaluate = eval;
  let rows = [];
  let notes = [];

  // A lone half of a surrogate pair is no text that an index could keep.
  const ESCAPE = /\\(?:u[0-9a-f]{4}|[^])/g;
  const LONE = /^\\ud[89a-f]/;
  function text(value) {
    const json = stringify(value);
    if (json === undefined) return "null";
    if (!json.includes("\\ud")) return json;
    return json.replace(ESCAPE, (escape) => (LONE.test(escape) ? "\\ufffd" : escape));
  }

  function compile(source) {
    const compiled = evaluate("(" + source + "\n)");
    if (typeof compiled !== "function") throw new TypeError("it is not a function");
    return compiled;
  }

  globalThis.emit = function (key, value) {
    rows.push(text(key), text(value));
  };
  globalThis.log = function (message) {
    if (notes.length < 10) notes.push(typeof message === "string" ? message : text(message));
  };
  globalThis.isArray = Array.isArray;
  globalThis.toJSON = stringify;
  globalThis.sum = function (values) {
    let total = 0;
    for (const value of values) total += value;
    return total;
  };

  const functions = [];
  return {
    add(source) {
      functions.push(compile(source));
    },
    // For each function its rows as key, value, key, value, …, or a text: why it failed.
    map(json) {
      const doc = parse(json);
      return functions.map((map) => {
        rows = [];
        try {
          map(doc);
          return rows;
        } catch (error) {
          return String(error);
        }
      });
    },
    reduce(keys, values, rereduce) {
      return text(functions[0](parse(keys), parse(values), rereduce));
    },
    notes() {
      const taken = notes;
      notes = [];
      return taken;
    },
  };
})();
