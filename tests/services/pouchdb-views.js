// Preloaded into pouchdb-server: evaluates a view's map function once and calls it for each document. By itself
// PouchDB evaluates it anew, in a new context, for every document, which is five sixths of the time a view takes.
'use strict';
const vm = require('node:vm');

const path = require.resolve('pouchdb-abstract-mapreduce', { paths: [process.argv[1]] });
const create = require(path);

function mapper(source, emit) {
  const emitted = [];
  const context = vm.createContext({
    emit: (key, value) => emitted.push([key, value]),
    isArray: Array.isArray,
    log() {},
    toJSON: JSON.parse,
  });
  let map;
  return (doc) => {
    // Here, so that one which can't be evaluated fails for each document, and the view is empty as it was.
    map ??= vm.runInContext(
      `"use strict"; ((map) => (text) => map(JSON.parse(text)))(${source.replace(/;\s*$/, '')})`,
      context,
    );
    emitted.length = 0;
    map(JSON.stringify(doc));
    // One that fails has emitted nothing, whatever it did before.
    emitted.forEach(([key, value]) => emit(key, value));
  };
}

// The indexes of Mango queries are made by the same function and have a mapper of another kind.
require.cache[path].exports = (name, theirs, ...others) =>
  create(name, name === 'mrviews' ? mapper : theirs, ...others);
