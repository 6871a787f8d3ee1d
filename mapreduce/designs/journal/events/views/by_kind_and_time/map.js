// Facts about the harvest, by kind and time.
function (doc) {
  if (doc.type === "journal") emit([doc.kind, doc.time], null);
}
