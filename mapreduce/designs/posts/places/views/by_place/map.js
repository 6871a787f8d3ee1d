// Posts with a place, by country and name: [posts, words, letters].
function (doc) {
  if (doc.type !== "post" || !doc.place) return;
  var text = String(doc.text || "").replace(/https?:\/\/\S+/gi, " ");
  var words = text.match(/\p{L}[\p{L}\p{M}]*(?:['’]\p{L}[\p{L}\p{M}]*)*/gu) || [];
  // Every letter is in a word. A match for each of them would take most of the time.
  var letters = words.join("").replace(/['’\p{M}]+/gu, "");
  // One that is written as a pair of surrogates counts once.
  var count = letters.length - (letters.match(/[\ud800-\udbff]/g) || []).length;
  emit([doc.place.country || null, doc.place.name || null], [1, words.length, count]);
}
