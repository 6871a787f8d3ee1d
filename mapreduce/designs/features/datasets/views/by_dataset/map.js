// Features that are there, by data set.
function (doc) {
  if (doc.type === "feature") emit(doc.dataset, null);
}
