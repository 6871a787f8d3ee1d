// Posts with a place, by country and name: [posts, words, letters].
function (doc) {
  if (doc.type !== "post" || !doc.place) return;
  var text = String(doc.text || "").replace(/https?:\/\/\S+/gi, " ");
  var words = text.match(/\p{L}[\p{L}\p{M}]*(?:['’]\p{L}[\p{L}\p{M}]*)*/gu) || [];
  var letters = text.match(/\p{L}/gu) || [];
  emit([doc.place.country || null, doc.place.name || null], [1, words.length, letters.length]);
}
