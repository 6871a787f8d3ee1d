// Posts by the hour (UTC) in which they were made: [year, month, day, hour].
function (doc) {
  if (doc.type !== "post" || !doc.created_at) return;
  var time = new Date(doc.created_at);
  if (isNaN(time.getTime())) return;
  emit([time.getUTCFullYear(), time.getUTCMonth() + 1, time.getUTCDate(), time.getUTCHours()], null);
}
